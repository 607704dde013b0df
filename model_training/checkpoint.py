"""A training run that was cut off goes on from its last whole epoch.

One file per run, `checkpoint.npz`: the network's variables, the optimizer's, and a JSON text with
the epoch, the history so far and what the run was started with. It is written beside itself,
fsynced and renamed over the old one, so that a kill at any moment leaves a whole one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.atomic_files import write_file_atomically
from tagging.errors import TrainingDataError

CHECKPOINT_NAME: Final = "checkpoint.npz"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        epoch: how many epochs are complete.
        model: the network's variables, in its order.
        optimizer: the optimizer's variables, in its order (moving averages included).
        best: the averaged weights of the best epoch so far, in the network's order.
        history: one mapping per complete epoch.
        identity: what the run was started with; another start must not go on from here.
    """

    epoch: int
    model: Sequence[npt.NDArray[Any]]
    optimizer: Sequence[npt.NDArray[Any]]
    best: Sequence[npt.NDArray[Any]]
    history: Sequence[Mapping[str, Any]]
    identity: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Put `checkpoint` in place of the one in `folder`, whole or not at all."""
    arrays = {f"model_{i:04d}": v for i, v in enumerate(checkpoint.model)}
    arrays |= {f"optimizer_{i:04d}": v for i, v in enumerate(checkpoint.optimizer)}
    arrays |= {f"best_{i:04d}": v for i, v in enumerate(checkpoint.best)}
    text = json.dumps(
        {
            "epoch": checkpoint.epoch,
            "history": list(checkpoint.history),
            "identity": dict(checkpoint.identity),
        }
    )
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, text=np.array(text), **arrays)
    write_file_atomically(folder / CHECKPOINT_NAME, buffer.getvalue())


def read_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in `folder`; None if there is none.

    Raises:
        TrainingDataError: it belongs to a run with another configuration or other data, or it is
            damaged.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        # From memory: numpy leaves the file open when it is no zip after all.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            text = json.loads(str(stored["text"]))
            names = sorted(stored.files)
            model = [stored[k] for k in names if k.startswith("model_")]
            optimizer = [stored[k] for k in names if k.startswith("optimizer_")]
            best = [stored[k] for k in names if k.startswith("best_")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingDataError(
            f"{path} cannot be read ({error}). Delete it and start without --resume."
        ) from error
    wanted = json.loads(json.dumps(dict(identity)))
    if text["identity"] != wanted:
        different = sorted(
            key
            for key in {*text["identity"], *wanted}
            if text["identity"].get(key) != wanted.get(key)
        )
        raise TrainingDataError(
            f"{path} belongs to another run: {', '.join(different)} differ(s). Start with the "
            "same configuration and data, or without --resume, or in another folder."
        )
    return Checkpoint(
        epoch=text["epoch"],
        model=model,
        optimizer=optimizer,
        best=best,
        history=text["history"],
        identity=text["identity"],
    )
