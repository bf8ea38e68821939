"""Records measured against what they replace, and the levels of validation."""
