"""What a record is, and what can be done with logs: read, write, validate, merge, look up.

This subpackage imports no other one, and nothing heavy: it works on the base install.
"""
