"""What `atelier train` and `atelier evaluate` call. Keras is imported when they run, not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from model_training.configuration import TrainingConfig
from model_training.datasets.sources import find_source
from model_training.splits import divide
from tagging.errors import TrainingDataError


def run_train(
    data: str,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    out: Path,
    epochs: int | None,
    resume: bool,
    seed: int,
    limit: int | None,
    console: Console,
    replace: bool = False,
    config: TrainingConfig | None = None,
) -> Path:
    """Load, split, train, calibrate, set thresholds, write the bundle.

    The run's checkpoint and history are kept beside the bundle in `<out>.run`, so that a run that
    was cut off goes on with `resume`.

    Args:
        data: `fashion-mnist`, or the path of a CSV in its form.
        data_dir: where data lies on this machine; None downloads it.
        cache_dir: for downloads.
        out: the bundle's folder, `<name>-<version>`.
        epochs: None for the default.
        resume: go on from the last whole epoch of the same run, if there is one.
        seed: decides initial weights, order and augmentation.
        limit: use only the first so many images, for a quick try; None for all.
        console: gets progress and results.
        replace: whether a bundle at `out` may be replaced.
        config: everything else about the training; None for the shipped model's.

    Returns:
        `out`.

    Raises:
        TrainingDataError: the data is missing, altered or too little, or a number is impossible.
        BundleError: `out` exists and may not be replaced.
    """
    for name, value in (("epochs", epochs), ("limit", limit)):
        if value is not None and value < 1:
            raise TrainingDataError(f"{name} must be at least 1, got {value}.")
    source = find_source(data, data_dir=data_dir, cache_dir=cache_dir, console=console)

    from model_training.bundle import ensure_free, write_bundle
    from model_training.finish import finish
    from model_training.train import train_network

    ensure_free(out, replace=replace)
    base = config or TrainingConfig()
    settings = base.changed(seed=seed, epochs=base.epochs if epochs is None else epochs)
    labelled = source.load().first(limit)
    split = divide(labelled.images)
    console.print(
        f"{source}: {len(split.train)} to train, {len(split.select)} to select, "
        f"{len(split.holdout)} held out"
    )
    trained = train_network(
        labelled.take(split.train),
        labelled.take(split.select),
        settings,
        run_folder=out.with_name(out.name + ".run"),
        data_fingerprint=split.fingerprint,
        resume=resume,
        console=console,
    )
    card, strangeness = finish(out.name, source.name, trained, settings, labelled, split, limit)
    write_bundle(out, trained.model, strangeness, card, replace=replace)
    acceptance = card.acceptance
    console.print(
        f"{out}: hold-out accuracy {card.metrics['holdout']['accuracy']:.4f}, accepts "
        f"{acceptance.holdout_accepted} of {acceptance.holdout_n} with "
        f"{acceptance.holdout_errors} errors (95 % bound {acceptance.error_upper:.4f})"
    )
    return out


def run_evaluate(
    bundle: Path,
    *,
    data: str,
    data_dir: Path | None,
    cache_dir: Path,
    test: bool,
    console: Console,
    record: bool = False,
) -> dict[str, Any]:
    """Measure a bundle on the data that it was made from; see `evaluate.evaluate_bundle`."""
    from model_training.evaluate import evaluate_bundle

    source = find_source(data, data_dir=data_dir, cache_dir=cache_dir, console=console)
    return evaluate_bundle(bundle, source, test=test, record=record)
