"""`atelier`, also as `python -m worker`."""

from __future__ import annotations

import gc


def main() -> None:
    """Start the command line.

    What is imported stays to the end. Looking through it for garbage, again and again while it
    grows and once more at the end, was a third of the time that a short command takes.
    """
    gc.disable()
    from worker import cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
