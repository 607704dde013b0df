"""The one list of failure codes: each is shown by a test and documented, and there is no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tagging.domain import PRODUCT_FAILURES, FailureCode

ROOT = Path(__file__).parents[2]
DECODERS = "tests/integration/test_decoders.py::"
CODES = "tests/integration/test_failure_codes.py::"
PICTURES = "tests/integration/test_ingest_and_tag.py::test_a_broken_picture_fails_its_product_alone"
ROWS = f"{CODES}test_each_line_that_is_not_taken_in_has_its_code"
SHOWN_BY = {
    FailureCode.UNREADABLE: PICTURES,
    FailureCode.UNSUPPORTED_FORMAT: PICTURES,
    FailureCode.TOO_LARGE: f"{DECODERS}test_a_file_with_too_many_bytes_is_not_read",
    FailureCode.TOO_MANY_PIXELS: f"{DECODERS}test_bombs_are_refused_or_bounded",
    FailureCode.DECODE_TIMEOUT: f"{DECODERS}test_too_much_processor_time_costs_the_image_only",
    FailureCode.DECODE_MEMORY: f"{DECODERS}test_too_much_memory_costs_the_image_only",
    FailureCode.DECODER_CRASH: f"{DECODERS}test_a_crash_is_blamed_on_the_image_in_hand",
    FailureCode.MISSING: f"{DECODERS}test_a_stored_file_that_is_not_what_it_was_is_missing",
    FailureCode.WORKER_CRASH: (
        "tests/integration/test_sweep.py::"
        "test_a_product_that_crashes_three_workers_alone_fails_and_its_neighbours_do_not"
    ),
    FailureCode.REFUSED_PATH: f"{CODES}test_so_has_each_file_of_a_folder",
    FailureCode.CANNOT_OPEN: ROWS,
    FailureCode.BAD_ENTRY: f"{CODES}test_so_has_each_entry_of_an_archive",
    FailureCode.BAD_ROW: ROWS,
    FailureCode.BAD_SKU: f"{CODES}test_so_has_each_file_of_a_folder",
    FailureCode.TOO_MANY_IMAGES: f"{CODES}test_so_has_each_line_that_is_too_much_of_its_product",
    FailureCode.TOO_MANY_LINES: f"{CODES}test_so_has_each_line_that_is_too_much_of_its_product",
    FailureCode.URLS_OFF: (
        "tests/integration/test_web_images.py::"
        "test_where_it_is_off_such_rows_are_rejected_and_nothing_is_asked"
    ),
    FailureCode.FETCH_FAILED: (
        "tests/integration/test_web_images.py::"
        "test_a_row_that_fails_says_why_and_its_neighbours_go_on"
    ),
    FailureCode.NOT_AN_IMAGE: f"{CODES}test_so_has_each_file_of_a_folder",
    FailureCode.NESTED: f"{CODES}test_so_has_each_file_of_a_folder",
    FailureCode.SUPERSEDED: (
        "tests/integration/test_overtaken_deliveries.py::"
        "test_photos_that_a_younger_delivery_replaced_stay_replaced"
    ),
    FailureCode.BAD_DELIVERY: (
        "tests/integration/test_hostile_inbox.py::test_a_long_name_is_moved_aside_with_its_report"
    ),
    FailureCode.NO_PRODUCT: (
        "tests/integration/test_hostile_inbox.py::test_a_report_of_many_lines_is_complete_on_disk"
    ),
}
"""For each code a test in which it really comes about."""


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_is_shown_by_a_test(code: FailureCode) -> None:
    path, _, name = SHOWN_BY[code].partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    # A test may take its cases from a table of the same file.
    (test,) = (
        one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == name
    )
    tables = [one for one in tree.body if isinstance(one, ast.Assign)]
    named = {
        one.attr
        for part in (test, *tables)
        for one in ast.walk(part)
        if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "FailureCode"
    }
    assert code.name in named


def test_the_page_lists_them_all_and_says_of_what_each_is() -> None:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    part = text.split("## Failure codes\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| ([PLD ]+) \|", part, re.MULTILINE)
    assert [code for code, _ in listed] == [code.value for code in FailureCode]
    assert tuple(code for code, of in listed if "P" in of) == PRODUCT_FAILURES
