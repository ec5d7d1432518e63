"""Why a request is not answered, as a status and a sentence."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        detail: a sentence.
        retry_sec: when to come again; None: there is no use.
    """

    def __init__(self, status: int, detail: str, retry_sec: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_sec = status, detail, retry_sec
