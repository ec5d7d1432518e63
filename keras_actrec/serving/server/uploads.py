"""Receiving an upload into a file of its own, within bounds of size and time; the file goes when it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import ClientDisconnect, Request

from keras_actrec.serving.server.bounds import MEGABYTE, Bounds
from keras_actrec.serving.server.refusals import RefusedError

_DRAINED_BYTES, _DRAINED_SEC = 16 * MEGABYTE, 5.0
_TAKEN = ("application/octet-stream", "binary/octet-stream", "")


@contextlib.asynccontextmanager
async def received(request: Request, folder: Path, bounds: Bounds) -> AsyncIterator[Path]:
    """Yield the file with a request's body.

    Raises:
        RefusedError: too large, too slow, cut off, of a kind that is not taken, or no room for it; with the status.
    """
    _check_head(request, bounds)
    with _room():
        handle, name = tempfile.mkstemp(prefix="upload-", dir=folder)
    path = Path(name)
    try:
        with _room(), os.fdopen(handle, "wb") as file:
            await _receive(request, file, bounds)
        yield path
    finally:
        path.unlink(missing_ok=True)


def no_room(error: OSError) -> RefusedError:
    """Return what a request is told whose files the file system refuses."""
    return RefusedError(507, f"the server has no room for the upload ({error.strerror}); try again later.")


async def drain(request: Request) -> None:
    """Read on for a while before a request is refused: a browser that is still sending sees no answer otherwise."""
    with contextlib.suppress(ClientDisconnect, TimeoutError, RuntimeError):  # the last: it has been received already
        async with asyncio.timeout(_DRAINED_SEC):
            count = 0
            async for part in request.stream():
                count += len(part)
                if count > _DRAINED_BYTES:
                    return


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise no_room(error) from None


def _check_head(request: Request, bounds: Bounds) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TAKEN and not kind.startswith("video/"):
        raise RefusedError(
            415,
            f"expected the bytes of a video as application/octet-stream or video/*, got {kind}; with curl that is "
            '--data-binary @clip.mp4 -H "Content-Type: application/octet-stream".',
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bounds.upload_bytes:
        raise _too_large(bounds)


async def _receive(request: Request, file: BinaryIO, bounds: Bounds) -> None:
    count, end_sec = 0, time.monotonic() + bounds.upload_sec
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(max(0.0, min(bounds.silent_sec, end_sec - time.monotonic()))):
                part = await anext(stream, None)
        except TimeoutError:
            raise RefusedError(408, f"the upload came too slowly: {count} bytes so far.") from None
        except ClientDisconnect:
            raise RefusedError(400, "the upload was cut off.") from None
        if part is None:
            return
        count += len(part)
        if count > bounds.upload_bytes:
            raise _too_large(bounds)
        file.write(part)


def _too_large(bounds: Bounds) -> RefusedError:
    return RefusedError(413, f"the upload is larger than {bounds.upload_bytes / MEGABYTE:g} MB.")
