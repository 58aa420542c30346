"""Errors named by what the caller can do about them; `service` maps them one to one to gRPC codes."""

from collections.abc import Callable
from functools import wraps
from typing import Any


class PlaitError(Exception):
    """Any error that plait raises on purpose."""

    done: bool | None = False
    """Of a write that failed: whether it was done. None: nobody knows before the collection is opened again."""


class InvalidArgument(PlaitError, ValueError):
    """Fix the call: a value is out of its bounds, malformed, or contradicts the collection."""

    def __init__(self, message: str = "", *, field: str = ""):
        super().__init__(message)
        self.field = field
        """The argument at fault, by name; empty: more than one, or none alone."""


class NotFound(PlaitError, LookupError):
    """Name something that exists."""


class AlreadyExists(PlaitError):
    """Choose another name or id, or say that the present one is to be replaced."""


class FailedPrecondition(PlaitError):
    """Do something else first: install an extra, finish a build, upgrade plait."""


class DataLoss(PlaitError):
    """Stored data is damaged: restore the named file from a copy, or rebuild the collection."""


class Unavailable(PlaitError):
    """Try again: somebody else holds what this call needs."""


class Overloaded(PlaitError):
    """Try again later, with less."""


class IdleOption(UserWarning):
    """A search option was given that changes nothing; the text says why. The search itself is right."""


def never_fails(text: Callable[[Any], str]) -> Callable[[Any], str]:
    """For `__repr__`, which debuggers and logs call on objects in any state: an error becomes a part of the text."""

    @wraps(text)
    def shown(self: Any) -> str:
        try:
            return f"{type(self).__name__}({text(self)})"
        except Exception as error:
            return f"<{type(self).__name__} that cannot be shown: {type(error).__name__}>"

    return shown
