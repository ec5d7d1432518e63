"""The App in Chromium: clips, labels and reasons are there, a video plays, and nothing is left running."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest

from keras_actrec.data.fiftyone_sets.mongo import free_port

ROOT = Path(__file__).parent.parent.parent
WAIT_SEC = 300
"""Until the App is up, on a machine that does much else."""
THIS_MACHINE_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""FiftyOne's page asks Google for fonts."""
VIDEOS = """
window.videos = [];
const make = Document.prototype.createElement;
Document.prototype.createElement = function (name, ...more) {
  const element = make.call(this, name, ...more);
  if (String(name).toLowerCase() === "video") window.videos.push(element);
  return element;
};
"""
"""The App draws videos that are in no document; so each one is remembered when it is made."""
PLAYING = "window.videos.filter(v => v.currentTime > 0.3 && v.readyState >= 2).map(v => decodeURIComponent(v.src))"
TILES = "document.querySelectorAll('[data-cy=looker]')"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, film: Callable[..., Path]) -> Path:
    """A folder of videos as somebody may have them: MP4, AVI, and an empty file."""
    folder = tmp_path_factory.mktemp("videos")
    for label, suffix in (("run", ".mp4"), ("sit", ".avi")):
        for number in range(4):
            film(folder / label / f"{label}{number}{suffix}", frames=60, size=(96, 128))
    (folder / "run" / "empty.mp4").touch()
    return folder


@contextlib.contextmanager
def inspecting(videos: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command and yield its process and the address that it has printed."""
    words = ["inspect", "--data", str(videos), "--no-browser", "--port", str(free_port()), *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_actrec", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("FIFTYONE_")},
    )
    try:
        yield process, _address(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("App: "):
            return line.split()[1]
    pytest.fail(f"no address: {said}")


def descendants(process: subprocess.Popen[str]) -> list[Any]:
    psutil = pytest.importorskip("psutil")
    return psutil.Process(process.pid).children(recursive=True)


def all_end(processes: list[Any], within_sec: float = 60.0) -> bool:
    import psutil

    _, alive = psutil.wait_procs(processes, within_sec)
    return not alive


def hover(page: chromium.Page, number: int) -> None:
    """Move the mouse onto a tile, once the advertisement that may cover it is gone."""
    page.evaluate("[...document.querySelectorAll('button')].find(b => b.textContent === 'Dismiss')?.click()")
    middle = "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
    middle += " return [r.x + r.width / 2, r.y + r.height / 2]; })"
    x, y = page.evaluate(f"{middle}({TILES}[{number}])")
    for step in (-2, 0):
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y + step)


def play(page: chromium.Page, number: int, place: str) -> bool:
    """Let a tile's video play, and return whether it does, from the place that is expected."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        hover(page, number)
        if any(place in address for address in page.evaluate(PLAYING)):
            return True
        time.sleep(0.5)
    return False


needs_fiftyone = pytest.mark.skipif(importlib.util.find_spec("fiftyone") is None, reason="needs FiftyOne")


@needs_fiftyone
@pytest.mark.browser
@pytest.mark.integration
def test_clips_are_shown_and_play_and_all_ends_at_ctrl_c(videos: Path, tmp_path: Path, chromium_path: str) -> None:
    with inspecting(videos, "--cache", str(tmp_path)) as (process, address):
        children = descendants(process)
        assert {"mongod"} <= {child.name() for child in children}
        with chromium.launch(THIS_MACHINE_ALONE) as browser:
            page = browser.page(1200, 800)
            page.send("Page.addScriptToEvaluateOnNewDocument", source=VIDEOS)
            page.open(address, f"{TILES}.length === 9", WAIT_SEC)
            assert play(page, 2, str(videos / "run" / "run1.mp4")), "an MP4 is shown itself"
            assert play(page, 8, str(tmp_path / "sit3-")), "a copy is shown of an AVI"
            assert not page.evaluate("window.videos.some(v => v.error)")
            text = page.evaluate("document.body.innerText")
            assert all(word in text for word in ("ground_truth", "split", "reason", "9 samples"))
            page.open(f"{address}?view=quarantined", f"{TILES}.length === 1", WAIT_SEC)
            shown = [url for url in page.requests() if url.startswith("http") and "127.0.0.1" not in url]
            assert all(url.startswith("https://fonts.googleapis.com/") for url in shown)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stdout.read().endswith("closed\n")
        assert all_end(children)


@needs_fiftyone
@pytest.mark.slow
@pytest.mark.integration
def test_nothing_is_left_when_the_command_is_killed(videos: Path, tmp_path: Path) -> None:
    with inspecting(videos, "--cache", str(tmp_path)) as (process, _):
        children = descendants(process)
        folders = [
            word for child in children if child.name() == "mongod" for word in child.cmdline() if "mongodb" in word
        ]
        data = next(Path(word) for word in folders if word.endswith("data"))
        assert data.is_dir()
        process.kill()
        process.wait(30)
        assert all_end(children)
        deadline = time.monotonic() + 30
        while data.parent.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not data.parent.exists()
