"""Strategy templates and the marketplace that shows them."""
