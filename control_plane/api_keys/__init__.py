"""API keys: what programs work with, in the name of the person who made them."""
