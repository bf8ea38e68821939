"""A whole model under several frameworks in turns: what a user has now against what the records give."""
