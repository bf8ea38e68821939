"""A whole model compiled with records."""
