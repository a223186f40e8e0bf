"""Turns the desired state of hosted bots into containers."""
