"""The languages of the pages: gettext catalogues, numbers and times.

The catalogues are read as translators write them (`locale/*/LC_MESSAGES/atelier.po`), at start, so
nothing has to be compiled. English is the language of the source and has none. `make messages`
brings what templates and scripts say into them.
"""

from __future__ import annotations

import datetime as dt
import gettext
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from babel import Locale
from babel.dates import format_date, format_time
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations
from jinja2.runtime import Context

HERE: Final = Path(__file__).parent
COOKIE: Final = "atelier_language"
NAMES: Final = {"en": "English", "fr": "Français"}
"""Tag -> its own name of each language that the pages speak; the first where no other is wished."""

SCRIPT_KEYWORDS: Final = {"t": None, "tn": (1, 2)}
"""How scripts name their texts (`static/text.js`): `t(text)`, `tn(one, many, count)`."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One language. `of_scripts`: what scripts say -> its translation, or [of one, of many]."""

    language: str
    translations: gettext.NullTranslations
    of_scripts: Mapping[str, str | list[str]]

    def number(self, value: float) -> str:
        """12345.6 -> 12,345.6"""
        return format_decimal(value, locale=self.language)

    def percent(self, value: float, digits: int = 1) -> str:
        """A share (0 to 1) with so many decimals: 0.9912 -> 99.1%"""
        usual = Locale.parse(self.language).percent_formats[None].pattern  # "#,##0 %"
        exact = usual.replace("0", "0." + "0" * digits) if digits else usual
        return format_percent(value, exact, locale=self.language)

    def when(self, value: dt.datetime) -> str:
        """A time to the minute, in UTC: the server does not know where its reader is."""
        moment = value.astimezone(dt.UTC)
        both = str(Locale.parse(self.language).datetime_formats["medium"])  # "{1}, {0}"
        date = format_date(moment, "medium", locale=self.language)
        time = format_time(moment, "short", tzinfo=dt.UTC, locale=self.language)
        return both.format(time, date) + " UTC"


def load() -> dict[str, Texts]:
    """Every language by its tag."""
    said = sorted(set(_said_by_scripts()))
    return {tag: _texts(tag, said) for tag in NAMES}


def choose(wished: str | None, accepted: str | None) -> str:
    """The tag of the language to speak.

    Args:
        wished: what the person chose, if they did.
        accepted: what their browser says, as `Accept-Language` (RFC 9110, 12.5.4).
    """
    if wished in NAMES:
        return wished
    for tag in _by_preference(accepted or ""):
        if tag.split("-")[0] in NAMES:
            return tag.split("-")[0]
    return next(iter(NAMES))


def teach(environment: jinja2.Environment) -> None:
    """Let templates say `{{ _("text") }}`, `{% trans %}`, and `{{ value|number }}`, `|percent` and
    `|when`; they are rendered with `texts`, a `Texts`.
    """
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        _gettext, _ngettext, newstyle=True
    )
    environment.filters |= {"number": _number, "percent": _percent, "when": _when}


def _texts(tag: str, said: list[tuple[str, ...]]) -> Texts:
    translations = _catalogue(tag)
    of_scripts: dict[str, str | list[str]] = {}
    for text, *plural in said:
        if plural:
            # One and many: all that the languages here distinguish.
            of_scripts[text] = [translations.ngettext(text, plural[0], n) for n in (1, 2)]
        else:
            of_scripts[text] = translations.gettext(text)
    return Texts(language=tag, translations=translations, of_scripts=of_scripts)


def _catalogue(tag: str) -> gettext.NullTranslations:
    path = HERE / "locale" / tag / "LC_MESSAGES" / "atelier.po"
    if tag == next(iter(NAMES)):
        return gettext.NullTranslations()
    with path.open("rb") as file:
        catalogue = read_po(file, locale=tag)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def _said_by_scripts() -> Iterator[tuple[str, ...]]:
    """The texts in `static/*.js`: (text,), or (of one, of many)."""
    for path in (HERE / "static").glob("*.js"):
        for _, said, _, _ in extract_from_file("javascript", path, keywords=SCRIPT_KEYWORDS):
            yield (said,) if isinstance(said, str) else said


def _by_preference(accepted: str) -> list[str]:
    """Language tags, the dearest first; what is no weight counts as refused."""
    weighed = []
    for part in accepted.split(","):
        tag, _, weight = part.partition(";")
        named, _, value = weight.strip().partition("=")
        try:
            quality = float(value) if named.strip() == "q" else 1.0
        except ValueError:
            quality = 0.0
        if quality > 0:
            weighed.append((quality, tag.strip().lower()))
    return [tag for _, tag in sorted(weighed, key=lambda one: -one[0])]


def _of(context: Context) -> Texts:
    texts: Texts = context["texts"]
    return texts


@jinja2.pass_context
def _gettext(context: Context, text: str) -> str:
    return _of(context).translations.gettext(text)


@jinja2.pass_context
def _ngettext(context: Context, one: str, many: str, count: int) -> str:
    return _of(context).translations.ngettext(one, many, count)


@jinja2.pass_context
def _number(context: Context, value: float) -> str:
    return _of(context).number(value)


@jinja2.pass_context
def _percent(context: Context, value: float, digits: int = 1) -> str:
    return _of(context).percent(value, digits)


@jinja2.pass_context
def _when(context: Context, value: Any) -> str:
    return _of(context).when(value)
