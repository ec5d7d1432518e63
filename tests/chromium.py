"""Headless Chromium through its DevTools protocol, over two pipes: no driver, no port, no further package.

As a program it takes a picture of a page:
    python tests/chromium.py http://127.0.0.1:8600 docs/images/swarm.png --width 1280 --height 1500
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
STARTER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1].split(",")]
for number, place in zip(high, (3, 4)):
    os.dup2(number, place)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The protocol wants its pipes at the descriptors 3 and 4, whatever is there already."""
ANSWER_SEC = 60.0
STEADY_SEC = 30.0
MIDDLE = """(element) => {
  element?.scrollIntoView({block: 'center'});
  const { x, y, width, height } = element?.getBoundingClientRect() ?? { width: 0 };
  const middle = [x + width / 2, y + height / 2];
  return width && element.contains(document.elementFromPoint(...middle)) ? middle : null;
}"""


def executable() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Browser:
    """A running browser; its commands answer in order, its events are kept in `events`."""

    def __init__(self, process: subprocess.Popen[bytes], reader: int, writer: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._process, self._reader, self._writer = process, reader, writer
        self._received = b""
        self._last = 0

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_SEC
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._last:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def page(self, width: int = 1280, height: int = 900, *, mobile: bool = False, scale: float = 1.0) -> Page:
        """Open an empty page of the given size in CSS pixels."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.resize(width, height, mobile=mobile, scale=scale)
        return page

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._reader, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError(f"Chromium did not answer (exit code {self._process.poll()})")
            self._received += part
        text, _, self._received = self._received.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to the tab and return its result."""
        return self._browser.send(method, self._session, **parameters)

    def resize(self, width: int, height: int, *, mobile: bool = False, scale: float = 1.0) -> None:
        """Set the size in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)

    def open(self, url: str, ready: str = "document.readyState === 'complete'", timeout_sec: float = 60.0) -> None:
        """Go to an address and wait until an expression is true there."""
        result = self.send("Page.navigate", url=url)
        if "errorText" in result:
            raise RuntimeError(f"{url}: {result['errorText']}")
        self.wait(f"location.href !== 'about:blank' && ({ready})", timeout_sec)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, timeout_sec: float = 30.0) -> Any:
        """Return the value of an expression as soon as it is truthy."""
        deadline = time.monotonic() + timeout_sec
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still not true after {timeout_sec} s: {expression}; {self.errors()[:3]}")
            time.sleep(0.1)
        return value

    def click(self, selector: str) -> None:
        """Scroll to an element and click into its middle, as a mouse does, once it is at rest and nothing covers it."""
        deadline = time.monotonic() + STEADY_SEC
        before, place = None, self._middle(selector)
        while place is None or place != before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{selector} was moving, covered or away for {STEADY_SEC} s; {self.errors()[:3]}")
            time.sleep(0.05)
            before, place = place, self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def _middle(self, selector: str) -> list[float] | None:
        """Return where the middle of an element is seen after scrolling to it, or None where it is not seen."""
        return self.evaluate(f"({MIDDLE})(document.querySelector({json.dumps(selector)}))")

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Save what is seen, or the whole page, as PNG."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data["data"]))
        return path

    def errors(self) -> list[str]:
        """Return everything on the console that is an error, and exceptions that nobody caught."""
        found = []
        for event in self._events():
            text = json.dumps(event["params"])
            is_error = {
                "Runtime.exceptionThrown": lambda _: True,
                "Runtime.consoleAPICalled": lambda given: given["type"] in {"error", "warning", "assert"},
                "Log.entryAdded": lambda given: given["entry"]["level"] in {"error", "warning"},
            }.get(event["method"], lambda _: False)
            if is_error(event["params"]):
                found.append(text)
        return found

    def requests(self) -> list[str]:
        """Return the addresses of all requests."""
        events = (event for event in self._events() if event["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in events]

    def _events(self) -> list[dict[str, Any]]:
        return [event for event in self._browser.events if event.get("sessionId") == self._session]

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


@contextlib.contextmanager
def launch(*flags: str) -> Iterator[Browser]:
    """Run Chromium with a profile of its own, and end it and all its processes afterwards."""
    program = executable()
    if program is None:
        raise FileNotFoundError("needs Chromium (apt-get install chromium)")
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                sys.executable,
                "-ISc",
                STARTER,
                f"{their_in},{their_out}",
                program,
                *FLAGS,
                *flags,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(their_in)
        os.close(their_out)
        try:
            yield Browser(process, our_in, our_out)
        finally:
            os.close(our_out)
            os.close(our_in)
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    # A browser whose pipe is closed ends by itself; what is left of its session is killed.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def main() -> None:
    """Take a picture of a page."""
    parser = argparse.ArgumentParser(description="Take a picture of a page of the swarm.")
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what fits the height")
    options = parser.parse_args()
    with launch() as browser:
        page = browser.page(options.width, options.height, mobile=options.width < 600)
        page.open(options.url, "document.body?.dataset.ready === 'yes'")
        time.sleep(1.0)
        print(page.picture(options.picture, whole=options.whole))


if __name__ == "__main__":
    main()
