"""The version of this project, apart: subpackages name it and import nothing else of what is above them."""

__version__ = "0.1.0"
