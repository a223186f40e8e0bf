"""Performance over time: what was recorded, and how it is read back."""
