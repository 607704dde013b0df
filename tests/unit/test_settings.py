"""Settings come from one place, and say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tagging.settings import Settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented_in_the_design() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`ATELIER_{name.upper()}`" not in text]
    assert missing == []
    assert all(field.description for field in Settings.model_fields.values())


def test_the_embedded_default_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.embedded
    assert settings.resolved_database_url() == f"sqlite:///{tmp_path}/atelier.db"
    assert settings.resolved_broker_url() == f"doorbell+sqlite:///{tmp_path}/broker.db"
    assert settings.resolved_images_dir() == tmp_path / "images"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_DATABASE_URL", "postgresql+psycopg://u:secret@h/d")
    monkeypatch.setenv("ATELIER_BATCH_IMAGES", "64")
    settings = Settings()
    assert not settings.embedded
    assert settings.batch_images == 64
    assert "secret" not in repr(settings)


def test_settings_are_frozen_and_checked() -> None:
    with pytest.raises(ValidationError):
        Settings(batch_images=0)
    with pytest.raises(ValidationError):
        Settings().batch_images = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ({"stale_s": 30.0}, "ATELIER_STUCK_S (30) must be more than ATELIER_STALE_S (30)"),
        ({"beat_s": 5.1}, "ATELIER_BEAT_S (5.1) must be at most 5, a half of ATELIER_STALE_S (10)"),
        ({"sweep_s": 3.0}, "raise the second to 12 or more"),
    ],
)
def test_times_by_which_what_is_well_looks_dead_are_refused(
    times: dict[str, float], told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**times)
    assert told in str(refused.value)


def test_times_may_go_to_these_bounds() -> None:
    settings = Settings(beat_s=5.0, sweep_s=2.5, stale_s=10.0)
    assert settings.sweep_s == 2.5
