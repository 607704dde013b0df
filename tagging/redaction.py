"""What of a URL may be shown: where it leads, never who may get in."""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

HIDDEN: Final = "***"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def shown_url(url: str) -> str:
    """Scheme, user, host, port and path of a URL; its password and its query are left out.

    What cannot be taken apart is not shown but for its scheme: a password with an unquoted `@` or
    `/` may stand anywhere in it.
    """
    try:
        found = sa.make_url(url)
    except (ArgumentError, ValueError):
        scheme = url.partition("://")[0]
        return f"{scheme}://{HIDDEN}" if _SCHEME.fullmatch(scheme) else HIDDEN
    password = HIDDEN if found.password is not None else None
    return found.set(password=password, query={}).render_as_string(hide_password=True)
