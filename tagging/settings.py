"""All settings, read from `ATELIER_*` in this one place.

    settings = Settings(home=Path("atelier-data"))

Every field may be set by the environment variable `ATELIER_` + its name in capitals.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, Self, get_args

from pydantic import Field, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tagging.autopilot import AUDIT_SHARE
from tagging.redaction import require_broker_url, require_database_url

LOOKS: Final = 4
"""After the first look, at least so many more of the sweeper's tell that something is silent."""

_MIB = 1024 * 1024


class Settings(BaseSettings):
    """Frozen; made once per process by an entry point and passed on as an argument."""

    model_config = SettingsConfigDict(
        env_prefix="ATELIER_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # What was given may hold a password; the command line shows it where it cannot.
        hide_input_in_errors=True,
    )

    home: Path = Field(
        default=Path("atelier-data"), description="The data folder; the embedded default's all."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the database; unset: SQLite in the data folder.",
    )
    broker_url: SecretStr | None = Field(
        default=None, description="URL of Redis or RabbitMQ; unset: a file in the data folder."
    )
    images_dir: Path | None = Field(
        default=None, description="The image store; unset: `images` in the data folder."
    )
    data_dir: Path | None = Field(
        default=None, description="Where training data lies; unset: it is downloaded."
    )
    model_bundle: Path | None = Field(
        default=None, description="Bundle for new retailers; unset: the one that is shipped."
    )

    batch_images: int = Field(default=256, ge=1, le=4096, description="Most images in a batch.")
    concurrency: int = Field(default=2, ge=1, le=16, description="Batches in flight per worker.")
    decoders: int = Field(
        default=max(1, min(8, os.cpu_count() or 1)),
        ge=1,
        le=64,
        description="Decoder processes per worker.",
    )
    classify_shapes: tuple[PositiveInt, ...] = Field(
        default=(16, 256),
        min_length=1,
        description="Batch sizes the network is compiled for; smallest first.",
    )

    image_max_bytes: int = Field(default=50 * _MIB, ge=1, description="Largest image file.")
    image_max_pixels: int = Field(default=50_000_000, ge=1, description="Most pixels per image.")
    image_max_seconds: int = Field(default=5, ge=1, description="CPU seconds to decode one image.")
    image_max_memory_bytes: int = Field(
        default=512 * _MIB, ge=64 * _MIB, description="Memory to decode one image."
    )

    allow_urls: bool = Field(
        default=False, description="Fetch images that manifests name by http(s) addresses."
    )
    url_seconds: float = Field(
        default=30.0, gt=0, le=600, description="Longest try to fetch one image, all included."
    )
    url_fetches: int = Field(default=8, ge=1, le=64, description="Images fetched at once.")

    audit_share: float = Field(
        default=AUDIT_SHARE,
        ge=0,
        le=1,
        description="Part of the accepted products that people check, to state the error.",
    )

    beat_s: float = Field(default=2.0, gt=0, description="How often work in hand shows progress.")
    stale_s: float = Field(
        default=10.0, gt=0, description="Work that showed no progress for so long is taken back."
    )
    stuck_s: float = Field(
        default=30.0,
        gt=0,
        description="A worker whose work makes no step for so long is stuck and ends itself.",
    )
    load_s: float = Field(
        default=300.0, gt=0, description="How long a model may take to load before it is stuck."
    )
    sweep_s: float = Field(default=2.0, gt=0, description="How often the sweeper looks.")
    stop_s: float = Field(
        default=8.0, ge=0, description="After SIGTERM, how long work in hand may go on."
    )

    failpoints: Path | None = Field(
        default=None,
        description="For tests only: a folder of orders to fail; unset: failpoints are off.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log lines for people, or JSON."
    )

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            require_database_url(url.get_secret_value())
        return url

    @field_validator("broker_url")
    @classmethod
    def _is_broker(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            require_broker_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _goes_stale_before_it_is_stuck(self) -> Self:
        if self.stuck_s <= self.stale_s:
            raise ValueError(
                f"ATELIER_STUCK_S ({self.stuck_s:g}) must be more than ATELIER_STALE_S "
                f"({self.stale_s:g}): work without a step stops beating so long before its worker "
                "ends"
            )
        return self

    @model_validator(mode="after")
    def _life_is_seen_before_it_is_missed(self) -> Self:
        for name, every_s, looks, part in (
            ("BEAT", self.beat_s, 2, "half"),
            ("SWEEP", self.sweep_s, LOOKS, "quarter"),
        ):
            if every_s * looks > self.stale_s:
                raise ValueError(
                    f"ATELIER_{name}_S ({every_s:g}) must be at most {self.stale_s / looks:g}, a "
                    f"{part} of ATELIER_STALE_S ({self.stale_s:g}), or work that goes on well "
                    f"looks dead; lower the first, or raise the second to {every_s * looks:g} "
                    "or more"
                )
        return self

    @classmethod
    def is_secret(cls, name: str) -> bool:
        """Whether a setting may hold a password."""
        found = cls.model_fields.get(name)
        return found is None or SecretStr in (found.annotation, *get_args(found.annotation))

    @property
    def step_s(self) -> float:
        """Seconds that one step of work, or one wait for the database, may take: its lease beats
        for so long. After `stale_s` more it is taken back, and its worker is stuck.
        """
        return self.stuck_s - self.stale_s

    @property
    def embedded(self) -> bool:
        """Whether the database is the SQLite file in the data folder."""
        return self.database_url is None

    def resolved_database_url(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.home / 'atelier.db').absolute()}"

    def resolved_broker_url(self) -> str:
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        return f"doorbell+sqlite:///{self.broker_file().absolute()}"

    def broker_file(self) -> Path:
        return self.home / "broker.db"

    def resolved_images_dir(self) -> Path:
        return (self.images_dir or self.home / "images").absolute()

    def models_dir(self) -> Path:
        """Where bundles that are trained here go."""
        return (self.home / "models").absolute()
