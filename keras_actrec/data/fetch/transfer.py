"""Large files over HTTP: continued where they broke off, complete or not there at all.

FiftyOne's own downloads (`eta.core.web.download_file`) know no time-out and no second attempt, and leave a partial file
under the final name, which the next call takes for the whole.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import httpx

from keras_actrec.data.fetch import space
from keras_actrec.data.fetch.outcome import FailureError, Kind, by_status
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.errors import UserError

Progress = Callable[[int, int], None]
UNPACKED = 1.0
"""Free space that is wanted for what is unpacked of an archive, as a share of the archive: videos do not compress."""


@dataclasses.dataclass(frozen=True)
class Wire:
    """How hosts are reached.

    Attributes:
        pace: interval, attempts, back-off.
        timeout_sec: longest silence of a host.
        proxy: address of a proxy; None: as the environment says.
    """

    pace: Pace
    timeout_sec: float
    proxy: str | None = None

    def client(self) -> httpx.Client:
        """Return a client of HTTP.

        Raises:
            UserError: the proxy cannot be used.
        """
        try:
            return httpx.Client(proxy=self.proxy, timeout=self.timeout_sec, follow_redirects=True)
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise UserError(f"the proxy {self.proxy} cannot be used: {error}") from None


def download(url: str, target: Path, wire: Wire, progress: Progress | None = None) -> Path:
    """Bring a file, unless it is there; what an earlier call left unfinished is continued.

    Args:
        url: its address.
        target: where it goes; it appears when it is complete.
        wire: how the host is reached.
        progress: called with (bytes there, bytes in all).

    Raises:
        FailureError: it could not be had.
        UserError: it would not fit on the disk, or the address is none.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with wire.client() as client:
        wire.pace.try_hard(lambda: _attempt(client, url, part, progress, wire))
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return target


def _attempt(client: httpx.Client, url: str, part: Path, progress: Progress | None, wire: Wire) -> None:
    try:
        with client.stream("GET", url, headers=_headers(part)) as response:
            have = _begin(response, part)
            total = have + int(response.headers.get("Content-Length") or 0)
            if have < total:
                space.check(part.parent, (total - have) + UNPACKED * total, f"{Path(url).name or url}, unpacked")
            written = _store(response, part, have, total, progress, wire)
    except httpx.TimeoutException:
        raise FailureError("timed out", Kind.PASSING) from None
    except (httpx.ConnectError, httpx.ProxyError):
        raise FailureError("no connection", Kind.HOST) from None
    except httpx.TooManyRedirects:
        raise FailureError("redirected in a circle", Kind.PASSING) from None
    except httpx.InvalidURL as error:
        raise UserError(f"{url} is no address that can be asked ({error}).") from None
    except httpx.TransportError:
        raise FailureError("cut off", Kind.PASSING) from None
    if "Content-Length" in response.headers and written < total:
        raise FailureError("cut off", Kind.PASSING)


def _headers(part: Path) -> dict[str, str]:
    """Ask for what is missing, and for all of it where the file has changed in between."""
    headers = {"Accept-Encoding": "identity"}
    tag = _tag_file(part)
    if part.exists() and part.stat().st_size and tag.exists() and tag.read_text():
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": tag.read_text()}
    return headers


def _begin(response: httpx.Response, part: Path) -> int:
    """Return how much of the file is there already, as the answer sees it."""
    if response.status_code == 206 and _tag(response) == _tag_file(part).read_text():
        return part.stat().st_size
    if response.status_code in (206, 416):  # another file under the old name, whose server does not know If-Range
        part.unlink(missing_ok=True)
        raise FailureError("cut off", Kind.PASSING)
    if response.status_code != 200:
        raise by_status(response.status_code, response.headers.get("Retry-After"))
    part.unlink(missing_ok=True)
    _tag_file(part).write_text(_tag(response))
    return 0


def _store(response: httpx.Response, part: Path, have: int, total: int, progress: Progress | None, wire: Wire) -> int:
    with part.open("ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            have += len(chunk)
            if progress:
                progress(have, max(total, have))
            wire.pace.check()
        file.flush()
        os.fsync(file.fileno())
    return have


def _tag(response: httpx.Response) -> str:
    """Return what tells this version of the file from others; empty where the server does not say."""
    strong = response.headers.get("ETag", "")
    return strong if strong and not strong.startswith("W/") else response.headers.get("Last-Modified", "")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")
