"""Figures of what security and hosting cost: each beside a baseline of the same run, so that the machine falls out."""
