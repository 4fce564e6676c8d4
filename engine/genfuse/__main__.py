"""`python -m genfuse`."""

from genfuse.cli import main

main()
