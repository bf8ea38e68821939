"""`python -m tophub_registry.cli`."""

from tophub_registry.cli import main

main()
