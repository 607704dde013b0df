"""Put a report on the disk: a folder with `index.html`, its pictures and `metrics.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from model_training.atomic_files import sync_file, sync_folder
from model_training.report.errors import ReportError

PAGE_NAME: Final = "index.html"
METRICS_NAME: Final = "metrics.json"


def ensure_free(folder: Path) -> None:
    """Complain before the work, not after it, that something else would be overwritten.

    Raises:
        ReportError: something stands at `folder` that is no earlier report.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or not (folder / METRICS_NAME).exists():
        raise ReportError(
            f"{folder} exists and is no report (it has no {METRICS_NAME}), so it is not "
            "replaced. Give another folder with --out, or remove it yourself."
        )


def write_report(
    folder: Path, *, page: str, pictures: Mapping[str, bytes], numbers: Mapping[str, Any]
) -> None:
    """Write the report whole or not at all; one that stands at `folder` already is replaced.

    Args:
        folder: its parent is made if missing.
        page: HTML.
        pictures: file name -> PNG.
        numbers: plain JSON values.

    Raises:
        ReportError: something stands at `folder` that is no earlier report.
    """
    ensure_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {
        PAGE_NAME: page.encode(),
        METRICS_NAME: text.encode(),
        **pictures,
    }
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, content in files.items():
            (partial / name).write_bytes(content)
            sync_file(partial / name)
        _put(partial, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)
