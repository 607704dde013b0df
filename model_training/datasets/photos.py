"""Photos -> model input, by the very code and in the very child processes that serve.

Decoding is slow beside training, so its result is kept in a cache folder, for this account alone:
the pixels of each set of files, under a name that stands for their bytes, the input form, the
preprocessing version and the limits. `<key>.npy` holds the pixels in the order of the files'
sha256; `<key>.json`, written last, says which of them failed. What is damaged is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model_training.atomic_files import sync_file, write_file_atomically
from model_training.datasets.files import LabelledFile
from tagging.domain import FailureCode
from tagging.images.decoders import DecodeRequest, DecoderPool
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.images.rejection import ImageLimits
from tagging.model_card import InputSpec
from tagging.private_files import make_private_folder, open_private

_AT_ONCE: Final = 1024
"""Files asked of the pool in one call: their pixels are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How photos are decoded: by how many children, within which limits, kept where."""

    cache_dir: Path
    processes: int
    limits: ImageLimits


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedPhotos:
    """`pixels`: uint8 (m, height, width, channels). `row_of`: sha256 -> row, readable ones only.

    `failures`: sha256 -> why it cannot be used.
    """

    pixels: npt.NDArray[np.uint8]
    row_of: Mapping[str, int]
    failures: Mapping[str, str]


def decode_photos(
    files: Sequence[LabelledFile], spec: InputSpec, decoding: Decoding, *, console: Console
) -> DecodedPhotos:
    """Decode each of `files` once, or read what an earlier call kept.

    Args:
        files: at least one; the same bytes may stand under several names.
        spec: what the network is to eat.
        decoding: see there.
        console: gets a progress bar.

    Raises:
        DecoderUnavailable: the children do not start.
    """
    path_of = {file.sha256: file.path for file in files}
    sha256s = sorted(path_of)
    key = _key(sha256s, spec, decoding.limits)
    index, pixels = decoding.cache_dir / f"{key}.json", decoding.cache_dir / f"{key}.npy"
    shape = (len(sha256s), spec.height, spec.width, spec.channels)
    try:
        found, failures = _kept(index, pixels, shape)
    except FileNotFoundError:
        found = None
    except (OSError, ValueError, EOFError) as error:
        console.print(f"note: {pixels} cannot be read ({error}); decoding again", markup=False)
        found = None
    if found is None:
        make_private_folder(decoding.cache_dir)
        index.unlink(missing_ok=True)
        requests = [DecodeRequest(sha256=s, path=path_of[s]) for s in sha256s]
        failures = _decode_into(pixels, requests, shape, spec, decoding, console)
        # A file that is away may come back; all else is said of its bytes, or of the limits.
        if not any(why.startswith(FailureCode.MISSING) for why in failures.values()):
            told = json.dumps({"failures": failures}).encode()
            write_file_atomically(index, told, private=True)
        found = np.load(pixels, mmap_mode="r", allow_pickle=False)
    return DecodedPhotos(
        pixels=found,
        row_of={s: row for row, s in enumerate(sha256s) if s not in failures},
        failures=failures,
    )


def _kept(
    index: Path, pixels: Path, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
    """What an earlier call kept.

    Raises:
        FileNotFoundError: nothing.
        OSError, ValueError, EOFError: something that is damaged.
    """
    kept = json.loads(index.read_bytes())
    found = np.load(pixels, mmap_mode="r", allow_pickle=False)
    if found.shape != shape or found.dtype != np.uint8:
        raise ValueError(f"it holds {found.dtype} {found.shape} and not uint8 {shape}")
    failures = kept.get("failures") if isinstance(kept, dict) else None
    if not isinstance(failures, dict):
        raise ValueError(f"{index.name} beside it lists no failures")
    return found, failures


def _decode_into(
    target: Path,
    requests: Sequence[DecodeRequest],
    shape: tuple[int, ...],
    spec: InputSpec,
    decoding: Decoding,
    console: Console,
) -> dict[str, str]:
    """Write the pixels of all `requests` (zeros for a failure) to `target`; gives the failures."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    failures: dict[str, str] = {}
    try:
        os.close(open_private(partial, os.O_WRONLY))
        # A file that is mapped: a hundred thousand photos need not fit into memory twice.
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with (
            DecoderPool(decoding.processes, decoding.limits) as pool,
            _progress(console) as progress,
        ):
            bar = progress.add_task("decoding", total=len(requests))
            for start in range(0, len(requests), _AT_ONCE):
                part = requests[start : start + _AT_ONCE]
                for row, decoded in enumerate(pool.decode(part, spec), start):
                    if decoded.unread is not None:
                        failures[decoded.sha256] = f"{FailureCode.MISSING}: {decoded.unread}"
                    elif decoded.pixels is None:
                        failures[decoded.sha256] = f"{decoded.code}: {decoded.detail}"
                    else:
                        pixels[row] = decoded.pixels
                progress.advance(bar, len(part))
        pixels.flush()
        del pixels
        sync_file(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return failures


def _key(sha256s: Sequence[str], spec: InputSpec, limits: ImageLimits) -> str:
    identity = {
        "images": sha256s,
        "input": spec.model_dump(),
        "preprocessing_version": PREPROCESSING_VERSION,
        "limits": asdict(limits),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
