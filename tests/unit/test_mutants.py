"""The list of mutants fits the code: each guard that it takes out is there, and so is each test."""

from __future__ import annotations

import re

import pytest

from tests.mutants.__main__ import ROOT, read
from tests.unit.test_security_page import functions_of, named, text_of


def test_each_guard_stands_in_one_place_and_each_test_is_there() -> None:
    mutants = read()
    assert {str(number) for number in range(1, 11)} <= {mutant.promise for mutant in mutants}
    for mutant in mutants:
        path, *names = mutant.test.split("::")
        name = names[-1].partition("[")[0]
        assert name in functions_of(ROOT / path), mutant.test


@pytest.mark.parametrize("promise", [str(number) for number in range(1, 11)])
def test_each_test_that_holds_a_promise_misses_a_guard_of_it(promise: str) -> None:
    (row,) = re.findall(rf"^\| {promise} \|.*$", text_of("reliability.md"), re.MULTILINE)
    holding = {f"{file}::{name}" for file, name in named(row) if name is not None}
    missing = {mutant.test.partition("[")[0] for mutant in read() if mutant.promise == promise}
    assert holding, row
    assert holding <= missing, holding - missing
    # Of a file that is named as a whole some test does, of this promise or of another.
    files = {file for file, name in named(row) if name is None}
    assert files <= {mutant.test.partition("::")[0] for mutant in read()}
