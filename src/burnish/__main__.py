"""`python -m burnish` is the console script."""

from burnish.cli import main

main()
