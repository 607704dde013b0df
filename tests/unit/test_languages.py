"""The catalogues are complete, and the language that is wished for is spoken."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_file
from babel.messages.pofile import read_po

from tagging.web import languages

WEB = languages.HERE
TRANSLATED = [tag for tag in languages.NAMES if tag != "en"]


def said() -> set[str | tuple[str, ...]]:
    """What templates and scripts say, by their own extractors."""
    found: set[str | tuple[str, ...]] = set()
    keywords = {**DEFAULT_KEYWORDS, **languages.SCRIPT_KEYWORDS}
    for method, files in (
        ("jinja2", (WEB / "templates").glob("*.html")),
        ("javascript", (WEB / "static").glob("*.js")),
    ):
        for path in files:
            found |= {one[1] for one in extract_from_file(method, path, keywords=keywords)}
    assert len(found) > 5
    return found


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def messages(tag: str) -> Iterator[Message]:
    for message in catalogue(WEB / "locale" / tag / "LC_MESSAGES" / "atelier.po"):
        if message.id:
            yield message


def test_the_template_of_catalogues_is_what_the_pages_say() -> None:
    found = {one.id for one in catalogue(WEB / "locale" / "atelier.pot") if one.id}
    assert found == said(), "`make messages` brings it up to date"


@pytest.mark.parametrize("tag", TRANSLATED)
def test_everything_is_translated(tag: str) -> None:
    assert {one.id for one in messages(tag)} == said(), "`make messages` brings new texts in"
    assert not catalogue(WEB / "locale" / tag / "LC_MESSAGES" / "atelier.po").obsolete
    for message in messages(tag):
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert not message.fuzzy, message.id
        assert len(strings) == len(ids), message.id
        for text in strings:
            assert text.strip(), message.id
            assert placeholders(text) == placeholders(ids[-1]), message.id


@pytest.mark.parametrize("tag", TRANSLATED)
def test_translations_hold_to_their_languages_typography(tag: str) -> None:
    for message in messages(tag):
        for text in message.string if isinstance(message.string, tuple) else (message.string,):
            assert "'" not in text, f"a straight apostrophe: {text}"
            if tag == "fr":
                assert not re.search(r"(?<![\u00a0\u202f])[;:!?»](?=\s|$)|« |«\w", text), text


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|%%", text))


@pytest.mark.parametrize(
    ("wished", "accepted", "spoken"),
    [
        (None, None, "en"),
        ("fr", "en", "fr"),
        ("xx", "fr", "fr"),
        (None, "fr-CH, fr;q=0.9, en;q=0.8, *;q=0.5", "fr"),
        (None, "en;q=0.5, fr;q=0.7", "fr"),
        (None, "de, en-GB;q=0.5, fr;q=0.1", "en"),
        (None, "fr;q=0, de", "en"),
        (None, "fr;q=much, en", "en"),
        (None, ";;q=,,=", "en"),
    ],
)
def test_the_language_that_is_wished_for(
    wished: str | None, accepted: str | None, spoken: str
) -> None:
    assert languages.choose(wished, accepted) == spoken


def test_numbers_and_times_are_written_as_people_of_the_language_do() -> None:
    spoken = languages.load()
    english, french = spoken["en"], spoken["fr"]
    assert english.number(12345.6) == "12,345.6"
    assert french.number(12345.6) == "12\u202f345,6"
    assert (english.percent(0.98765), french.percent(0.98765)) == ("98.8%", "98,8\u00a0%")
    assert english.percent(0.98765, 0) == "99%"
    noon = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert french.when(noon).startswith("1 mars 2026")
    assert english.when(noon).startswith("Mar 1, 2026")
    late = dt.datetime(2026, 3, 1, 23, 59, 58, tzinfo=dt.timezone(dt.timedelta(hours=-1)))
    assert french.when(late) == "2 mars 2026, 00:59 UTC"
    assert english.when(late) == "Mar 2, 2026, 12:59\u202fAM UTC"
    assert all(text.when(noon).endswith(" UTC") for text in (english, french))


def test_templates_speak_the_language_of_who_asks() -> None:
    environment = jinja2.Environment(autoescape=True)
    languages.teach(environment)
    template = environment.from_string('{{ _("Name") }} {{ 1234|number }} {{ 0.5|percent(0) }}')
    spoken = languages.load()
    assert template.render(texts=spoken["en"]) == "Name 1,234 50%"
    assert template.render(texts=spoken["fr"]) == "Nom 1\u202f234 50\u00a0%"
