"""The place where TVM tuning logs live: versioned, validated, merged, released, and made on today's TVM.

Importing the package costs nothing; every room is imported by name where it is used.
"""

__version__ = "0.1.0"
