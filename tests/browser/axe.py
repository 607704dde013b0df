"""axe-core, which checks the accessibility of what the browser shows (Deque Systems, MPL-2.0)."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


def violations(page: Page) -> list[str]:
    """What breaks WCAG 2.2 A or AA on the page as it is now, a line each; none is good."""
    page.evaluate(_script())
    found: dict[str, Any] = page.evaluate(
        "tags => axe.run(document, { runOnly: { type: 'tag', values: tags } })", list(TAGS)
    )
    # A page on which nothing was checked would pass.
    assert found["passes"], found
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['html']}\n{node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@cache
def _script() -> str:
    """axe-core's source; its package carries the file, so that this repository need not."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None
    assert package.origin is not None
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")
