"""What can go wrong with one download: a short stable reason, and whether it will pass.

Hosts and yt-dlp tell it in sentences that change; here they become a few phrases that can be counted.
"""

from __future__ import annotations

import dataclasses
import email.utils
import enum
import re
import time


class Kind(enum.Enum):
    """What a failure means for what comes next."""

    GONE = "gone"
    """The video will not come back: the next one of its class takes its place."""
    CLOSED = "closed"
    """Not for us: it wants an account, an age or another country. Replaced; `fetch --retry` with cookies or a proxy
    tries it again."""
    PASSING = "passing"
    """This one may come later: tried again, then replaced; `fetch --retry` tries it once more. When one after the other
    fails like this, the fetch stops."""
    HOST = "host"
    """The host answers nobody, or not us: tried again; when it goes on, the fetch stops, and nothing is judged."""
    LOCAL = "local"
    """This machine is at fault (disk full, ffmpeg missing): the fetch stops at once."""


@dataclasses.dataclass
class FailureError(Exception):
    """One attempt failed.

    Attributes:
        reason: a short stable phrase.
        kind: what it means.
        retry_after_sec: how long the host wants to be left alone; 0 when it did not say.
    """

    reason: str
    kind: Kind
    retry_after_sec: float = 0.0

    def __str__(self) -> str:
        return self.reason


_BY_TEXT = (
    (r"no space left|disk quota|errno 28|file too large|errno 27", "no space left on this disk", Kind.LOCAL),
    (r"ffmpeg.{0,40}(not (installed|found)|is not)", "ffmpeg is missing", Kind.LOCAL),
    (r"not a bot|too many requests|http error 429|rate.?limit", "too many requests (429)", Kind.HOST),
    (r"private video|video is private", "private", Kind.GONE),
    (r"account.{0,60}(terminated|closed)|channel.{0,40}terminated", "account closed", Kind.GONE),
    (r"(your|this) (country|region|location)|geo.?(restrict|block)", "blocked in this country", Kind.CLOSED),
    (r"copyright", "removed for copyright", Kind.GONE),
    (r"confirm your age|age.?restricted|inappropriate for some", "age-restricted: wants --cookies", Kind.CLOSED),
    (r"members.only|join this channel", "for members only", Kind.CLOSED),
    (r"removed|no longer available|has been deleted|does not exist", "removed", Kind.GONE),
    (r"video (is )?(unavailable|not available)", "unavailable", Kind.GONE),
    (r"http error 4(04|10)\b", "not found (404)", Kind.GONE),
    (r"http error 40[13]\b", "refused (403)", Kind.PASSING),
    (r"http error 5\d\d", "server error (5xx)", Kind.PASSING),
    (r"timed? ?out", "timed out", Kind.PASSING),
    (r"connection refused|name or service|name resolution|failed to resolve|network is unreachable|proxy",
     "no connection", Kind.HOST),
    (r"incomplete|content too short|bytes read|did not get any data|connection (aborted|reset)|remotedisconnected",
     "cut off", Kind.PASSING),
    (r"ffmpeg exited", "ffmpeg could not cut it", Kind.PASSING),
    (r"unsupported url|no video formats|requested format", "no video there", Kind.PASSING),
)  # fmt: skip


def by_status(status: int, retry_after: str | None = None) -> FailureError:
    """Return what a status of HTTP means."""
    if status == 429:
        return FailureError("too many requests (429)", Kind.HOST, parse_retry_after(retry_after))
    if status in (404, 410):
        return FailureError("not found (404)", Kind.GONE)
    if status >= 500:
        return FailureError("server error (5xx)", Kind.PASSING, parse_retry_after(retry_after))
    return FailureError(f"refused ({status})", Kind.PASSING, parse_retry_after(retry_after))


def by_text(text: str) -> FailureError:
    """Return what a sentence of yt-dlp means; one that nobody foresaw is kept, shortened, as its own reason."""
    for pattern, reason, kind in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return FailureError(reason, kind)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    plain = re.sub(r"^(ERROR: )?\s*(\[[\w:]+\] [\w-]+: )?", "", plain).partition("\n")[0]
    return FailureError(f"failed: {plain[:120].strip()}", Kind.PASSING)


def parse_retry_after(value: str | None, now_sec: float | None = None) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date; 0 for neither."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return 0.0
    return max(0.0, then - (time.time() if now_sec is None else now_sec))
