"""What `atelier report` calls. Keras, matplotlib and cleanlab are imported when it runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rich.console import Console

from model_training.commands import Origin
from model_training.report.errors import ReportError
from model_training.report.write import PAGE_NAME, ensure_free, write_report
from tagging.model_card import read_content

NEEDED: Final = ("matplotlib", "cleanlab", "jinja2")
DEFAULT_PARENT: Final = Path("reports")


def run_report(bundle: Path, origin: Origin, *, out: Path | None, console: Console) -> Path:
    """Measure a bundle on the data that it was made from, and write the report.

    Args:
        bundle: the model's folder.
        origin: of the images; with a recipe of shop photos, the section on pictures that do not
            belong shows them.
        out: the report's folder; None for `reports/<name>-<version>`. An earlier report there is
            replaced.
        console: gets progress.

    Returns:
        The page.

    Raises:
        ReportError: the libraries for reports are not installed, or `out` is no report.
        BundleError: the bundle is damaged, was made from other data, or states other numbers than
            are found.
        TrainingDataError: the data is missing or altered.
    """
    ensure_installed()
    content = read_content(bundle)
    card = content.card
    folder = out or DEFAULT_PARENT / f"{card.name}-{card.version}"
    ensure_free(folder)
    origin = origin.of(card)
    source = origin.source(console)

    from model_training.report.agreement import ensure_agreement
    from model_training.report.gather import gather
    from model_training.report.metrics import measure
    from model_training.report.page import render
    from model_training.report.pictures import draw

    findings = gather(
        content,
        source,
        console=console,
        photos=origin.shop_photos(card.category_names, card.input, console),
    )
    numbers = measure(findings, ensure_agreement(findings))
    console.print("drawing")
    pictures = draw(findings, numbers)
    page = render(findings, numbers, pictures)
    write_report(folder, page=page, pictures=pictures, numbers=numbers)
    return folder / PAGE_NAME


def ensure_installed() -> None:
    """Raises ReportError: a library that only reports need is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ReportError(
            f"a report needs {', '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not "
            "installed: install atelier[report], for instance with "
            "`python -m pip install 'atelier[report]'`."
        )
