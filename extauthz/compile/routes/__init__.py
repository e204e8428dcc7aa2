"""Route templates, and the index that finds the best template for a host and a path."""
