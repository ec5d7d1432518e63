import contextlib
import dataclasses
import http.server
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import made
import numpy as np
import pytest

from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.serving import live, live_command
from keras_actrec.serving.live import Backlog, Camera, Stream
from keras_actrec.serving.network import Scores
from keras_actrec.serving.predictor import Rule
from keras_actrec.serving.reading import Frames, Wish
from keras_actrec.serving.windows import Sliding

VIEW = View(frames=4, size=32)
BOUNDARY = b"frame"


@dataclasses.dataclass
class Packet:
    number: int
    is_keyframe: bool


class Watched:
    """A predictor that takes its time, and notes the newest frame's brightness."""

    classes = ("dark", "bright")
    wishes = (Wish((VIEW,)),)
    rule = Rule()

    def __init__(self, takes_sec: float = 0.0) -> None:
        self.takes_sec, self.seen = takes_sec, []

    def scores(self, frames: list[Frames]) -> Scores:
        time.sleep(self.takes_sec)
        pixels = frames[0]["rgb"]
        assert pixels.shape == (1, 1, 4, 32, 32, 3)
        self.seen.append(float(pixels[0, 0, -1].mean()))
        bright = self.seen[-1] / 255
        return Scores(np.array([[1 - bright, bright]]))


def jpeg(brightness: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), brightness, np.uint8))[1].tobytes()


@contextlib.contextmanager
def camera_server(fps: float, pictures: int | None = None) -> Iterator[tuple[str, list[int]]]:
    """A network camera: Motion JPEG over HTTP, whose brightness rises with each picture; yield address and number."""
    sent = [0]
    stop = threading.Event()
    shown = [jpeg(brightness) for brightness in range(256)]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not stop.wait(1 / fps) and (pictures is None or sent[0] < pictures):
                    data = shown[sent[0] % 256]
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    self.wfile.write(b"--" + BOUNDARY + b"\r\n" + head + data + b"\r\n")
                    sent[0] += 1

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/live", sent
        finally:
            stop.set()
            server.shutdown()


def test_what_waits_too_long_is_dropped_up_to_the_next_key_frame() -> None:
    now, dropped = [0.0], []
    backlog = Backlog(dropped.append, most=10, oldest_sec=1.0, clock=lambda: now[0])
    for number in range(4):
        backlog.put(Packet(number, number == 0))
    now[0] = 1.5
    for number in range(4, 8):
        backlog.put(Packet(number, number == 6))
    assert sum(dropped) == 6, "four that waited, and two that nothing can be decoded from"
    assert [backlog.take()[1].number for _ in range(2)] == [6, 7]
    backlog.end()
    assert backlog.take() is None


def test_packets_are_bounded_in_number() -> None:
    dropped = []
    backlog = Backlog(dropped.append, most=10, oldest_sec=1e9)
    for number in range(1000):
        backlog.put(Packet(number, True))
        assert len(backlog) <= 10
    assert len(backlog) + sum(dropped) == 1000
    assert backlog.take()[1].number >= 990


def test_a_file_is_played_at_its_own_speed(tmp_path: Path) -> None:
    video = made.video(tmp_path / "v.mp4", frames=40)
    watched, begin = Watched(), time.monotonic()
    with Camera(live.open_line(str(video)), [VIEW], 1.0) as camera:
        found = list(live_command.moments(camera, watched, Sliding(1.0, 0.25, 0.0)))
    assert time.monotonic() - begin > 1.5, "two seconds of video were over too soon"
    assert 2 <= len(found) <= 7
    assert all(0.8 < one.window_sec < 1.1 for one in found)
    assert len(set(watched.seen)) == len(watched.seen), "the same window was answered twice"


def test_a_network_camera_whose_frames_are_answered_late_stays_in_the_present() -> None:
    """The predictor takes 0.4 s, windows are due each 0.1 s: some are skipped, and none lags behind."""
    watched = Watched(takes_sec=0.4)
    with camera_server(fps=25) as (address, sent), Camera(Stream(address), [VIEW], 1.0) as camera:
        found = []
        for moment in live_command.moments(camera, watched, Sliding(1.0, 0.1, 0.0), seconds=5.0):
            behind = sent[0] - _shown(watched.seen[-1], sent[0])
            found.append((moment, behind))
    assert len(found) >= 3
    assert found[-1][0].skipped >= 3
    # What has been sent while the predictor worked (10 pictures at 25 a second), and what the machine adds.
    assert max(behind for _, behind in found) < 45, [behind for _, behind in found]
    assert all(moment.latency_sec < 2.0 for moment, _ in found)


def _shown(brightness: float, sent: int) -> int:
    """Return the number of the picture with a brightness; the newest of several."""
    rounds, rest = divmod(sent, 256)
    number = round(brightness)
    return 256 * rounds + number if number <= rest else 256 * (rounds - 1) + number


def test_decoding_that_is_too_slow_drops_pictures_and_not_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Camera._shrunk

    def slow(self: Camera, pixels: np.ndarray) -> np.ndarray:
        time.sleep(0.15)
        return original(self, pixels)

    monkeypatch.setattr(Camera, "_shrunk", slow)
    watched = Watched()
    with camera_server(fps=50) as (address, sent), Camera(Stream(address), [VIEW], 1.0) as camera:
        behind, dropped = [], 0
        for moment in live_command.moments(camera, watched, Sliding(1.0, 0.5, 0.0), seconds=6.0):
            behind.append(sent[0] - _shown(watched.seen[-1], sent[0]))
            dropped = moment.dropped
    assert dropped > 50
    # Packets may wait for half a second, 25 pictures; the rest is room for a busy machine.
    assert max(behind) < 120, behind


def test_a_stream_that_ends() -> None:
    with camera_server(fps=50, pictures=90) as (address, _), Camera(Stream(address), [VIEW], 30.0) as camera:
        found = list(live_command.moments(camera, Watched(), Sliding(30.0, 10.0, 0.0)))
    assert len(found) == 1, "what is there at the end is answered, though no window is full"


def test_a_line_that_ends_before_its_first_frame() -> None:
    class Ended:
        def pictures(self, stop: threading.Event, dropped: object) -> Iterator[tuple[float, np.ndarray]]:
            yield from ()

    with Camera(Ended(), [VIEW], 1.0) as camera, pytest.raises(UserError, match="ended before its first frame"):
        camera.newest(0.0)


def test_only_the_last_seconds_are_kept() -> None:
    with camera_server(fps=50) as (address, _), Camera(Stream(address), [VIEW], 0.5) as camera:
        last = 0.0
        for _ in range(60):
            pictures = camera.newest(last)
            last = pictures[-1].seen_sec
            assert last - pictures[0].seen_sec <= 0.5
        assert pictures[-1].pixels.shape == (32, 43, 3), "frames are kept no larger than the network looks at"


def test_sources_that_are_none(tmp_path: Path) -> None:
    for source in ("nowhere.mp4", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        with pytest.raises(UserError, match="expected the number of a camera, a file that is there, or an address"):
            live.open_line(source)
    with Camera(live.open_line("http://u:secret@127.0.0.1:9/x"), [VIEW], 1.0) as camera:
        with pytest.raises(UserError, match=r"http://\*\*\*@127.0.0.1:9/x cannot be read") as caught:
            camera.newest(0.0)
        assert "secret" not in str(caught.value)
    for address, said in {
        "rtsp://u:sec/ret@127.0.0.1:9/x": r"rtsp://\*\*\*@127.0.0.1:9/x cannot be read: .*write / .* as %2F .*\.$",
        "rtsp://u:sec?r@t@127.0.0.1:9/x": r"rtsp://\*\*\*@127.0.0.1:9/x cannot be read: .*write / .* as %2F .*\.$",
        "rtsp://u:secret@[::1": r"rtsp://\*\*\*@\[::1 cannot be read: [^;]*\.$",
        "rtsp://[::1": r"rtsp://\[::1 cannot be read: [^;]*\.$",
    }.items():
        with Camera(live.open_line(address), [VIEW], 1.0) as camera, pytest.raises(UserError, match=said) as caught:
            camera.newest(0.0)
        assert "sec" not in str(caught.value)
    with pytest.raises(UserError, match=r"ftp://\*\*\*@x") as caught:
        live.open_line("ftp://u:sec/ret@x")
    assert "sec" not in str(caught.value)
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with Camera(live.open_line(str(text)), [VIEW], 1.0) as camera, pytest.raises(UserError, match="cannot be read"):
        camera.newest(0.0)


def test_a_line_that_falls_silent() -> None:
    class Silent:
        def pictures(self, stop: threading.Event, dropped: object) -> Iterator[tuple[float, np.ndarray]]:
            yield time.monotonic(), np.zeros((48, 64, 3), np.uint8)
            stop.wait(30)

    with Camera(Silent(), [VIEW], 1.0) as camera:
        first = camera.newest(0.0)
        with pytest.raises(UserError, match=r"has sent no frame for 0\.2 s"):
            camera.newest(first[-1].seen_sec, timeout_sec=0.2)
