"""What Linux keeps a decoder from, were it taken over by a picture: Landlock, see landlock(7).

Any process may confine itself by it, for good, and needs no privilege. It is in most kernels since
5.13; what an older one does not know, it does not hold.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Final

# Numbers and bits of linux/landlock.h; the system calls have these on every architecture of ours.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h

_EXECUTE: Final = 1 << 0
_CHANGE: Final = 1 << 1 | sum(1 << bit for bit in range(4, 13))
"""To write a file, to make whatever it be, to remove it."""
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_TCP: Final = 1 << 0 | 1 << 1
"""To bind and to connect."""
_SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract Unix sockets, and signals."""


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`: what is forbidden where no rule allows it."""

    _fields_ = (
        ("files", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`: what is allowed in a folder."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def supported() -> int:
    """Which version of Landlock the kernel has; 0: none, or it is kept from us."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError as error:
        # A container's filter of system calls that does not know it answers with the last one.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def confine(writable: Path | None = None) -> None:
    """Give up, for the rest of this process and its children, as far as the kernel supports it:

    - to look into processes outside, their memory and environment, and to trace them (5.13; a
      program of root's may still read, by CAP_PERFMON, in newer kernels);
    - to start programs, and to write, make, rename and remove files (5.13), to cut them (6.2);
    - to connect by TCP, or to be connected to (6.7);
    - to send signals to processes outside (6.12).

    Descriptors that are open stay as they are. Only for the thread that calls, and those it starts.

    Args:
        writable: a folder in which files may be changed all the same.

    Raises:
        OSError: the kernel refuses what it says it supports.
    """
    version = supported()
    if version == 0:
        return
    files = _EXECUTE | _CHANGE
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    wanted = _Ruleset(
        files=files, net=_TCP if version >= 4 else 0, scoped=_SCOPES if version >= 6 else 0
    )
    rules = _call(_CREATE_RULESET, ctypes.byref(wanted), ctypes.sizeof(wanted), 0)
    try:
        if writable is not None:
            _allow(rules, writable, files & ~_EXECUTE)
        # Or a program of another user's, with that user's rights, would escape.
        yes_and_nothing_else = [ctypes.c_ulong(one) for one in (1, 0, 0, 0)]
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, *yes_and_nothing_else):
            raise _last_error("prctl")
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, folder: Path, allowed: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        rule = _Beneath(allowed=allowed, folder=descriptor)
        _call(_ADD_RULE, rules, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    """A system call that the C library has no function for. Raises OSError."""
    system = ctypes.CDLL(None, use_errno=True).syscall
    system.restype = ctypes.c_long
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    answer = int(system(ctypes.c_long(number), *words))
    if answer < 0:
        raise _last_error(f"system call {number}")
    return answer


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what} (Landlock): {os.strerror(number)}")
