"""What is said of uploads that were cut off while they were received."""

from __future__ import annotations

from typing import Any

from tagging.database.uploads import CutOff


def cut_off_json(one: CutOff) -> dict[str, Any]:
    """As `--json` has it."""
    return vars(one)


def cut_off_text(one: CutOff) -> tuple[str, str]:
    """Where it came from and how far it got; and what to do. Texts are in it as delivered."""
    return (
        f"upload {one.upload} of {one.retailer} was cut off at {one.since:%Y-%m-%d %H:%M} UTC, "
        f"{one.lines:,} lines into {one.source}",
        f"deliver the same again with `--upload {one.upload}` (`atelier watch` does so by itself), "
        f"or `atelier uploads forget {one.upload}`",
    )
