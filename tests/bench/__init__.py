"""Figures of what security costs: each against a baseline of the same run, so that the machine falls out of them."""
