"""What can be wrong with a report itself; what is wrong with a bundle or its data says so there."""

from __future__ import annotations

from tagging.errors import AtelierError


class ReportError(AtelierError):
    """A report cannot be made here: its libraries are missing, or its folder is taken."""
