"""`python -m worker`: the `atelier` command."""

from worker.cli import main

main()
