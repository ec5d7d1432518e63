"""Processes that download videos (see `video_worker`), each with one owner, a limit of time, and an end."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data.fetch import space, video_check
from keras_actrec.data.fetch.outcome import FailureError, Kind, by_status, by_text
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.errors import StopRequestedError, UserError

_POLL_SEC = 0.2


class VideoPool:
    """Downloads videos, each thread of the caller in a process of its own.

    Args:
        config: cookies, proxy, time-out, height.
        pace: interval, attempts, back-off.
        work: folder for unfinished files, on the disk of the target.
    """

    def __init__(self, config: FetchConfig, pace: Pace, work: Path) -> None:
        need_tools()
        if config.cookies and not Path(config.cookies).is_file():
            raise UserError(f"there is no cookie file {config.cookies}; export one in Netscape's format.")
        self._config = config
        self._pace = pace
        self._work = work
        self._mine = threading.local()
        self._all: list[_Worker] = []
        self._lock = threading.Lock()

    def __enter__(self) -> VideoPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.end()

    def fetch(self, url: str, start_sec: float, end_sec: float) -> Path:
        """Download a stretch of a video and look whether it can be decoded.

        Returns:
            The file, in a folder of its own below `work`.

        Raises:
            FailureError: it cannot be had.
        """
        return self._pace.try_hard(lambda: self._blame(url, start_sec, end_sec))

    def _blame(self, url: str, start_sec: float, end_sec: float) -> Path:
        """Make an attempt; where the disk is full, that is to blame: ffmpeg does not say so."""
        try:
            return self._attempt(url, start_sec, end_sec)
        except FailureError:
            if space.is_full(self._work):
                raise FailureError("no space left on this disk", Kind.LOCAL) from None
            raise

    def _attempt(self, url: str, start_sec: float, end_sec: float) -> Path:
        worker = self._worker()
        folder = worker.fresh_folder()
        request = {"url": url, "start_sec": start_sec, "end_sec": end_sec, "folder": str(folder)}
        answer = worker.ask(request | self._options(worker), self._config.timeout_sec, self._pace)
        if "path" not in answer:
            raise _failure(answer)
        video_check.check(Path(answer["path"]), end_sec - start_sec)
        return Path(answer["path"])

    def _options(self, worker: _Worker) -> dict[str, Any]:
        config = self._config
        cookies = worker.own_copy(config.cookies) if config.cookies else None
        return {
            "height": config.height,
            "proxy": config.proxy,
            "cookies": cookies,
            "browser": config.cookies_from_browser,
        }

    def _worker(self) -> _Worker:
        """Return the calling thread's process."""
        if not hasattr(self._mine, "worker"):
            with self._lock:
                self._mine.worker = _Worker(self._work / f"worker-{len(self._all)}")
                self._all.append(self._mine.worker)
        return self._mine.worker


class _Worker:
    """One process; started when it is asked, and again after it had to be ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def fresh_folder(self) -> Path:
        """Return an empty folder for the next file."""
        target = self._folder / "video"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return target

    def own_copy(self, cookies: str) -> str:
        """Return a copy of a cookie file: yt-dlp writes back into the one that it is given."""
        return str(shutil.copy(cookies, self._folder / "cookies.txt"))

    def ask(self, request: dict[str, Any], timeout_sec: float, pace: Pace) -> dict[str, Any]:
        """Give it a request and wait for the answer.

        Raises:
            FailureError: it took too long, or the process ended.
        """
        process = self._started()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._line(process, time.monotonic() + timeout_sec, pace)
        except (FailureError, StopRequestedError, OSError):
            self.end()
            raise
        if not line:
            self.end()
            raise FailureError("the downloader crashed", Kind.PASSING)
        return json.loads(line)

    def end(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not delivered is of no use any more
                stream.close()
        self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.video_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[str], deadline: float, pace: Pace) -> str:
        while not select.select([process.stdout], [], [], _POLL_SEC)[0]:
            pace.check()
            if time.monotonic() > deadline:
                raise FailureError("timed out", Kind.PASSING)
        return process.stdout.readline()


def need_tools() -> None:
    """Refuse to begin without yt-dlp and ffmpeg.

    Raises:
        UserError: says what to install.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise UserError("videos come through yt-dlp, which is not installed; pip install 'keras_actrec[fetch]'.")
    if shutil.which("ffmpeg") is None:
        raise UserError("ffmpeg cuts the clips out of their videos and is not installed (Debian: apt install ffmpeg).")


def _failure(answer: dict[str, Any]) -> FailureError:
    told = by_text(answer["error"])
    if answer.get("status") and told.reason.startswith("failed: "):
        return by_status(answer["status"], answer.get("retry_after"))
    if answer.get("retry_after"):
        told.retry_after_sec = by_status(answer["status"], answer["retry_after"]).retry_after_sec
    return told
