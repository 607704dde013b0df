"""The one place where concrete things are built and wired together."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

import model_training
from tagging import failpoints
from tagging.database import batches, models, schema
from tagging.database.models import KnownModel, ModelLine
from tagging.database.session import BACKUP_WAIT_S, WAIT_S, Database
from tagging.errors import AtelierError, BundleError, MachineError
from tagging.images.decode import ImageLimits
from tagging.images.decoders import DecoderPool
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.images.store import FolderImageStore
from tagging.in_hand import InHand
from tagging.ingest import Ingest
from tagging.model_card import CARD_NAME, read_card
from tagging.private_files import close_to_others, make_private_folder
from tagging.retag import Retagging
from tagging.settings import Settings
from tagging.sweep import Sweeper
from tagging.tag import Classifiers, Tagger
from tagging.worker_names import name_here
from worker.classifier import KEPT_MODELS, ClassifierShelf
from worker.doorbell import BrokerDoorbell
from worker.loads import LoadPausedError, Loads

if TYPE_CHECKING:
    from tagging.fetch.fetcher import WebFetcher

SHIPPED_BUNDLES: Final = Path(model_training.__file__).parent / "bundles"
DEFAULT_BUNDLE: Final = SHIPPED_BUNDLES / "fashion-mnist-2"

log = structlog.get_logger("worker")


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What every command needs. Imports no TensorFlow, and Celery only once it is rung."""

    settings: Settings
    database: Database
    store: FolderImageStore
    doorbell: BrokerDoorbell
    ingest: Ingest
    retagging: Retagging

    def default_model(self) -> int:
        """The id of the model for new retailers, registered at first sight."""
        path = (self.settings.model_bundle or DEFAULT_BUNDLE).absolute()
        card = read_card(path)
        with self.database.read() as session:
            found = models.registered(session, card)
        if found is not None:
            return found
        with self.database.write("models.register_default") as session:
            made = models.register(session, card, path, now=utc_now())
            session.commit()
            return made

    def try_again(self) -> None:
        """Have what could not be done tried at once; whoever starts a worker has mended it."""
        with self.database.write("batches.resume") as session:
            batches.resume(session)
            session.commit()

    def retailer(self, name: str) -> int:
        """The retailer's id; made at first use with the default model in charge."""
        with self.database.read() as session:
            found = models.find_retailer(session, name)
        if found is not None:
            return found
        model_id = self.default_model()
        with self.database.write("retailers.add") as session:
            found = models.add_retailer(session, name, model_id=model_id, now=utc_now())
            session.commit()
            return found


@dataclass(frozen=True, kw_only=True)
class WorkerRuntime:
    """What a worker process has besides."""

    runtime: Runtime
    decoders: DecoderPool
    classifiers: Shelf
    loads: Loads
    in_hand: InHand
    tagger: Tagger
    sweeper: Sweeper

    def preload(self, before_each: Callable[[], None] = lambda: None) -> None:
        """Load and warm models in charge before the first message is taken, as many as are kept.

        Whose model cannot be loaded waits, and keeps nobody else waiting. Where none is in charge
        yet, the one for new retailers is loaded.

        Args:
            before_each: called before each of them.

        Raises:
            BundleError: none of them can be loaded, so this worker could do nothing.
        """
        errors: list[str] = []
        loaded, paused = 0, False
        for line in self._wanted():
            if loaded == KEPT_MODELS:
                break
            before_each()
            try:
                self.classifiers.get(line.usable())
            except AtelierError as error:
                log.error("model_not_loaded", model=line.title, error=str(error))
                errors.append(str(error))
                paused |= isinstance(error, LoadPausedError)
            except Exception as error:  # of Keras, the device, the disk: no matter for the others
                log.exception("model_not_loaded", model=line.title)
                errors.append(f"{line.title} cannot be loaded: {type(error).__name__}: {error}")
            else:
                loaded += 1
        # What is only paused is tried again later, and by this process.
        if errors and not loaded and not paused:
            raise BundleError("; ".join(errors))

    def _wanted(self) -> list[ModelLine]:
        with self.runtime.database.read() as session:
            in_charge = [line for line in models.all_models(session) if line.in_charge_of]
        if in_charge:
            return in_charge
        self.runtime.default_model()
        with self.runtime.database.read() as session:
            return models.all_models(session)


@contextmanager
def open_runtime(
    settings: Settings, *, wait_s: float = WAIT_S, backup_wait_s: float = BACKUP_WAIT_S
) -> Iterator[Runtime]:
    """Connect to database, store and broker; on the embedded default, make them where missing.

    Args:
        settings: which.
        wait_s: as `Database` has it.
        backup_wait_s: likewise.

    Raises:
        SchemaError: a server's database is not at the migration that this version needs.
        MachineError: the data folder cannot be made or used.
    """
    if settings.failpoints is not None:
        log.warning("failpoints_on", folder=str(settings.failpoints), note="for tests only")
    failpoints.switch_on(settings.failpoints)
    in_home = settings.embedded or settings.broker_url is None or settings.images_dir is None
    if in_home or os.path.isdir(settings.home):  # noqa: PTH112 # one out of reach is none
        prepare_home(settings)
    database = Database(
        settings.resolved_database_url(),
        pool_size=settings.concurrency + 4,
        wait_s=wait_s,
        backup_wait_s=backup_wait_s,
    )
    try:
        if settings.embedded:
            schema.ensure_current(database)
        else:
            schema.require_current(database)
        doorbell = BrokerDoorbell(settings)
        store = image_store(settings)
        yield Runtime(
            settings=settings,
            database=database,
            store=store,
            doorbell=doorbell,
            ingest=Ingest(
                database=database,
                store=store,
                announcer=doorbell,
                batch_images=settings.batch_images,
                image_max_bytes=settings.image_max_bytes,
                now=utc_now,
                fetcher=web_fetcher(settings),
                fetch_threads=settings.url_fetches,
            ),
            retagging=Retagging(
                database=database,
                announcer=doorbell,
                batch_images=settings.batch_images,
                preprocessing_version=PREPROCESSING_VERSION,
                now=utc_now,
            ),
        )
    finally:
        database.close()


def bring_up_to_date(settings: Settings) -> None:
    """On the embedded default, make data folder and database, or run the migrations that are
    missing; `open_runtime` would, too. Takes as long as it takes. Raises MachineError as it does.
    """
    if not settings.embedded:
        return
    failpoints.switch_on(settings.failpoints)
    prepare_home(settings)
    database = Database(settings.resolved_database_url(), wait_s=settings.step_s)
    try:
        schema.ensure_current(database)
    finally:
        database.close()


class Shelf(Classifiers, Protocol):
    """Classifiers that end with the process."""

    def close(self) -> None:
        """Wait for nothing."""


Loading = Callable[[KnownModel], AbstractContextManager[None]]
MakeShelf = Callable[[Settings, Loading], Shelf]


def keras_shelf(settings: Settings, loading: Loading) -> Shelf:
    """The models of this machine; `loading` is entered while one is loaded."""
    return ClassifierShelf(
        shapes=settings.classify_shapes,
        bundles=lambda: bundle_folders(settings),
        loading=loading,
    )


def loads_of(settings: Settings) -> Loads:
    """What is known of models that workers died of, in the data folder."""
    return Loads(settings.home.absolute() / "loading")


@contextmanager
def open_worker(settings: Settings, make_shelf: MakeShelf = keras_shelf) -> Iterator[WorkerRuntime]:
    """A worker's services. The decoders are started first, before TensorFlow is imported."""
    limits = image_limits(settings)
    with (
        # Without a wait for backups: who waits so long counts as stuck. What cannot be written is
        # given back and done again.
        open_runtime(settings, wait_s=settings.step_s, backup_wait_s=0.0) as runtime,
        DecoderPool(settings.decoders, limits) as decoders,
    ):
        name = name_here()
        in_hand = InHand(step_s=settings.step_s, load_s=settings.load_s)
        loads = loads_of(settings)

        @contextmanager
        def loading(model: KnownModel) -> Iterator[None]:
            with loads.noted(model), in_hand.loading():
                yield

        classifiers = make_shelf(settings, loading)
        try:
            yield WorkerRuntime(
                runtime=runtime,
                decoders=decoders,
                classifiers=classifiers,
                loads=loads,
                in_hand=in_hand,
                tagger=Tagger(
                    database=runtime.database,
                    store=runtime.store,
                    decoders=decoders,
                    classifiers=classifiers,
                    in_hand=in_hand,
                    worker=name,
                    preprocessing_version=PREPROCESSING_VERSION,
                    now=utc_now,
                    audit_share=settings.audit_share,
                ),
                sweeper=Sweeper(
                    database=runtime.database,
                    ingest=runtime.ingest,
                    doorbell=runtime.doorbell,
                    holder=f"{name}:{secrets.token_hex(4)}",
                    stale_s=settings.stale_s,
                    wait_s=settings.step_s,
                    now=utc_now,
                    monotonic=time.monotonic,
                    retagging=runtime.retagging,
                ),
            )
        finally:
            classifiers.close()


def web_fetcher(settings: Settings) -> WebFetcher | None:
    """Gets images from the web; None where that is not allowed.

    Larger images wait on the disk of the data folder: a container's /tmp is memory.

    Raises:
        MachineError: the data folder cannot be made.
    """
    if not settings.allow_urls:
        return None
    # Here, so that who fetches nothing does not load the HTTP library.
    from tagging.fetch.fetcher import FetchLimits, WebFetcher

    make_data_folder(settings)
    return WebFetcher(
        limits=FetchLimits(max_bytes=settings.image_max_bytes, total_s=settings.url_seconds),
        spool_dir=settings.home.absolute(),
    )


def prepare_home(settings: Settings) -> None:
    """Make the data folder where it is missing, and close it to other accounts of this machine.

    Raises:
        MachineError: it cannot be made or used.
    """
    home = settings.home.resolve()
    with _of_data_folder(home):
        make_private_folder(home)
        left = close_to_others(home, but=settings.images_dir and settings.images_dir.resolve())
    if left:
        log.warning(
            "data_folder_open",
            files=[str(path) for path in left[:5]],
            note="they belong to another account; `atelier check` says what to do",
        )


def make_data_folder(settings: Settings, under: str = "") -> None:
    """Make the data folder, or one `under` it, where it is missing.

    Raises:
        MachineError: it cannot be made.
    """
    with _of_data_folder(settings.home.absolute()):
        make_private_folder(settings.home.absolute() / under)


@contextmanager
def _of_data_folder(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"the data folder {home} cannot be used: {error.strerror or error}. Mend that, or let "
            "--home or ATELIER_HOME name another, one that this account can write"
        ) from error


def image_store(settings: Settings) -> FolderImageStore:
    """The image store; one that an administrator set up for several machines keeps their modes."""
    return FolderImageStore(settings.resolved_images_dir(), private=settings.images_dir is None)


def image_limits(settings: Settings) -> ImageLimits:
    """What one image may cost."""
    return ImageLimits(
        max_bytes=settings.image_max_bytes,
        max_pixels=settings.image_max_pixels,
        max_seconds=settings.image_max_seconds,
        max_memory_bytes=settings.image_max_memory_bytes,
    )


def bundle_folders(settings: Settings) -> list[Path]:
    """Every complete bundle on this machine: the shipped ones and those in the data folder.

    A folder with a dot before its name is one that is being written, or that was to be: as long as
    its writer lives it goes to another name, and what a killed one left is nobody's model.
    """
    return [
        card.parent
        for root in (SHIPPED_BUNDLES, settings.models_dir())
        for card in sorted(root.glob(f"*/{CARD_NAME}"))
        if not card.parent.name.startswith(".")
    ]
