"""Teach a network: AdamW, one warm-up and half a cosine, a moving average of the weights.

The loop is written out (`train_on_batch`) instead of `Model.fit`, so that an epoch can be repeated
from (seed, epoch) alone, and nothing in it belongs to one Keras backend.

This module imports Keras; light code must not import it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from model_training.atomic_files import write_file_atomically
from model_training.batches import Batch, epoch_batches, steps_per_epoch
from model_training.calibrate import find_temperature
from model_training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from model_training.configuration import TrainingConfig
from model_training.datasets.labelled import LabelledImages
from model_training.losses import TreeCrossentropy
from model_training.measures import accuracy, negative_log_likelihood
from model_training.networks import (
    build,
    compiles_for_itself,
    dtype_policy,
    fastest_dtype_policy,
    seen_in_a_mirror,
)
from model_training.pacing import best_epoch, epochs_within, is_exhausted
from model_training.predict import predict_logits
from model_training.teacher import Teachers
from tagging.model_card import NetworkSpec

PLAN_NAME: Final = "plan.json"

_TIMED_STEPS: Final = 40


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """`model`: float32, the averaged weights. `network`: what builds it. `history`: by epoch."""

    model: keras.Model
    network: NetworkSpec
    history: Sequence[Mapping[str, Any]]


def train_network(
    train: LabelledImages,
    select: LabelledImages,
    config: TrainingConfig,
    *,
    run_folder: Path,
    data_fingerprint: str,
    resume: bool,
    console: Console,
    time_budget_s: float | None = None,
    teachers: Teachers | None = None,
) -> TrainedNetwork:
    """Train on `train`; after each epoch say how the averaged weights do on `select`.

    What is said there is of the network by itself, without its mirror image.

    Args:
        train: uint8 images (n, height, width, channels) and labels.
        select: never trained on.
        config: see there.
        run_folder: made if missing; gets `checkpoint.npz` and `history.jsonl`.
        data_fingerprint: of the split; a checkpoint of other data is refused.
        resume: go on from the checkpoint in `run_folder`, if there is one.
        console: gets a progress bar and a line per epoch.
        time_budget_s: seconds; some steps are timed first, and only as many of `config.epochs` are
            planned as fit. A run that goes on keeps the plan that it began with.
        teachers: see `teacher`.

    Raises:
        TrainingDataError: `resume`, and the checkpoint belongs to another run.
        BundleError: the network's parameters do not fit.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    if config.dtype_policy == "auto":
        config = config.changed(dtype_policy=fastest_dtype_policy())
    if time_budget_s is not None:
        config = config.changed(
            epochs=_planned_epochs(
                train, config, run_folder, time_budget_s, teachers, resume=resume, console=console
            )
        )
    identity = {
        "config": config.as_dict(),
        "data": data_fingerprint,
        "images": len(train),
        "teachers": [] if teachers is None else teachers.fingerprints,
    }
    checkpoint = read_checkpoint(run_folder, identity) if resume else None

    model, parameters = _fresh(train, config)
    with dtype_policy("float32"):
        averaged = build(config.network, parameters)
        averaged.jit_compile = compiles_for_itself()
    history: list[Mapping[str, Any]] = []
    best: Sequence[Any] = []
    if checkpoint is not None:
        _restore(model, checkpoint)
        history, best = list(checkpoint.history), checkpoint.best
        console.print(f"resuming after epoch {checkpoint.epoch} of {config.epochs}")
    _copy_averaged_weights(model, averaged)

    steps = steps_per_epoch(len(train), config.batch_size)
    with _progress(console) as progress:
        bar = progress.add_task("training", total=config.epochs * steps)
        progress.update(bar, completed=len(history) * steps)
        for epoch in range(len(history), config.epochs):
            if is_exhausted(history, config.patience):
                console.print(
                    f"stopping early: no better epoch in the last {config.patience}; the best was "
                    f"epoch {best_epoch(history) + 1}"
                )
                break
            started = time.perf_counter()
            losses = []
            for images, targets in _lessons(train, config, epoch, teachers):
                losses.append(float(model.train_on_batch(images, targets)))
                progress.advance(bar)
            trained_s = time.perf_counter() - started
            raw = _copy_averaged_weights(model, averaged)
            logits = predict_logits(averaged, select.images)
            temperature = find_temperature(logits, select.labels)
            history.append(
                {
                    "epoch": epoch + 1,
                    "loss": round(float(np.mean(losses)), 5),
                    "select_accuracy": round(accuracy(logits, select.labels), 5),
                    "select_nll": round(
                        negative_log_likelihood(logits, select.labels, temperature), 5
                    ),
                    "seconds": round(trained_s, 1),
                }
            )
            if best_epoch(history) == epoch:
                best = _values(averaged.weights)
            write_checkpoint(
                run_folder,
                Checkpoint(
                    epoch=epoch + 1,
                    model=raw,
                    optimizer=[np.asarray(v) for v in _values(model.optimizer.variables)],
                    best=best,
                    history=history,
                    identity=identity,
                ),
            )
            _write_history(run_folder, history)
            console.print(_epoch_line(history[-1], config.epochs))
    if config.patience and best:
        averaged.set_weights(list(best))
    spec = NetworkSpec(name=config.network, parameters=parameters)
    if config.mirror:
        averaged = seen_in_a_mirror(averaged)
        averaged.jit_compile = compiles_for_itself()
        spec = NetworkSpec(
            name="mirrored", parameters={"of": spec.name, "parameters": spec.parameters}
        )
    return TrainedNetwork(model=averaged, network=spec, history=history)


def _fresh(train: LabelledImages, config: TrainingConfig) -> tuple[keras.Model, dict[str, Any]]:
    """The network that is trained, with its optimizer; and the parameters that build it."""
    parameters = dict(config.parameters) | {
        "input_shape": list(train.images.shape[1:]),
        "categories": len(train.categories),
    }
    keras.utils.set_random_seed(config.seed)
    with dtype_policy(config.dtype_policy):
        model = build(config.network, parameters)
        compile_for_training(model, config, train)
    return model, parameters


def _lessons(
    train: LabelledImages, config: TrainingConfig, epoch: int, teachers: Teachers | None
) -> Iterator[Batch]:
    """The batches of an epoch; with teachers, their answers are mixed into the targets."""
    views = config.teacher_views if teachers is not None else 0
    view = epoch % views if views else epoch
    batches = epoch_batches(
        train,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=view,
        augmentation=config.augmentation,
        mixup=config.mixup,
    )
    for step, (images, targets) in enumerate(batches):
        if teachers is None:
            yield images, targets
        else:
            share = config.teacher_share
            answer = teachers.answer(images, remember=(view, step) if views else None)
            yield images, (1 - share) * targets + share * answer


def _planned_epochs(
    train: LabelledImages,
    config: TrainingConfig,
    run_folder: Path,
    budget_s: float,
    teachers: Teachers | None,
    *,
    resume: bool,
    console: Console,
) -> int:
    """How many epochs fit; kept in `plan.json`: a run that goes on has the same schedule."""
    plan = run_folder / PLAN_NAME
    if resume and plan.exists():
        return int(json.loads(plan.read_text(encoding="utf-8"))["epochs"])
    model, _ = _fresh(train, config)
    began = time.perf_counter()
    epoch_s = _seconds_per_epoch(model, train, config, None)
    views, first_s = 0, 0.0
    if teachers is not None:
        # The answers to each view are asked for once; without views, in every epoch.
        views = config.teacher_views or config.epochs
        first_s = _seconds_per_epoch(model, train, config, teachers)
    left = budget_s - (time.perf_counter() - began)
    epochs = epochs_within(left, epoch_s, most=config.epochs, first=views, first_s=first_s)
    write_file_atomically(plan, json.dumps({"epochs": epochs}).encode())
    taught = f" ({first_s:.0f} s while its teachers are asked)" if views else ""
    console.print(
        f"an epoch takes about {epoch_s:.0f} s{taught}: {epochs} of {config.epochs} epochs fit"
    )
    return epochs


def _seconds_per_epoch(
    model: keras.Model, train: LabelledImages, config: TrainingConfig, teachers: Teachers | None
) -> float:
    """By the median of some steps, because a neighbour's burst of work is no news."""
    fresh = config.changed(teacher_views=0)  # what is asked for here is not remembered
    seconds: list[float] = []
    started = time.perf_counter()
    for images, targets in _lessons(train, fresh, 0, teachers):
        model.train_on_batch(images, targets)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        if len(seconds) == _TIMED_STEPS:
            break
    # The first steps compile.
    steps = steps_per_epoch(len(train), config.batch_size)
    return float(np.median(seconds[len(seconds) // 2 :])) * steps


def compile_for_training(model: keras.Model, config: TrainingConfig, train: LabelledImages) -> None:
    """Give `model` its optimizer, schedule and loss, and create the optimizer's variables."""
    steps = config.epochs * steps_per_epoch(len(train), config.batch_size)
    warmup = max(1, round(steps * config.warmup_share))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.peak_learning_rate / 25,
        warmup_target=config.peak_learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, steps - warmup),
    )
    optimizer = keras.optimizers.AdamW(
        learning_rate=schedule,
        weight_decay=config.weight_decay,
        use_ema=True,
        # A short run must not average in its first steps: at most a twentieth of all steps.
        ema_momentum=max(0.0, min(config.ema_momentum, 1 - 20 / steps)),
        ema_overwrite_frequency=None,
    )
    # Scales, offsets and biases are few and set the scale of things; decay is for the kernels.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(
        optimizer=optimizer,
        loss=TreeCrossentropy(train.taxonomy, config.tree_weight)
        if config.tree_weight
        else keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        jit_compile=compiles_for_itself(),
    )
    optimizer.build(model.trainable_variables)


def _copy_averaged_weights(model: keras.Model, averaged: keras.Model) -> list[Any]:
    """Put the moving averages into `averaged`; gives the raw weights, which `model` keeps.

    Batch-norm statistics are no trained weights and are copied as they are: by the time the
    learning rate has come down, the network that they were gathered for is the averaged one.
    """
    raw = _values(model.weights)
    if int(np.asarray(model.optimizer.iterations)) > 0:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    averaged.set_weights(_values(model.weights))
    model.set_weights(raw)
    return raw


def _values(variables: Sequence[Any]) -> list[Any]:
    return [keras.ops.convert_to_numpy(v) for v in variables]


def _restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    model.set_weights(list(checkpoint.model))
    for variable, value in zip(model.optimizer.variables, checkpoint.optimizer, strict=True):
        variable.assign(value)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _epoch_line(entry: Mapping[str, Any], epochs: int) -> str:
    return (
        f"epoch {entry['epoch']}/{epochs}: loss {entry['loss']:.4f}, "
        f"select accuracy {entry['select_accuracy']:.4f}, select NLL {entry['select_nll']:.4f}, "
        f"{entry['seconds']:.0f} s"
    )


def _write_history(run_folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in history)
    (run_folder / "history.jsonl").write_text(lines, encoding="utf-8")
