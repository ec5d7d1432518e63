"""A process that downloads one video after the other with yt-dlp; `video_pool` starts it and gives it work.

A process, because yt-dlp has no limit of time, and because what it starts (ffmpeg) has to end with it. It reads a JSON
object a line and answers with one. When its parent is gone it ends itself and all that it started.

yt-dlp cuts the stretch out while it downloads, at the exact frame (`force_keyframes_at_cuts`), as FiftyOne asks it to.
Sound is left away.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

PARENT_CHECK_SEC = 0.5
SILENCE_SEC = 30.0
"""Longest silence of a host within a download."""


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Download one video.

    Args:
        request: `url`, `start_sec`, `end_sec`, `folder` (an empty one), `height`, `proxy`, `cookies`, `browser`.

    Returns:
        `path` of the file, or `error` with the sentence, the `status` of HTTP and `retry_after` where they are known.
    """
    import yt_dlp

    try:
        with yt_dlp.YoutubeDL(options(request)) as downloader:
            downloader.extract_info(request["url"], download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        return {"error": str(error), **_http(error)}
    except OSError as error:
        return {"error": f"{error} (errno {error.errno})"}
    found = sorted(path for path in Path(request["folder"]).iterdir() if path.suffix not in (".part", ".ytdl"))
    return {"path": str(found[0])} if found else {"error": "no file was downloaded: incomplete"}


def options(request: dict[str, Any]) -> dict[str, Any]:
    """Return yt-dlp's options for a request."""
    import yt_dlp

    height = request["height"]
    chosen = {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": _Silent(),
        "cachedir": False,
        "noplaylist": True,
        "socket_timeout": SILENCE_SEC,
        "retries": 0,  # the pool tries again, with its own back-off
        "extractor_retries": 0,
        "format": f"bv[height<={height}][ext=mp4]/b[height<={height}]/bv[height<={height}]/b/bv",
        "outtmpl": {"default": str(Path(request["folder"]) / "video.%(ext)s")},
        "download_ranges": yt_dlp.utils.download_range_func(None, [(request["start_sec"], request["end_sec"])]),
        "force_keyframes_at_cuts": True,
        "postprocessors": [{"key": "FFmpegVideoRemuxer", "preferedformat": "mp4"}],
    }
    given = {"proxy": request.get("proxy"), "cookiefile": request.get("cookies")}
    if request.get("browser"):
        given["cookiesfrombrowser"] = (request["browser"],)
    return chosen | {key: value for key, value in given.items() if value}


def _http(error: BaseException | None) -> dict[str, Any]:
    """Return status and Retry-After of the answer that an error came from, however deep it lies."""
    seen = 0
    while error is not None and seen < 8:
        response = getattr(error, "response", None)
        if response is not None:
            return {"status": response.status, "retry_after": response.headers.get("Retry-After")}
        information = getattr(error, "exc_info", None)
        error = getattr(error, "cause", None) or (information[1] if information else None) or error.__cause__
        seen += 1
    return {}


class _Silent:
    """yt-dlp's messages come back as exceptions; nothing else of them is wanted."""

    def debug(self, message: str) -> None:
        """Leave it."""

    def warning(self, message: str) -> None:
        """Leave it."""

    def error(self, message: str) -> None:
        """Leave it."""


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SEC)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
