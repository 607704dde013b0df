"""People at a real server, without a browser: they log in and make the requests of the page."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Final

import httpx2

from tagging import accounts
from tagging.database.session import Database
from tagging.domain import Role
from worker.bootstrap import utc_now

PASSWORD: Final = "correct horse battery"
Card = dict[str, Any]
Timing = Callable[[str, float], None]


def nothing_timed(kind: str, seconds: float) -> None:
    """For who measures nothing."""


def add_people(database: Database, names: Collection[str]) -> None:
    """Accounts of reviewers who log in with `PASSWORD`."""
    for name in names:
        accounts.add(database, name, Role.REVIEWER, PASSWORD, now=utc_now())


class Reviewer:
    """One person, logged in. Not thread-safe; a context manager.

    Args:
        url: of the server, without a path.
        timed: is called with every request's kind and the seconds that it took.
    """

    def __init__(
        self, url: str, name: str, *, retailer: str = "default", timed: Timing = nothing_timed
    ) -> None:
        self.name = name
        self._retailer = retailer
        self._timed = timed
        self._client = httpx2.Client(base_url=url, timeout=60)
        self._get("log in", "/login")
        entered = self._client.post("/login", data={"name": name, "password": PASSWORD})
        if entered.status_code != 303:
            raise RuntimeError(
                f"{name} was not let in: {entered.status_code} {entered.text[-900:]}"
            )
        page = self._get("page", f"/review/{retailer}").text
        token = re.search(r'name="csrf" content="([^"]+)"', page)
        if token is None:
            raise RuntimeError("the page names no CSRF token")
        self._client.headers["x-csrf-token"] = token[1]

    @property
    def cookies(self) -> dict[str, str]:
        """What a browser needs to be this person."""
        return dict(self._client.cookies)

    def cards(self, have: Collection[int] = (), kind: str = "cards", **wish: Any) -> list[Card]:
        """Products that are reserved for this person now."""
        path = f"/api/{self._retailer}/cards"
        found: list[Card] = self._get(kind, path, {**wish, "have": list(have)}).json()["cards"]
        return found

    def grid(self, have: Collection[int] = (), **wish: Any) -> list[Card]:
        """Products that look alike, reserved for this person now."""
        path = f"/api/{self._retailer}/grid"
        found: list[Card] = self._get("grid", path, {**wish, "have": list(have)}).json()["cards"]
        return found

    def neighbours(self, product: int) -> list[dict[str, Any]]:
        """Accepted products to compare this one with."""
        path = f"/api/{self._retailer}/neighbours"
        answered = self._get("neighbours", path, {"product": product}).json()
        found: list[dict[str, Any]] = answered["neighbours"]
        return found

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get("counts", f"/api/{self._retailer}/counts").json()
        return found

    def photo(self, card: Card, size: str, kind: str = "photo") -> bytes:
        """The main photo, a WebP."""
        return self._get(kind, f"/photos/{size}/{card['images'][0]}.webp").content

    def say(
        self, answers: Sequence[dict[str, Any]], action: str | None = None, kind: str = "reviews"
    ) -> list[dict[str, Any]]:
        """One act; what became of each answer. See `answer`."""
        body = {"action": action or str(uuid.uuid4()), "answers": list(answers)}
        outcomes: list[dict[str, Any]] = self._post(
            kind, f"/api/{self._retailer}/reviews", body
        ).json()["outcomes"]
        return outcomes

    def say_and_hear_nothing(self, answers: Sequence[dict[str, Any]], action: str) -> None:
        """One act whose answer is lost on the way: the line is cut once it is sent."""
        body = {"action": action, "answers": list(answers)}
        with contextlib.suppress(httpx2.ReadTimeout):
            self._client.post(
                f"/api/{self._retailer}/reviews",
                json=body,
                timeout=httpx2.Timeout(60, read=0.002),
            )

    def undo(self, of: str, action: str | None = None) -> list[dict[str, Any]]:
        """Take an act back."""
        body = {"action": action or str(uuid.uuid4()), "of": of}
        outcomes: list[dict[str, Any]] = self._post(
            "undo", f"/api/{self._retailer}/undo", body
        ).json()["outcomes"]
        return outcomes

    def keep(self, product_ids: Collection[int]) -> set[int]:
        """Reserve anew; what is still this person's."""
        kept = self._post("keep", "/api/keep", {"products": list(product_ids)}).json()["products"]
        return set(kept)

    def leave(self, product_ids: Collection[int]) -> None:
        self._post("leave", "/api/leave", {"products": list(product_ids)})

    def _get(self, kind: str, path: str, query: dict[str, Any] | None = None) -> httpx2.Response:
        return self._done(kind, lambda: self._client.get(path, params=query))

    def _post(self, kind: str, path: str, body: dict[str, Any]) -> httpx2.Response:
        return self._done(kind, lambda: self._client.post(path, json=body))

    def _done(self, kind: str, request: Callable[[], httpx2.Response]) -> httpx2.Response:
        began = time.perf_counter()
        answer = request()
        self._timed(kind, time.perf_counter() - began)
        answer.raise_for_status()
        return answer

    def __enter__(self) -> Reviewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()


def answer(card: Card, verdict: str = "confirmed", category: str | None = None) -> dict[str, Any]:
    """What a page sends of one card."""
    about = {name: card[name] for name in ("sku", "image_set", "prediction")}
    return {**about, "verdict": verdict, "category": category}


def wait_for_server(url: str, timeout_s: float = 60) -> None:
    """Until it answers; for one that was just started."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            httpx2.get(f"{url}/login")
        except httpx2.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
