"""The page: numbers and pictures into one HTML file that needs nothing else, not even a script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

from model_training.report import wording
from model_training.report.findings import Findings, target_text
from model_training.report.sheets import tile
from model_training.report.style import percent

TEMPLATE: Final = "report.html.j2"
SHOWN_SUSPECTS: Final = 40
NOTHING: Final = "\N{EN DASH}"

Json = Mapping[str, Any]


def render(findings: Findings, numbers: Json, pictures: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        findings: for the photos that stand in it one by one.
        numbers: what `metrics.measure` gave; everything that is printed comes from here.
        pictures: file name -> PNG, as `pictures.draw` gave.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": _share,
        "sure": _sure,
        "whole": _whole,
        "duration": wording.duration,
    }
    chosen = target_text(findings.card.acceptance.target_precision)
    return environment.get_template(TEMPLATE).render(
        m=numbers,
        chosen=chosen,
        pictures={name: _data_uri("image/png", content) for name, content in pictures.items()},
        sample_sheets=sorted(
            (name for name in pictures if name.startswith("samples-")),
            key=lambda name: (len(name), name),
        ),
        words={
            "headline": wording.headline(numbers["per_1000"]),
            "waiting": wording.waiting(numbers["per_1000"]),
            "ends": wording.ends(
                numbers["categories"], numbers["targets"][chosen]["coverage_by_category"]
            ),
            "trust": wording.trust(numbers["calibration"]["holdout"]["after"]),
            "cost": wording.cost(numbers["training"]["networks"]),
            "measured_on": wording.measured_on(numbers["holdout"]["images"]),
        },
        tiles=_tiles(findings, numbers),
    )


def _tiles(findings: Findings, numbers: Json) -> dict[str, list[Json]]:
    examples = {name: _with_photo(findings, items) for name, items in numbers["examples"].items()}
    doubtful = {
        part: _with_photo(findings, table["listed"][:SHOWN_SUSPECTS])
        for part, table in numbers["label_errors"].items()
    }
    return examples | doubtful


def _with_photo(findings: Findings, items: Sequence[Json]) -> list[Json]:
    images = findings.data.images
    return [{**item, "photo": _data_uri(*tile(images[item["index"]]))} for item in items]


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _share(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else percent(value, digits)


def _sure(confidence: float) -> str:
    """A confidence; no model is 100.0 % sure."""
    return f"over {percent(0.999, 1)}" if confidence > 0.9994 else percent(confidence, 1)


def _whole(value: float) -> str:
    return f"{value:,.0f}"
