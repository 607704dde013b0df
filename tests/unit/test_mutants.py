"""The list of mutants fits the code: each guard that it takes out is there, and so is each test."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutants.__main__ import ROOT, read


def test_each_guard_stands_in_one_place_and_each_test_is_there() -> None:
    mutants = read()
    assert {str(number) for number in range(1, 11)} <= {mutant.promise for mutant in mutants}
    for mutant in mutants:
        path, *names = mutant.test.split("::")
        name = names[-1].partition("[")[0]
        tree = ast.parse((ROOT / Path(path)).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in functions, mutant.test
