"""Web addresses are read once and strictly, and which IP addresses are public is ours to say."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from tagging.catalog.delivery import RejectedRow, shown
from tagging.catalog.opening import open_delivery
from tagging.catalog.redaction import row_without_secrets, without_secrets
from tagging.domain import FailureCode
from tagging.fetch.address import FetchError, WebAddress, follow, is_web_address, parse_address
from tagging.fetch.public import is_public

PUBLIC = (
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001:81b::200e",
    "64:ff9b::5db8:d822",  # NAT64 of 93.184.216.34
)
INSIDE = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba's metadata
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::93.184.216.34",
    "::ffff:127.0.0.1",  # IPv4-mapped
    "::ffff:169.254.169.254",
    "::ffff:93.184.216.34",
    "::ffff:0:127.0.0.1",  # IPv4-translated, RFC 2765
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",  # local NAT64
    "64:ff9b:1::5db8:d822",
    "100::1",  # discard
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:2::1",  # benchmarks
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # Amazon's metadata
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800:220:1::1%eth0",
    "fec0::1",
    "ff02::1",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_anybody_can_reach_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_what_leads_inside_or_nowhere_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("https://shop.example/a.jpg", "https", "shop.example", 443, "/a.jpg"),
        ("HTTP://Shop.EXAMPLE/A.jpg", "http", "shop.example", 80, "/A.jpg"),
        ("https://shop.example", "https", "shop.example", 443, "/"),
        ("https://shop.example?x=1", "https", "shop.example", 443, "/?x=1"),
        ("https://shop.example:443/a", "https", "shop.example", 443, "/a"),
        ("https://shop.example:/a", "https", "shop.example", 443, "/a"),
        ("http://shop.example:443/a", "http", "shop.example", 443, "/a"),
        ("https://shop.example./a", "https", "shop.example", 443, "/a"),
        ("https://my_bucket.s3.example/a", "https", "my_bucket.s3.example", 443, "/a"),
        ("https://café.example/a", "https", "xn--caf-dma.example", 443, "/a"),
        ("https://shop。example/a", "https", "shop.example", 443, "/a"),
        ("https://93.184.216.34/a", "https", "93.184.216.34", 443, "/a"),
        ("http://[2606:2800:220:1::1]/a", "http", "2606:2800:220:1::1", 80, "/a"),
        ("https://shop.example/été 1.jpg", "https", "shop.example", 443, "/%C3%A9t%C3%A9%201.jpg"),
        ("https://shop.example/a%20b?s=1%2F2&t", "https", "shop.example", 443, "/a%20b?s=1%2F2&t"),
        ("https://shop.example/a@2x.jpg#top", "https", "shop.example", 443, "/a@2x.jpg"),
        ('https://shop.example/"<>^`{}', "https", "shop.example", 443, "/%22%3C%3E%5E%60%7B%7D"),
    ],
)
def test_addresses_are_taken_apart(
    text: str, scheme: str, host: str, port: int, target: str
) -> None:
    found = parse_address(text)
    assert (found.scheme, found.host, found.port, found.target) == (scheme, host, port, target)
    assert is_web_address(text)


REFUSED = {
    # Schemes and shapes
    "https:///a.jpg": "no full name",
    "https:/shop.example/a": "no web address",
    "https:\\\\shop.example\\a": "backslash",
    "http://shop.example\\@127.0.0.1/": "backslash",
    "https://": "no full name",
    "https://shop.example\r\nHost: inside.example/a": "invisible",
    "https://shop.example/a\x00.jpg": "invisible",
    "https://shop.example/a\x7f": "invisible",
    "https://shop.example/a\u202egpj": "invisible",
    "https://shop\u200b.example/a": "invisible",
    "https://shop.exa\tmple/": "invisible",
    "https://shop.example/\udcff": "Unicode",
    "https://shop.example/" + "a" * 5000: "longer than",
    # Users
    "https://me@shop.example/a": "user or password",
    "https://me:secret@shop.example/a": "user or password",
    "https://shop.example:80@127.0.0.1/a": "user or password",
    "https://shop.example@127.0.0.1/a": "user or password",
    "https://@127.0.0.1/a": "user or password",
    # Ports
    "http://shop.example:22/": "port 22",
    "http://shop.example:6379/": "port 6379",
    "http://shop.example:8080/": "port 8080",
    "http://shop.example:0/": "port 0",
    "http://shop.example:65616/": "port 65616",  # 80 + 65536
    "http://shop.example:-80/": "host and port",
    "http://shop.example:8o/": "host and port",
    "http://shop.example:80:80/": "host and port",
    "http://shop.example:٨٠/": "host and port",
    "http://shop.example:000080/": "host and port",
    # Numbers for hosts
    "http://127.1/": "number",
    "http://127.0.1/": "number",
    "http://2130706433/": "number",
    "http://0x7f000001/": "number",
    "http://0x7f.0.0.1/": "number",
    "http://0x7f.1/": "number",
    "http://127.0.0.0x1/": "number",
    "http://0177.0.0.1/": "number",
    "http://017700000001/": "number",
    "http://127.0.0.01/": "number",
    "http://0127.0.0.1/": "number",
    "http://256.0.0.1/": "number",
    "http://1.2.3.4.5/": "number",
    "http://0/": "number",
    "http://0x/": "number",
    "http://4294967296/": "number",
    "http://shop.example.1/": "number",
    "http://１２７.１/": "number",
    "http://①②⑦.0.1/": "number",
    "http://127。1/": "number",
    "http://0x7F.0X1/": "number",
    # Brackets
    "http://[::1/": "host and port",
    "http://::1/": "host and port",
    "http://[fe80::1%25eth0]/": "host and port",
    "http://[2606:2800:220:1::1%eth0]/": "host and port",
    "http://[127.0.0.1]/": "IPv6",
    "http://[::ffff:0x7f000001]/": "host and port",
    "http://[]/": "IPv6",
    "http://[v1.fe80::a]/": "host and port",
    # Names
    "http://localhost/": "full name",
    "http://LOCALHOST/": "full name",
    "http://localhost./": "full name",
    "http://ｌｏｃａｌｈｏｓｔ/": "full name",
    "http://metadata/": "full name",
    "http://shop.localhost/": "no public address",
    "http://localhost.localdomain/": "no public address",
    "http://metadata.google.internal/": "no public address",
    "http://METADATA.google.INTERNAL./": "no public address",
    "http://printer.local/": "no public address",
    "http://nas.home.arpa/": "no public address",
    "http://shop..example/": "full name",
    "http://.shop.example/": "full name",
    "http://-shop.example/": "full name",
    "http://shop.example../": "full name",
    "http://shop%2eexample/": "full name",
    "http://127.0.0.1%2f.shop.example/": "full name",
    "http://shop example/": "full name",
    "http://shop.example;inside/": "full name",
    "http://shop,example/": "full name",
    "http://" + "a" * 64 + ".example/": "full name",
    "http://" + "a." * 130 + "example/": "full name",
    "http://ex☃ample..example/": "no valid name",
}


@pytest.mark.parametrize("text", REFUSED)
def test_addresses_that_are_never_asked(text: str) -> None:
    with pytest.raises(FetchError, match=REFUSED[text]) as caught:
        parse_address(text)
    said = str(caught.value)
    assert caught.value.code is FailureCode.REFUSED_PATH
    assert said.isprintable()
    assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://127.0.0.1./x", "127.0.0.1"),
        ("http://１２７.０.０.１/", "127.0.0.1"),
        ("http://①②⑦.0.0.1/", "127.0.0.1"),
        ("http://127。0。0。1/", "127.0.0.1"),
        ("http://[::FFFF:127.0.0.1]/", "::ffff:7f00:1"),
        ("http://[0:0::0:1]/", "::1"),
    ],
)
def test_an_address_in_disguise_is_the_address_that_is_checked(text: str, host: str) -> None:
    found = parse_address(text)
    assert found.host == host
    assert not is_public(ip_address(found.host))


@pytest.mark.parametrize("text", ["a.jpg", "https", "http.jpg", "httpx://a/b", "ftp://a/b", "c:/a"])
def test_what_is_no_web_address_is_left_to_the_folder(text: str) -> None:
    assert not is_web_address(text)


HERE = "https://shop.example/a/b.jpg?x=1"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("c.jpg", "https://shop.example/a/c.jpg"),
        ("/c.jpg", "https://shop.example/c.jpg"),
        ("../c.jpg", "https://shop.example/c.jpg"),
        ("?y", "https://shop.example/a/b.jpg?y"),
        ("//cdn.example/c.jpg", "https://cdn.example/c.jpg"),
        ("https://cdn.example/c.jpg", "https://cdn.example/c.jpg"),
        (" https://cdn.example/été.jpg ", "https://cdn.example/%C3%A9t%C3%A9.jpg"),
    ],
)
def test_redirects_are_followed_from_where_they_are_met(location: str, leads_to: str) -> None:
    found = follow(parse_address(HERE), location)
    assert f"{found.scheme}://{found.authority}{found.target}" == leads_to


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://shop.example/a/b.jpg", "from https to http"),
        ("ftp://shop.example/b.jpg", "no web address"),
        ("file:///etc/passwd", "no web address"),
        ("gopher://shop.example:70/_x", "no web address"),
        ("data:image/png;base64,AAAA", "no web address"),
        ("javascript:alert(1)", "no web address"),
        ("https://me:secret@shop.example/", "user or password"),
        ("https://shop.example:22/", "port 22"),
        ("https://[::1", "may lead to"),
        ("//127.1/", "number"),
        ("https:\\\\inside.example/", "backslash"),
        ("/\\inside.example/", "backslash"),
    ],
)
def test_redirects_that_are_not_followed(location: str, why: str) -> None:
    with pytest.raises(FetchError, match=why) as caught:
        follow(parse_address(HERE), location)
    assert caught.value.code is FailureCode.REFUSED_PATH
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("https://h.example/a.jpg?sig=SECRET", "https://h.example/a.jpg?…"),
        ("https://h.example/a.jpg#SECRET", "https://h.example/a.jpg#…"),
        ("https://SECRET:SECRET@h.example/a.jpg", "https://…@h.example/a.jpg"),
        ("ftp://SECRET@h.example/a.jpg", "ftp://…@h.example/a.jpg"),
        ("HTTPS:\\\\SECRET:SECRET@h.example", "HTTPS:\\\\…@h.example"),
        ("https://h.example/a@2x.jpg", "https://h.example/a@2x.jpg"),
        ("A1,https://h.example/a?SECRET,Shirt", "A1,https://h.example/a?…"),
        ("https://h/a?SECRET|https://i/b?SECRET c", "https://h/a?…|https://i/b?… c"),
        ('{"image": "https://h/a?t=SECRET"}', '{"image": "https://h/a?…'),
        ("https://h.example/a.jpg?…SECRET", "https://h.example/a.jpg?…"),
        ("averyveryverylongscheme://h.example/a?SECRET", "averyveryverylongscheme://h.example/a?…"),
        ("C:\\photos\\#1\\a.jpg", "C:\\photos\\#1\\a.jpg"),
        ("a: b? no address", "a: b? no address"),
    ],
)
def test_what_may_be_secret_is_not_repeated(text: str, shows: str) -> None:
    assert without_secrets(text) == shows
    assert without_secrets(f"'{shows}' is") == f"'{shows}' is"
    row = RejectedRow(line=1, code=FailureCode.BAD_ROW, value=text, error=f"'{text}' is wrong")
    assert "SECRET" not in row.value + row.error


def test_a_long_text_is_read_once() -> None:
    """What is read again from each of its letters takes minutes for each line."""
    for half in ("a.", ".", "a", "aa:/", "a@", "[:", "a|", "a:"):
        for start in ("ab:/", "https://", ""):
            text = start + half * 100_000
            row = RejectedRow(line=1, code=FailureCode.BAD_ROW, value=text, error=f"'{text}' is")
            assert len(row.value) <= 200
            assert len(row_without_secrets(text, cut=True)) <= 2 * len(text)


MALFORMED = (
    "https://bob:SE CRET@shop.example/a.jpg",
    "https://bob:x/SECRET@shop.example/a.jpg",
    "https://bob:x?SECRET@shop.example/a.jpg",
    "https://bob:x#SECRET/@shop.example/a.jpg",
    "https://bob:SECRET@SECRET@shop.example/a.jpg",
    "https:/bob:SE CRET@shop.example/a.jpg",
    "https:\\\\bob:x\\SECRET@shop.example/a.jpg",
    "s3://bob:SE CRET@shop.example/a.jpg",
    "https://shop.example/a.jpg?sig=abc SECRET",
    "https://bob:SECRET" + "SECRET" * 50 + "@shop.example/a.jpg",
)
"""No addresses for a program; their passwords are passwords all the same."""


@pytest.mark.parametrize("text", MALFORMED)
def test_nor_is_it_where_the_address_is_malformed(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "products.csv"
    many = "x" * 150
    quoted = f'"{text}"'
    manifest.write_text(
        f"sku,image,title\nA,{quoted},T\n{quoted},{quoted},T\nB,{quoted}\n{many},{quoted},T,T\n"
        f"{quoted}\n",
        encoding="utf-8",
    )
    lines = tmp_path / "products.jsonl"
    lines.write_text(
        f'{{"sku": "A", "image": {json.dumps(text)}}}\n'
        f'{{"sku": "A", "picture": {json.dumps(text)}}}\n'
        f'{{"sku": {json.dumps(text)}, "image": [1]}}\n'
        f'["{text}\n',
        encoding="utf-8",
    )
    for source, count in ((manifest, 5), (lines, 4)):
        with open_delivery(source) as delivery:
            rows = list(delivery.rows())
        assert len(rows) == count
        for row in rows:
            assert isinstance(row, RejectedRow)
            assert "SECRET" not in row.value + row.error
    assert "SECRET" not in shown(text)
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize("text", ["a" * 10**6 + ":", "a:/" * 10**6, "a@" * 10**6 + ":"])
def test_no_text_takes_long_to_redact(text: str) -> None:
    """Minutes instead of a blink, if each letter were a start to read on from."""
    assert without_secrets(text) == text
    row = RejectedRow(line=1, code=FailureCode.BAD_ROW, value=text, error="")
    assert len(row.value) == 200


def test_of_an_address_that_can_be_read_the_image_is_named() -> None:
    for text in ("https://shop.example/b/a@2x.jpg", "https://shop.example/a b.jpg"):
        assert shown(text) == text
        row = RejectedRow(line=1, code=FailureCode.BAD_ROW, value=text, error="")
        assert row.value == text


def test_an_address_is_shown_without_its_query() -> None:
    found = parse_address("https://shop.example/a.jpg?sig=SECRET")
    assert str(found) == "https://shop.example/a.jpg?…"
    assert "SECRET" not in repr(found)
    assert found.target == "/a.jpg?sig=SECRET"


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (WebAddress(scheme="http", host="::1", port=80, target="/"), "[::1]"),
        (WebAddress(scheme="http", host="a.example", port=443, target="/"), "a.example:443"),
        (WebAddress(scheme="https", host="a.example", port=443, target="/"), "a.example"),
    ],
)
def test_the_host_is_named_as_http_wants_it(address: WebAddress, authority: str) -> None:
    assert address.authority == authority
