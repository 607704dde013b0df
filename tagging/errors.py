"""The few exceptions of Atelier. Each message says what was received and what to do about it."""

from __future__ import annotations


class AtelierError(Exception):
    """Base of everything that a user can mend; the command line prints its text and exits 1."""


class DeliveryError(AtelierError):
    """A delivery as a whole cannot be read (no such file, no manifest columns, a broken zip)."""


class BundleError(AtelierError):
    """A model bundle is incomplete, altered, or made for another version."""


class NotFoundError(AtelierError):
    """Something was asked for by a name or id that does not exist."""


class ReviewError(AtelierError):
    """A verdict cannot be recorded (other photos now, decided already, no such category)."""


class LoginError(AtelierError):
    """A person is not let in, or an account cannot be made so."""


class RulesError(AtelierError):
    """A retailer's rules cannot be read or ask for what there is not."""


class SchemaError(AtelierError):
    """The database is not at the migration this version needs."""


class StoreAwayError(AtelierError):
    """The image store as a whole cannot be reached; no product is to blame."""


class TrainingDataError(AtelierError):
    """Training data is missing, altered, or not of the form that was announced."""
