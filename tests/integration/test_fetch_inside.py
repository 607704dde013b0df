"""No address in a manifest and no redirect leads inside, in whatever form: the canary counts."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tagging.fetch import network as fetch_network
from tagging.fetch.address import FetchError, WebAddress
from tagging.fetch.fetcher import WebFetcher
from tagging.fetch.network import LookupFailed, SystemNetwork
from tests import fetch_stage
from tests.fetch_stage import AGAIN, ONCE, PHOTO, REFUSED, Stage, photo, to
from tests.hostile_server import (
    SHOP,
    SHOP_V6,
    HostileServer,
)
from tests.unit.test_fetch_address import INSIDE

authority = fetch_stage.authority
stage = fetch_stage.stage


# Inside: no connection, whatever is tried

LITERALS = [
    f"http://[{address}]/" if ":" in address else f"http://{address}/"
    for address in INSIDE
    if "%" not in address
]
DISGUISED = (
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1:80/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://[::ffff:7f00:1]/",
    "http://[::FFFF:127.0.0.1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[fe80::1%25lo]/",
    "http://localhost/",
    "http://LocalHost./",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://metadata.google.internal/",
    "http://shop.example@127.0.0.1/",
    "http://shop.example\\@127.0.0.1/",
    "http://127.0.0.1\\.shop.example/",
    "http://127.0.0.1#.shop.example/",
    "http://127.0.0.1?.shop.example/",
    "http://shop.example:80@inside.example/",
    "http://inside.example/",
    "http://INSIDE.example./",
    "http://nowhere.example/",
    "http://shop.example:22/",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("text", [*LITERALS, *DISGUISED])
def test_no_form_of_an_address_leads_inside(stage: Stage, text: str) -> None:
    with pytest.raises(FetchError, check=REFUSED):
        stage.fetch(text)
    assert stage.network.connected == []


@pytest.mark.parametrize("address", INSIDE)
def test_no_name_leads_inside(stage: Stage, address: str) -> None:
    stage.network.names["turn.example"] = [[address]]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.fetch("http://turn.example/")
    assert stage.network.connected == []


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_with_one_inner_address_among_others_is_refused(stage: Stage, address: str) -> None:
    stage.network.names["turn.example"] = [[SHOP, SHOP_V6, address]]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.fetch("http://turn.example/")
    assert stage.network.connected == []


@pytest.mark.parametrize("text", [*LITERALS, *DISGUISED])
def test_no_redirect_leads_inside(stage: Stage, text: str) -> None:
    location = text.encode("utf-8").decode("latin-1")
    with pytest.raises(FetchError, check=REFUSED):
        stage.answered(to(location))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
def test_no_redirect_to_a_name_leads_inside(stage: Stage, status: str, address: str) -> None:
    stage.network.names["turn.example"] = [[address]]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.answered(to("//turn.example/", status))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "::1", "fd00:ec2::254"])
def test_a_name_that_turns_inside_after_its_check_is_not_followed(
    stage: Stage, address: str
) -> None:
    """Rebinding: one look-up for the check and the connection, whatever the next one would say."""
    stage.network.names["shop.example"] = [[SHOP], [address]]
    assert stage.answered(photo) == PHOTO
    assert stage.network.lookups == ["shop.example"]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.fetch("http://shop.example/a.png")
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_name_that_turns_inside_between_hops_is_not_followed(stage: Stage, address: str) -> None:
    stage.network.names["shop.example"] = [[SHOP], [address]]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.answered(to("/b.png"))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_name_that_turns_inside_between_tries_is_not_followed(stage: Stage, address: str) -> None:
    stage.network.names["shop.example"] = [[SHOP], [address]]
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.answered(
            lambda connection, _: connection.reply("503 Busy", "Content-Length: 0"), AGAIN
        )
    assert stage.network.connected == [(SHOP, 80)]


def test_a_public_address_that_is_this_machine_is_not_connected_to(stage: Stage) -> None:
    stage.network.own.add(SHOP)
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        stage.answered(photo)
    assert stage.network.connected == []


def test_it_is_not_told_which_names_exist_inside(stage: Stage) -> None:
    said = []
    for name in ("inside.example", "nowhere.example"):
        with pytest.raises(FetchError, check=REFUSED) as caught:
            stage.fetch(f"http://{name}/")
        said.append(str(caught.value).replace(name, "NAME"))
    assert said[0] == said[1]
    assert "10.0.0.5" not in said[0]


# Inside, with the system's own network

FORMS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.9.9.9",
    "localhost",
    "0.0.0.0",
    "0",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::",
)


@pytest.mark.parametrize("host", FORMS)
def test_the_system_connects_to_none_of_these(stage: Stage, host: str) -> None:
    """Behind the reading of addresses, which refuses most of these: the check of the connection."""
    address = WebAddress(scheme="http", host=host, port=stage.inside.port, target="/")
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        WebFetcher(limits=ONCE, network=SystemNetwork()).open(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_without_the_check_it_would_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """So the canary can sing."""
    monkeypatch.setattr(fetch_network, "is_public", lambda _: True)
    system = SystemNetwork()
    monkeypatch.setattr(system, "is_own", lambda _: False)
    with HostileServer() as inside:
        inside.answers["/"] = photo
        address = WebAddress(scheme="http", host=host, port=inside.port, target="/")
        with WebFetcher(limits=ONCE, network=system, spool_dir=tmp_path).open(address) as stream:
            assert stream.read() == PHOTO
        assert inside.connections == 1


def test_this_machine_knows_its_own_addresses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SystemNetwork().is_own(fetch_network.ip_address("127.0.0.1"))
    assert not SystemNetwork().is_own(fetch_network.ip_address(SHOP))
    monkeypatch.setattr(fetch_network, "is_public", lambda _: True)
    address = WebAddress(scheme="http", host="127.0.0.1", port=stage.inside.port, target="/")
    with pytest.raises(FetchError, match="leads to no public address", check=REFUSED):
        WebFetcher(limits=ONCE, network=SystemNetwork()).open(address)


def test_a_name_that_does_not_exist_has_no_address() -> None:
    assert SystemNetwork().resolve("127.0.0.1", 5.0) == ["127.0.0.1"]
    assert SystemNetwork().resolve("::1", 5.0) == ["::1"]


def test_a_name_is_asked_for_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dot at its end keeps the resolver from adding our own domain to it."""
    asked = []

    def getaddrinfo(host: bytes, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert SystemNetwork().resolve("shop.example", 5.0) == ()
    assert asked == [b"shop.example."]


def test_a_look_up_that_hangs_or_fails_is_no_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(20) and [])
    with pytest.raises(LookupFailed, match="timed out"):
        SystemNetwork().resolve("shop.example", 0.05)
    end.set()

    def fail(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LookupFailed, match="try again"):
        SystemNetwork().resolve("shop.example", 5.0)
