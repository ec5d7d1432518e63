"""`fetch` as a user runs it: in processes of its own, killed, continued, and then trained with."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_up import Film, kinetics, pages
from processes import ROOT, kill, wait_for
from stand_in import StandIn

from keras_actrec import cli, files
from keras_actrec.data.manifest import read_csv

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("ffmpeg") is None or not all(map(importlib.util.find_spec, ("yt_dlp", "fiftyone"))),
        reason="needs ffmpeg, yt-dlp and FiftyOne",
    ),
]

Command = Callable[..., subprocess.CompletedProcess[str]]
CLASSES = {"bowling": 5, "playing harp": 5}
PER_CLASS = 4


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Kinetics with a fifth of its videos gone."""
    with StandIn() as server:
        kinetics(server, CLASSES, Film(tmp_path_factory.mktemp("film")))
        for page in list(pages(CLASSES))[::5]:
            server.always[page] = 404
        yield server


def arguments(hosts: StandIn, to: Path, workers: int = 2) -> list[str]:
    return [
        *("-m", "keras_actrec", "fetch", "--dataset", "kinetics400", "--from", hosts.url, "--to", str(to)),
        *("--per-class", str(PER_CLASS), "--workers", str(workers), "fetch.interval_sec=0", "fetch.wait_sec=0.1"),
    ]


def environment(home: Path, hash_seed: str) -> dict[str, str]:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return nowhere | {
        "no_proxy": "127.0.0.1",
        "PYTHONHASHSEED": hash_seed,
        "HOME": str(home),
        "FIFTYONE_DO_NOT_TRACK": "1",
    }


def videos(root: Path) -> dict[Path, int]:
    """The videos that are in their places, and when each was written."""
    return {path: path.stat().st_mtime_ns for folder in ("train", "test") for path in (root / folder).rglob("*.mp4")}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory, hosts: StandIn, command: Command) -> tuple[Path, str]:
    """An undisturbed fetch, and what it printed."""
    home = tmp_path_factory.mktemp("undisturbed")
    done = command(*arguments(hosts, home / "out"), **environment(home, "1"))
    assert done.returncode == 0, done.stderr[-3000:]
    return home / "out", done.stdout


def test_what_came_is_told(fetched: tuple[Path, str]) -> None:
    root, printed = fetched
    lines = printed.splitlines()
    assert lines[0].split() == ["split", "classes", "official", "requested", "present", "coverage", "per", "class"]
    assert lines[1].split() == ["train", "2", "10", "8", "8", "100.0", "%", "4", "to", "4"]
    assert "not found (404)" in printed and "CC BY 4.0" in printed and "YouTube's terms" in printed
    assert lines[-1] == f"fetched: {root}"
    clips = read_csv(root / "manifest.csv", 1)
    assert Counter((clip.split, clip.label) for clip in clips) == dict.fromkeys(
        [(split, label) for split in ("train", "test") for label in CLASSES], PER_CLASS
    )
    assert all((root / clip.path).is_file() for clip in clips)
    assert {entry["reason"] for entry in files.read_json(root / "receipt.json")["dead"]} == {"not found (404)"}


def test_another_hash_seed_and_a_kill_change_nothing(
    fetched: tuple[Path, str], hosts: StandIn, command: Command, tmp_path: Path
) -> None:
    """One fetch covers both, since each takes a while: another PYTHONHASHSEED, other workers, killed half way."""
    out = tmp_path / "out"
    command_line = [sys.executable, *arguments(hosts, out, workers=1)]
    started = subprocess.Popen(
        command_line,
        cwd=ROOT,
        env={**os.environ, **environment(tmp_path, "2")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len(videos(out)) >= 3, started)
    kill(started)
    there = videos(out)
    assert 3 <= len(there) < 16 and not (out / "manifest.csv").exists()
    done = command(*arguments(hosts, out, workers=1), **environment(tmp_path, "3"))
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("manifest.csv", "receipt.json"):
        assert (out / name).read_bytes() == (fetched[0] / name).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in there} == there  # nothing was fetched twice


def test_what_was_fetched_trains(fetched: tuple[Path, str], command: Command, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"""
name: fetched
output: {tmp_path / "runs"}
data: {{source: manifest, root: {fetched[0]}, frames: 4, size: 32}}
model: {{name: convnet_rnn, backbone: tiny, weights: none, head_units: 16}}
training: {{epochs: 1, batch_size: 4}}
evaluation: {{baseline: false, throughput: false, probes: false}}
logging: {{tensorboard: false}}
"""
    )
    done = command("train.py", "--config", config)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = files.read_json(Path(done.stdout.strip().splitlines()[-1].removeprefix("run: ")) / "metrics.json")
    assert metrics["test"]["coverage"] == 1.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "Pass --config configs/data/NAME.yaml, or --dataset NAME"),
        (("--dataset", "kinetics40"), "input should be 'kinetics400'"),
        (("--dataset", "hmdb51", "--splits", "validation"), "no list 'validation'"),
        (("--dataset", "hmdb51", "--from", "nowhere"), "nowhere, which is no folder"),
        (("--dataset", "hmdb51", "--from", "http://host:abc/x"), "mirror: expected a folder or http://HOST:PORT/PATH"),
        (("--dataset", "hmdb51", "--from", "http://[::1/x"), "mirror: expected a folder or http://HOST:PORT/PATH"),
        (("--dataset", "hmdb51", "--from", "http:///x"), "mirror: expected a folder or http://HOST:PORT/PATH"),
        (("--dataset", "ucf101", "fetch.per_clas=3"), "Did you mean 'per_class'"),
        (("--config", "configs/data/ucf.yaml"), "there is no configuration"),
        (("--dataset", "kinetics400", "--proxy", "socks5://x"), "ffmpeg knows no other kind"),
    ],
)
def test_mistakes_are_one_sentence(
    given: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    to = ("--to", str(tmp_path / "out")) if "--dataset" in given else ()
    assert cli.main(["fetch", *given, *to]) == 1
    printed = capsys.readouterr().err
    assert expected in printed
    assert printed.count("\n") == 1
