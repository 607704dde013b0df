"""The few exceptions of Atelier. Each message says what was received and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tagging.domain import FailureCode


class AtelierError(Exception):
    """Base of everything that a user can mend; the command line prints its text and exits 1."""


class DeliveryError(AtelierError):
    """A delivery as a whole cannot be taken in (no such file, no manifest columns, a broken zip).

    `code`: why, for programs.
    """

    def __init__(self, said: str, *, code: FailureCode = FailureCode.BAD_DELIVERY) -> None:
        super().__init__(said)
        self.code = code


class PassingError(AtelierError):
    """Something that ends by itself, as a rule: worth a try every few seconds."""


class BundleError(AtelierError):
    """A model bundle is incomplete, altered, or made for another version."""


class NotFoundError(AtelierError):
    """Something was asked for by a name or id that does not exist."""


class ReviewError(AtelierError):
    """A verdict cannot be recorded (other photos now, decided already, no such category).

    `why` names the reason, and `about` what it names, for pages in other languages than this one;
    None where a page does not bring it about.
    """

    def __init__(self, said: str, *, why: str | None = None, **about: str | None) -> None:
        super().__init__(said)
        self.why = why
        self.about = about


class LoginError(AtelierError):
    """A person is not let in, or an account cannot be made so."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a rule file. `place`: names and indices from the top down, empty
    for the whole file. `line`: from 1, where it is known.
    """

    place: tuple[str | int, ...] = ()
    said: str
    line: int | None = None


class RulesError(AtelierError):
    """A retailer's rules cannot be read or ask for what there is not. `problems`: one by one."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (Problem(said=message),)


class StaleRulesError(RulesError):
    """Somebody else put other rules in force since these were begun."""


class RetagError(AtelierError):
    """What is to be classified again cannot be asked for like that."""


class SchemaError(AtelierError):
    """The database is not at the migration this version needs."""


class MachineError(AtelierError):
    """Something of this installation cannot be used (a full disk, no files left); nothing that was
    delivered is to blame, and what was begun can be begun again.
    """


class StoreAwayError(MachineError, PassingError):
    """The image store cannot be read or written; no product is to blame."""


class BackupError(AtelierError):
    """A backup cannot be written, or a file is no backup that can be restored."""


class TrainingDataError(AtelierError):
    """Training data is missing, altered, or not of the form that was announced."""
