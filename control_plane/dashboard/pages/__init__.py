"""Routes of the dashboard, one file an area. Thin: the API's services and bodies, then a page."""
