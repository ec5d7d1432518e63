"""What a check has found."""

from __future__ import annotations

import dataclasses
import enum


class Status(enum.StrEnum):
    """How things stand: all is well; something that some commands need is missing; training cannot work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: of the check, such as "ffmpeg"; stable.
        status: how it stands.
        message: what was found, and what it is needed for where it is missing.
        cure: a sentence with the command that helps; None when there is nothing to cure.
    """

    name: str
    status: Status
    message: str
    cure: str | None = None


def ok(name: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(name, Status.OK, message)


def warning(name: str, message: str, cure: str) -> Finding:
    """Return that something is missing which some commands need."""
    return Finding(name, Status.WARNING, message, cure)


def error(name: str, message: str, cure: str) -> Finding:
    """Return that training cannot work like this."""
    return Finding(name, Status.ERROR, message, cure)
