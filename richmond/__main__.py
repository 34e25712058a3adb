"""`python -m richmond` is `richmond`."""

from richmond.cli import main

main()
