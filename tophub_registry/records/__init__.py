"""What a record is, and what can be done with files of them: read, write, merge.

This room knows no other and imports nothing heavy: it works on the base install.
"""
