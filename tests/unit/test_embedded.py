"""The worker that belongs to a command gets exactly the command's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagging.settings import Settings
from worker.embedded import environment_of, unset_in


def test_a_child_reads_the_very_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ATELIER_")]:
        monkeypatch.delenv(name)
    given = Settings(
        home=tmp_path,
        database_url="postgresql+psycopg://u:p@h/d",
        classify_shapes=(3, 5),
        batch_images=7,
    )
    monkeypatch.setenv("ATELIER_BROKER_URL", "redis://another")
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    for name in unset_in(given):
        monkeypatch.delenv(name, raising=False)
    assert Settings() == given


def test_a_relative_data_folder_stays_the_same_folder(tmp_path: Path) -> None:
    relative = Path(os.path.relpath(tmp_path))
    found = environment_of(Settings(home=relative))["ATELIER_HOME"]
    assert Path(found).is_absolute()
    assert Path(found).resolve() == tmp_path.resolve()
