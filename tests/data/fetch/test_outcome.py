"""Sentences of yt-dlp and answers of HTTP become reasons that can be counted."""

import itertools
import threading
import time

import pytest

from keras_actrec.data.fetch.outcome import FailureError, Kind, by_status, by_text, parse_retry_after
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.errors import StopRequestedError


@pytest.mark.parametrize(
    ("sentence", "reason", "kind"),
    [
        ("ERROR: [youtube] abc: Private video. Sign in if you've been granted access", "private", Kind.GONE),
        ("[youtube] a: Video unavailable. This video has been removed by the uploader", "removed", Kind.GONE),
        ("[youtube] a: Video unavailable", "unavailable", Kind.GONE),
        ("The YouTube account associated with this video has been terminated", "account closed", Kind.GONE),
        ("no longer available due to a copyright claim by X", "removed for copyright", Kind.GONE),
        ("The uploader has not made this video available in your country", "blocked in this country", Kind.CLOSED),
        ("it contains content from X, who has blocked it in your country on copyright grounds",
         "blocked in this country", Kind.CLOSED),
        ("it contains content from X, who has blocked it on copyright grounds", "removed for copyright", Kind.GONE),
        ("Sign in to confirm your age. It may be inappropriate", "age-restricted: wants --cookies", Kind.CLOSED),
        ("Sign in to confirm you're not a bot. Use --cookies", "too many requests (429)", Kind.HOST),
        ("Unable to download webpage: HTTP Error 429: Too Many Requests", "too many requests (429)", Kind.HOST),
        ("HTTP Error 503: Service Unavailable", "server error (5xx)", Kind.PASSING),
        ("HTTP Error 404: Not Found", "not found (404)", Kind.GONE),
        ("HTTP Error 403: Forbidden", "refused (403)", Kind.PASSING),
        ("The read operation timed out", "timed out", Kind.PASSING),
        ("[Errno -2] Name or service not known", "no connection", Kind.HOST),
        ("unable to write data: [Errno 28] No space left on device", "no space left on this disk", Kind.LOCAL),
        ("ffmpeg is not installed. Aborting", "ffmpeg is missing", Kind.LOCAL),
        ("6 bytes read, 20 more expected", "cut off", Kind.PASSING),
        ("\x1b[0;31mERROR:\x1b[0m [generic] watch: A new one\nmore", "failed: A new one", Kind.PASSING),
    ],
)  # fmt: skip
def test_a_sentence_becomes_a_reason(sentence: str, reason: str, kind: Kind) -> None:
    failure = by_text(sentence)
    assert (failure.reason, failure.kind) == (reason, kind)


def test_a_status_becomes_a_reason() -> None:
    assert by_status(429, "7") == FailureError("too many requests (429)", Kind.HOST, 7.0)
    assert by_status(503, "2") == FailureError("server error (5xx)", Kind.PASSING, 2.0)
    assert by_status(410).kind is Kind.GONE
    assert by_status(401) == FailureError("refused (401)", Kind.PASSING)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("120") == 120
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now_sec=1445412480 - 30) == 30
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [parse_retry_after(value) for value in (None, "", "soon", "-5")] == [0, 0, 0, 0]


def failing(times: int, failure: FailureError) -> tuple[list[float], object]:
    """A request that fails so often, and the moments at which it was made."""
    moments: list[float] = []

    def request() -> str:
        moments.append(time.monotonic())
        if len(moments) <= times:
            raise failure
        return "came"

    return moments, request


def test_waits_double_and_what_passes_is_tried_again() -> None:
    moments, request = failing(3, FailureError("timed out", Kind.PASSING))
    assert Pace(0.0, 5, 0.05).try_hard(request) == "came"
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=True))


@pytest.mark.parametrize(
    ("kind", "tries"), [(Kind.GONE, 1), (Kind.CLOSED, 1), (Kind.LOCAL, 1), (Kind.PASSING, 3), (Kind.HOST, 3)]
)
def test_what_is_gone_is_not_tried_again(kind: Kind, tries: int) -> None:
    moments, request = failing(99, FailureError("x", kind))
    with pytest.raises(FailureError):
        Pace(0.0, 3, 0.001).try_hard(request)
    assert len(moments) == tries


def test_retry_after_holds_everybody() -> None:
    pace = Pace(0.0, 2, 0.001)
    moments, refused = failing(1, FailureError("too many requests (429)", Kind.HOST, 0.4))
    begun = time.monotonic()
    thread = threading.Thread(target=pace.try_hard, args=(refused,))
    thread.start()
    while not moments:
        time.sleep(0.01)
    time.sleep(0.1)
    pace.try_hard(lambda: None)  # another video's request, which was not refused itself
    assert time.monotonic() - begun >= 0.4
    thread.join(5)


def test_requests_keep_their_distance() -> None:
    pace, moments, begun = Pace(0.05, 1, 1.0), [], time.monotonic()
    threads = [
        threading.Thread(target=lambda: pace.try_hard(lambda: moments.append(time.monotonic()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert max(moments) - begun >= 0.14


def test_a_stop_ends_a_long_wait() -> None:
    pace = Pace(0.0, 2, 60.0)
    _, request = failing(9, FailureError("timed out", Kind.PASSING))
    threading.Timer(0.1, pace.stop.set).start()
    with pytest.raises(StopRequestedError):
        pace.try_hard(request)
