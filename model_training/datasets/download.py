"""Fetch the four files of Fashion-MNIST into a cache folder, for users with internet."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Final

from rich.console import Console

from model_training.datasets.fashion_mnist import MD5
from tagging.errors import TrainingDataError
from tagging.private_files import make_private_folder, open_private

BASE_URL: Final = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
)
"""The set's own repository, over https. The set's page also names the plain-http mirror
http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/; pass it as `base_url` where GitHub is
out of reach. Whatever the place, the files must have the published checksums."""

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""The largest published file has 26 MB; a server that sends more is not sending that file."""

_CHUNK_BYTES: Final = 1024 * 1024


def download_fashion_mnist(
    folder: Path,
    *,
    console: Console,
    base_url: str = BASE_URL,
    checksums: Mapping[str, str] = MD5,
    timeout_s: float = 60.0,
) -> Path:
    """Fetch what `folder` does not hold yet; a file counts only with its published MD5.

    Args:
        folder: made if missing, for this account alone, as what is put there.
        console: gets a line per file fetched.
        base_url: http or https, where the files lie side by side.
        checksums: file name -> md5 (hex); the published ones unless a test serves its own.
        timeout_s: seconds without a byte after which a fetch is given up.

    Returns:
        `folder`.

    Raises:
        TrainingDataError: the server cannot be reached, or sends other bytes than published.
    """
    if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
        raise TrainingDataError(
            f"cannot download from {base_url!r}: only http and https addresses are taken. "
            "For files on this machine, name their folder in ATELIER_DATA_DIR."
        )
    make_private_folder(folder)
    for name, md5 in checksums.items():
        path = folder / name
        if path.exists() and _md5_of(path) == md5:
            continue
        url = urllib.parse.urljoin(base_url.rstrip("/") + "/", name)
        console.print(f"fetching {url}")
        _fetch(url, path, md5, timeout_s)
    return folder


def _fetch(url: str, path: Path, md5: str, timeout_s: float) -> None:
    """Stream to a file beside `path`, check, fsync, rename: `path` is whole or absent."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    try:
        with (
            urllib.request.urlopen(url, timeout=timeout_s) as answer,
            os.fdopen(open_private(partial, os.O_WRONLY | os.O_TRUNC), "wb") as stream,
        ):
            while chunk := answer.read(_CHUNK_BYTES):
                received += len(chunk)
                if received > MAX_FILE_BYTES:
                    break
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if received > MAX_FILE_BYTES or digest.hexdigest() != md5:
            raise TrainingDataError(
                f"{url} sent {received} bytes with md5 {digest.hexdigest()}, the published file "
                f"has {md5}. Nothing was kept. Try again; if it stays so, fetch the file from "
                "another mirror and name its folder in ATELIER_DATA_DIR."
            )
        partial.replace(path)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise TrainingDataError(
            f"{url} could not be fetched: {error}. Check the connection; without internet, put "
            "the four files of Fashion-MNIST into a folder and name it in ATELIER_DATA_DIR."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
