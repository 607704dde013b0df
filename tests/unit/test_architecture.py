"""The arrows between the houses: who may import whom."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "tagging": {"celery", "kombu", "keras", "tensorflow", "jax", "worker", "model_training"},
    "model_training": {"celery", "kombu", "worker"},
    "migrations": {"worker", "model_training", "celery", "keras"},
}
MAY_READ_TEST_LABELS = {"model_training/evaluate.py"}
"""Who asks a source for its test set. Whatever else reads it might choose something on it."""

SOURCES = {"model_training/datasets/fashion_mnist.py", "model_training/datasets/sources.py"}
"""Where test sets are read from files and handed out."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", FORBIDDEN)
def test_nobody_imports_upwards(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imports(path)
        if module.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("command", ["status", "products list", "retailers list", "rules history"])
def test_a_command_that_only_looks_loads_nothing_that_takes_long(
    tmp_path: Path, sqlite_template: Path, command: str
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "atelier.db")
    heavy = {"tensorflow", "keras", "celery", "kombu", "redis", "alembic", "scipy", "httpx"}
    code = f"""if True:
        import sys, worker.cli
        sys.argv = ["atelier", "--home", {str(tmp_path)!r}, *{command.split()}]
        try:
            worker.cli.main()
        finally:
            print("loaded", sorted({heavy} & set(sys.modules)))
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    # Without a retailer there are no rules; that is told, and took the same imports.
    assert done.returncode == (command == "rules history"), done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr


def uses_of_test_sets(path: Path) -> Iterator[str]:
    """Names and texts by which a test set, or one of its files, is reached."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.Attribute(attr=found)
                | ast.Name(id=found)
                | ast.alias(name=found)
                | ast.FunctionDef(name=found)
            ) if found in ("load_test", "load_test_set"):
                yield found
            case ast.Constant(value=str(found)) if found.startswith(("load_test", "t10k")):
                yield found


def test_the_test_labels_are_read_by_evaluate_alone() -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ("tagging", "worker", "model_training", "sample_catalog", "migrations")
        for path in (ROOT / package).rglob("*.py")
        if any(uses_of_test_sets(path))
    }
    assert users == MAY_READ_TEST_LABELS | SOURCES


def test_sources_only_hand_the_test_set_out() -> None:
    """`load_test_set` is called by `Source.load_test` and nothing else, at no other moment."""
    calls = []
    for path in sorted(ROOT / name for name in SOURCES):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                calls += [
                    (function.name, ast.unparse(node.func))
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call) and "load_test" in ast.unparse(node.func)
                ]
    assert sorted(calls) == [("load_test", "load_test_set"), ("load_test", "super().load_test")]
