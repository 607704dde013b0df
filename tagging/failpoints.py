"""Failpoints: named places at which a test may make a process die, fail, wait or hang.

    failpoint("tag.decode")              # off: one look at a flag
    failpoint("decoder.image", sha256)   # may be armed for one key only

They are off unless the setting `ATELIER_FAILPOINTS` names a folder. A file in it, named like the
failpoint, arms it, also in processes that run already. What it says:

    kill | exit | raise | delay SECONDS | hang   [key=KEY,KEY...] [always]

`kill` is SIGKILL, `exit` ends the process without any clean-up. Without `always` it happens once,
in whichever process comes first: that one renames the file to `NAME.fired-PID`. Every write
transaction has two of them, `NAME.commit` and `NAME.committed`, see `tagging/database/session.py`.

The idea is FreeBSD's fail(9); and of etcd's gofail, to switch them from outside.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACTIONS: Final = ("kill", "exit", "raise", "delay", "hang")
EXIT_CODE: Final = 70
_FOR_EVER_S: Final = 10**8
_FIRED: Final = ".fired-"

_folder: Path | None = None


class FailpointError(Exception):
    """What an armed failpoint raises: an error that nobody foresees."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to happen at a failpoint. `keys`: only for these, if there are any; `always`: not
    once only.
    """

    action: str
    seconds: float = 0.0
    keys: frozenset[str] = frozenset()
    always: bool = False

    @staticmethod
    def read(text: str) -> Order:
        """Raises ValueError for what is no order."""
        action, *rest = text.split() or [""]
        if action not in ACTIONS:
            raise ValueError(f"an order begins with one of {', '.join(ACTIONS)}; got {text!r}")
        seconds = float(rest.pop(0)) if action == "delay" and rest else 0.0
        keys = [word.removeprefix("key=").split(",") for word in rest if word.startswith("key=")]
        return Order(
            action=action,
            seconds=seconds,
            keys=frozenset(*keys),
            always="always" in rest,
        )

    def written(self) -> str:
        """As `read` takes it."""
        words = [self.action]
        if self.action == "delay":
            words.append(f"{self.seconds:g}")
        if self.keys:
            words.append(f"key={','.join(sorted(self.keys))}")
        if self.always:
            words.append("always")
        return " ".join(words)


def switch_on(folder: Path | None) -> None:
    """Look for orders in `folder` from now on; None: off. For the whole process."""
    global _folder
    _folder = folder


def folder() -> Path | None:
    """Where orders are looked for; None: off."""
    return _folder


def fired(folder: Path, name: str) -> tuple[Path, int] | None:
    """What became of an order that was obeyed: its file, and the id of the process; or None."""
    for path in folder.glob(f"{name}{_FIRED}*"):
        return path, int(path.name.rpartition("-")[2])
    return None


def failpoint(name: str, key: str | None = None) -> None:
    """Do what the order of this name says, if there is one.

    Raises:
        FailpointError: that was the order.
    """
    if _folder is not None:
        _obey(_folder / name, key)


def commitpoint(transaction: str, moment: str) -> None:
    """The failpoint `TRANSACTION.MOMENT`; its name is put together only where they are on."""
    if _folder is not None:
        _obey(_folder / f"{transaction}.{moment}", None)


def _obey(path: Path, key: str | None) -> None:
    try:
        order = Order.read(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return
    if order.keys and key not in order.keys:
        return
    if not order.always:
        try:  # The number stands in the name, since a decoder may write to no file.
            path.rename(path.with_name(f"{path.name}{_FIRED}{os.getpid()}"))
        except FileNotFoundError:  # another process came first
            return
    match order.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(EXIT_CODE)
        case "raise":
            raise FailpointError(f"failpoint {path.name}")
        case "delay":
            time.sleep(order.seconds)
        case _:
            time.sleep(_FOR_EVER_S)
