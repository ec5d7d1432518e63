"""Archives over a line that stalls, drops and is refused: whole in the end, or not there."""

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from stand_in import StandIn

from keras_actrec.data.fetch import space
from keras_actrec.data.fetch.outcome import FailureError
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.data.fetch.transfer import Wire, download
from keras_actrec.errors import StopRequestedError, UserError

CONTENT = bytes(range(256)) * 1200


def wire(attempts: int = 4, timeout_sec: float = 5.0, **settings: str) -> Wire:
    return Wire(Pace(0.0, attempts, 0.01), timeout_sec, **settings)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "a.tar"


def test_a_file_comes_whole_and_once(hosts: StandIn, target: Path) -> None:
    hosts.put("/a.tar", CONTENT)
    seen: list[tuple[int, int]] = []
    download(f"{hosts.url}/a.tar", target, wire(), lambda *how_far: seen.append(how_far))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    download(f"{hosts.url}/a.tar", target, wire())
    assert hosts.requests["/a.tar"] == 1
    assert [path.name for path in target.parent.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("how", ["truncated", "stalled"])
def test_what_broke_off_is_continued_not_begun_again(hosts: StandIn, target: Path, how: str) -> None:
    hosts.put("/a.tar", CONTENT)
    hosts.misbehave("/a.tar", how)
    download(f"{hosts.url}/a.tar", target, wire(timeout_sec=0.5))
    assert target.read_bytes() == CONTENT
    assert hosts.ranged == [("/a.tar", f"bytes={len(CONTENT) // 2}-")]


def test_a_later_call_continues_an_earlier_one(hosts: StandIn, target: Path) -> None:
    hosts.put("/a.tar", CONTENT)
    hosts.misbehave("/a.tar", "truncated")
    with pytest.raises(FailureError, match="cut off"):
        download(f"{hosts.url}/a.tar", target, wire(attempts=1))
    assert not target.exists()
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT
    assert len(hosts.ranged) == 1


def test_another_file_under_the_old_name_is_not_stitched_on(hosts: StandIn, target: Path) -> None:
    """If-Range: the stand-in, as a simple server, ignores it and would send the tail of the new file."""
    hosts.put("/a.tar", CONTENT)
    hosts.misbehave("/a.tar", "truncated")
    with pytest.raises(FailureError):
        download(f"{hosts.url}/a.tar", target, wire(attempts=1))
    hosts.put("/a.tar", CONTENT[::-1])
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(hosts: StandIn, target: Path) -> None:
    hosts.ranges = False
    hosts.put("/a.tar", CONTENT)
    hosts.misbehave("/a.tar", "truncated", "truncated")
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT


def test_refusals_are_waited_out(hosts: StandIn, target: Path) -> None:
    hosts.put("/a.tar", CONTENT)
    hosts.misbehave("/a.tar", 429, 503)
    hosts.retry_after = "1"
    download(f"{hosts.url}/a.tar", target, wire())
    assert hosts.times[1] - hosts.times[0] >= 1
    assert hosts.times[2] - hosts.times[1] >= 1
    assert target.read_bytes() == CONTENT


def test_failures_have_reasons(hosts: StandIn, target: Path) -> None:
    hosts.put("/a.tar", CONTENT)
    hosts.always["/a.tar"] = 429
    for address, reason in [
        (f"{hosts.url}/a.tar", "too many requests"),
        (f"{hosts.url}/b.tar", "not found"),
        ("http://127.0.0.1:9/a.tar", "no connection"),
    ]:
        with pytest.raises(FailureError, match=reason):
            download(address, target, wire(attempts=2))
    assert hosts.requests == {"/a.tar": 2, "/b.tar": 1}


def test_a_proxy_is_asked_for_every_host(hosts: StandIn, target: Path) -> None:
    hosts.put("http://archives.invalid/a.tar", CONTENT)
    download("http://archives.invalid/a.tar", target, wire(proxy=hosts.url))
    assert target.read_bytes() == CONTENT
    with pytest.raises(UserError, match="the proxy nonsense cannot be used"):
        download("http://archives.invalid/b.tar", target.with_name("b.tar"), wire(proxy="nonsense"))


def test_what_does_not_fit_is_not_begun(hosts: StandIn, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.put("/a.tar", CONTENT)
    free = space.MARGIN_BYTES + len(CONTENT)  # fits packed, not unpacked
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))
    with pytest.raises(UserError, match=r"a.tar, unpacked: about 68 MB needed, but .* has 67 MB free"):
        download(f"{hosts.url}/a.tar", target, wire())
    monkeypatch.undo()
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT


def test_what_leads_in_a_circle_or_nowhere_is_told(hosts: StandIn, target: Path) -> None:
    hosts.always["/a.tar"] = 302
    with pytest.raises(FailureError, match="redirected in a circle"):
        download(f"{hosts.url}/a.tar", target, wire(attempts=1))
    with pytest.raises(UserError, match=r"http://host:abc/a\.tar is no address that can be asked"):
        download("http://host:abc/a.tar", target, wire())


def test_a_stop_keeps_what_came(hosts: StandIn, target: Path) -> None:
    hosts.put("/a.tar", CONTENT * 20)
    line = wire()
    with pytest.raises(StopRequestedError):
        download(f"{hosts.url}/a.tar", target, line, lambda done, total: line.pace.stop.set())
    assert 0 < target.with_name("a.tar.part").stat().st_size < 20 * len(CONTENT)
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT * 20


def test_a_full_disk_keeps_what_came(hosts: StandIn, target: Path) -> None:
    """A limit on the size of files stands for the disk; the next call, with space again, continues."""
    hosts.put("/a.tar", CONTENT * 10)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from keras_actrec.data.fetch.pace import Pace\n"
        "from keras_actrec.data.fetch.transfer import Wire, download\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))\n"
        "try:\n"
        "    download(sys.argv[1], Path(sys.argv[2]), Wire(Pace(0, 2, 0.01), 5))\n"
        "except OSError as error:\n"
        "    print(error.strerror)"
    )
    command = [sys.executable, "-c", script, f"{hosts.url}/a.tar", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "File too large"
    download(f"{hosts.url}/a.tar", target, wire())
    assert target.read_bytes() == CONTENT * 10
    assert len(hosts.ranged) == 1
