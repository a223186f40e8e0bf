"""Bots: what people want of them, and what agents saw."""
