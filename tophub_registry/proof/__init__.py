"""Records measured against what they replace."""
