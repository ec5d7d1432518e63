"""Kinetics video by video: real yt-dlp and ffmpeg against the stand-in, with dead, slow and refused pages."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import Film, identity, kinetics, pages
from stand_in import StandIn

from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data import decode
from keras_actrec.data.fetch import bring, from_pages, space, video_pool
from keras_actrec.data.fetch.bring import Fetched
from keras_actrec.data.fetch.outcome import FailureError, Kind, by_text
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.data.fetch.place import Place
from keras_actrec.data.fetch.plan import Candidate, ClassPlan
from keras_actrec.data.fetch.video_pool import VideoPool
from keras_actrec.data.manifest import read_csv
from keras_actrec.errors import UserError

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or importlib.util.find_spec("yt_dlp") is None, reason="needs ffmpeg and yt-dlp"
)

pytest.importorskip("rarfile")
pytest.importorskip("fiftyone.utils.kinetics")

CLASSES = {"bowling": 5, "playing harp": 5}


def fetch(to: Path, hosts: StandIn, retry: bool = False, **settings: Any) -> Fetched:
    settings = {"interval_sec": 0, "wait_sec": 0.01, "attempts": 2, "workers": 2, **settings}
    return bring.fetch(FetchConfig(dataset="kinetics400", to=str(to), mirror=hosts.url, **settings), retry)


def order(split: str, label: str, seed: int = 0) -> list[str]:
    """Pages of a class in the order in which they are tried, made from the names alone."""
    names = [identity(split, label, number) for number in range(CLASSES[label])]
    folder = {"train": "train", "validate": "test"}[split]
    rows = [Candidate(f"{folder}/{label}/{name}_000001_000003.mp4", label, "", "") for name in names]
    official = {"train": "train", "validate": "validation"}[split]
    plan = ClassPlan(official, label, rows, None, f"{seed}/kinetics400")
    return [f"/watch?v={row.path.rpartition('/')[2][:-18]}" for row in plan.order]


def test_dead_links_reasons_and_coverage(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    """A fifth of all pages is dead: 4 of 20. Classes stay balanced while there are others."""
    kinetics(hosts, CLASSES, film)
    harp, bowling, test = order("train", "playing harp"), order("train", "bowling"), order("validate", "bowling")
    hosts.always |= {harp[0]: 404, harp[1]: 503, bowling[2]: 429, test[1]: "truncated"}
    hosts.misbehave(bowling[0], 429, 503)  # refused at first; comes at the third attempt
    hosts.misbehave(bowling[1], "slow")
    fetched = fetch(tmp_path / "out", hosts, per_class=4, attempts=3, seed=0)
    counts = {split: {label: (one.official, one.requested, one.present) for label, one in classes.items()}
              for split, classes in fetched.listing.counts.items()}  # fmt: skip
    assert counts == {
        "train": {"bowling": (5, 4, 4), "playing harp": (5, 4, 3)},
        "test": {"bowling": (5, 4, 4), "playing harp": (5, 4, 4)},
    }
    assert fetched.listing.coverage == {"train": 7 / 8, "test": 1.0}
    found = {f"/watch?v={entry['clip'].rpartition('/')[2][:-18]}": entry["reason"] for entry in fetched.receipt["dead"]}
    assert found == {
        harp[0]: "not found (404)",
        harp[1]: "server error (5xx)",
        bowling[2]: "too many requests (429)",
        test[1]: "ffmpeg could not cut it",
    }
    assert Counter(fetched.receipt["reasons"].values()) == {1: 4}
    assert hosts.requests[harp[0]] == 1 and hosts.requests[harp[1]] == 3  # what is gone is not tried again
    clips = read_csv(tmp_path / "out/manifest.csv", 1)
    assert Counter((clip.split, clip.label) for clip in clips) == dict.fromkeys(
        [(split, label) for split in ("train", "test") for label in CLASSES], 4
    )
    info = decode.probe(tmp_path / "out" / next(clip.path for clip in clips if clip.label == "bowling"))
    assert abs(info.frames / info.fps - 2.0) < 0.11  # the stretch from 1 to 3 s, not the video
    before = sum(hosts.requests.values())
    assert fetch(tmp_path / "out", hosts, per_class=4).receipt == fetched.receipt
    assert sum(hosts.requests.values()) == before  # nothing that is known is asked again
    hosts.always.clear()
    assert fetch(tmp_path / "out", hosts, retry=True, per_class=4).listing.coverage == {"train": 1.0, "test": 1.0}
    assert hosts.requests[harp[0]] == 1


def test_cookies_and_proxy_reach_yt_dlp_and_the_users_file_stays(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\nvideos.invalid\tFALSE\t/\tFALSE\t2147483647\tsession\tsecret\n"
    cookies.write_text(text)
    for host in ("videos.invalid", "videos.invalid:80"):  # yt-dlp's spelling, and ffmpeg's
        hosts.put(f"http://{host}/watch?v=a", film(3))
    config = FetchConfig(dataset="kinetics400", cookies=str(cookies), proxy=hosts.url, attempts=1)
    with VideoPool(config, Pace(0, 1, 0.01), tmp_path) as pool:
        file = pool.fetch("http://videos.invalid/watch?v=a", 1, 3)
        assert decode.probe(file).frames > 15
    assert "session=secret" in hosts.cookies
    assert cookies.read_text() == text
    with pytest.raises(UserError, match="there is no cookie file nowhere"):
        VideoPool(config.model_copy(update={"cookies": "nowhere"}), Pace(0, 1, 0.01), tmp_path)


def test_a_stalled_video_ends_at_its_limit_and_so_do_its_processes(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    hosts.put("/watch?v=a", film(3))
    hosts.put("/watch?v=b", film(4))
    config = FetchConfig(dataset="kinetics400", timeout_sec=120)
    with VideoPool(config, Pace(0, 1, 0.01), tmp_path) as pool:
        pool.fetch(f"{hosts.url}/watch?v=b", 1, 3)
        first = pool._worker()._process.pid
        pool._config = config.model_copy(update={"timeout_sec": 3})
        hosts.always["/watch?v=a"] = "stalled"
        with pytest.raises(FailureError, match="timed out"):
            pool.fetch(f"{hosts.url}/watch?v=a", 1, 3)
        wait_until_empty(first)
        pool._config = config
        pool.fetch(f"{hosts.url}/watch?v=b", 1, 3)  # in a new process
        second = pool._worker()._process.pid
    wait_until_empty(second)


def test_a_full_disk_is_not_blamed_on_the_video(
    tmp_path: Path, hosts: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with VideoPool(FetchConfig(dataset="kinetics400"), Pace(0, 3, 0.01), tmp_path) as pool:
        monkeypatch.setattr(pool, "_attempt", lambda *_: (_ for _ in ()).throw(by_text("ffmpeg exited with code 228")))
        with pytest.raises(FailureError, match="no space left") as caught:
            pool.fetch(f"{hosts.url}/watch?v=a", 1, 3)
    assert caught.value.kind is Kind.LOCAL


def members(group: int) -> list[str]:
    """Living processes of a group, by /proc; what has ended and was not waited for yet does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, process_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(process_group) == group and state != "Z":
                found.append(entry.name)
    return found


def wait_until_empty(group: int) -> None:
    """What was killed is gone when the kernel comes to it, which on a busy machine is not at once."""
    deadline = time.monotonic() + 30
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert members(group) == []


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, hosts: StandIn, film: Film) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from keras_actrec.data.fetch.video_pool import _Worker\n"
        "print(_Worker(Path(sys.argv[1]))._started().pid, flush=True)\n"
        "time.sleep(60)"
    )
    command = [os.sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as parent:
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    wait_until_empty(worker)


class Refusing:
    """A pool whose host refuses from a moment on, always in the same words."""

    def __init__(self, work: Path, film: bytes, come: int, words: str = "Sign in to confirm you're not a bot") -> None:
        self.work, self.film, self.left, self.words, self.asked = work, film, come, words, []

    def fetch(self, url: str, start_sec: float, end_sec: float) -> Path:
        self.asked.append(url)
        if self.left == 0:
            raise by_text(self.words)
        self.left -= 1
        path = self.work / f"{len(self.asked)}.mp4"
        path.write_bytes(self.film)
        return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "out", "kinetics400")
    made.open()
    yield made
    made.close()


def bring_from(pool: Refusing, place: Place, tmp_path: Path) -> ClassPlan:
    """Bring 30 of 50 videos of a class."""
    rows = [Candidate(f"train/wave/{n:03d}.mp4", "wave", "train", "", f"http://x/{n}") for n in range(50)]
    plan = ClassPlan("train", "wave", rows, 30, "0")
    plan.dead.update(place.dead())
    from_pages.PageRoute(pool, bring.Hosts(None, tmp_path), place, Pace(0, 1, 0.01), workers=1).bring([plan])
    return plan


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Sign in to confirm you're not a bot", r"too many requests \(429\)"),
        ("unable to download video data: HTTP Error 403: Forbidden", r"refused \(403\)"),
        ("Requested format is not available", "no video there"),
        ("Failed to extract any player response", "failed: Failed to extract any player response"),
    ],
)
def test_a_host_that_refuses_everybody_stops_the_fetch_and_condemns_nobody(
    tmp_path: Path, film: Film, place: Place, words: str, reason: str
) -> None:
    pool = Refusing(tmp_path, film(1), come=5, words=words)
    told = rf"last 8 videos failed without one that came: {reason}\. Wait .* \(pip install -U yt-dlp\); the same"
    with pytest.raises(UserError, match=told):
        bring_from(pool, place, tmp_path)
    assert len(pool.asked) <= 5 + from_pages.HOST_LIMIT + 1
    assert place.dead() == {}
    assert len(place.present(["train"])) == 5


def test_what_is_tried_once_more_and_is_as_bad_as_before_does_not_stop_the_fetch(
    tmp_path: Path, film: Film, place: Place
) -> None:
    """Or else the same command would never come to its end again."""
    bad = FailureError("refused (403)", Kind.PASSING)
    place.remember_dead({f"train/wave/{n:03d}": bad for n in range(50)})
    assert place.forget_passing() == 50
    pool = Refusing(tmp_path, film(1), come=0, words="HTTP Error 403: Forbidden")
    assert bring_from(pool, place, tmp_path).present == 0
    assert len(pool.asked) == len(place.dead()) == 50


def test_what_is_needed_is_asked_for_before_anything_is_fetched(
    tmp_path: Path, hosts: StandIn, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinetics(hosts, CLASSES, film)
    with monkeypatch.context() as without:
        without.setattr(video_pool.shutil, "which", lambda name: None)
        with pytest.raises(UserError, match=r"ffmpeg cuts the clips .* apt install ffmpeg"):
            fetch(tmp_path / "out", hosts, per_class=1)
    with monkeypatch.context() as without:
        found = importlib.util.find_spec
        without.setattr(importlib.util, "find_spec", lambda name: None if name == "yt_dlp" else found(name))
        with pytest.raises(UserError, match=r"yt-dlp, which is not installed; pip install 'keras_actrec\[fetch\]'"):
            fetch(tmp_path / "out", hosts, per_class=1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage._replace(free=space.MARGIN_BYTES + 7_000_000))
    with pytest.raises(UserError, match=r"4 videos: about 75 MB needed, but .* has 74 MB free"):
        fetch(tmp_path / "out", hosts, per_class=1)
    assert not any(hosts.requests[page] for page in pages(CLASSES))
