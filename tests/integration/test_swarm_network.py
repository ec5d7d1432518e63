"""Two hosts with a bad line between them, whose particles are started by hand: they end as an undisturbed swarm does.

The hosts are network namespaces. The line takes 200 ms for each packet in each direction and loses 2 % of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "swarm"))

import chaos
from slow_link import ADDRESSES, SlowLink

from keras_actrec.swarm import launcher

pytestmark = [pytest.mark.integration, pytest.mark.slow]
DELAY_SEC, LOSS = 0.2, 0.02
HOSTS = (0, 1, 1)
"""Where each particle lives; the server, and the S3 service, are on host 0."""
READ_ALL = """
import boto3, pathlib, sys
client = boto3.client("s3", endpoint_url=sys.argv[1])
for entry in client.list_objects_v2(Bucket="swarms")["Contents"]:
    path = pathlib.Path(sys.argv[2], entry["Key"])
    path.parent.mkdir(parents=True, exist_ok=True)
    client.download_file("swarms", entry["Key"], str(path))
"""


@pytest.fixture
def line() -> Iterator[SlowLink]:
    with SlowLink(DELAY_SEC, LOSS) as opened:
        yield opened


@pytest.fixture
def swarm_config(tmp_path: Path, tiny_config: Path) -> Path:
    """Three particles of a few thousand weights: what TCP gets through the line is some 30 KB a second."""
    path = tmp_path / "swarm.yaml"
    text = tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9")
    small = "name: convnet_rnn\n  widths: [8, 16]\n  units: 16"
    path.write_text(
        text.replace("name: convnet_transformer", small)
        + """
swarm:
  particles: 3
  dynamic: dynamic_1
  learning_rates: [0.003, 0.001, [0.0001, 0.01]]
  heartbeat_sec: 0.5
"""
    )
    return path


@contextlib.contextmanager
def s3_on(line: SlowLink, host: int) -> Iterator[str]:
    """Run an S3 service on a host, and give its address."""
    for name in ("s3fs", "moto", "boto3", "flask"):
        pytest.importorskip(name)
    program = Path(__file__).parent.parent / "swarm" / "bad_s3.py"
    command = line.on(host, sys.executable, str(program), ADDRESSES[host], "5000")
    service = subprocess.Popen(command, cwd=chaos.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield service.stdout.readline().strip()
    finally:
        service.kill()
        service.wait(30)


def play(
    line: SlowLink, config: Path, output: Path, *options: str, apart: Path | None = None, **environment: str
) -> Path:
    """Run a swarm on both hosts and return its directory.

    Args:
        line: between the hosts.
        config: of the swarm.
        output: folder of the swarm.
        options: further settings.
        apart: where the second host has a swarm's directory of its own; None: it sees that of the first.
        environment: of all processes.
    """
    output.mkdir()
    surroundings = {**os.environ, "PYTHONPATH": str(chaos.ROOT), **environment}
    settings = ["swarm.launcher=manual", f"swarm.host={ADDRESSES[0]}", "swarm.token=word", f"output={output}", *options]
    text = output.with_suffix(".txt")
    with text.open("wb") as console:
        server = subprocess.Popen(
            line.on(0, sys.executable, "swarm_server.py", "--config", str(config), *settings, "swarm.port=0"),
            **{"cwd": chaos.ROOT, "stdout": console, "stderr": subprocess.STDOUT, "env": surroundings},
        )
    processes = [server]
    try:
        deadline = time.monotonic() + 60
        while len(lines := [one for one in text.read_text().splitlines() if one.startswith("start ")]) < len(HOSTS):
            assert time.monotonic() < deadline and server.poll() is None, text.read_text()
            time.sleep(0.1)
        for host, command in zip(HOSTS, lines, strict=True):
            words = command.removeprefix("start ").split()
            # The threads of a process decide how it rounds; a local launcher gives each its share of the machine.
            words[words.index("--workers") + 1] = str(launcher.cores_each(len(HOSTS)))
            if host and apart:
                words[words.index("--swarm") + 1] = str(copied(Path(words[words.index("--swarm") + 1]), apart))
            with output.with_suffix(f".{len(processes)}.txt").open("wb") as console:
                processes.append(
                    subprocess.Popen(
                        line.on(host, *words),
                        **{"cwd": chaos.ROOT, "stdout": console, "stderr": subprocess.STDOUT, "env": surroundings},
                    )
                )
        codes = [process.wait(600) for process in processes[1:]]
        consoles = "\n".join(path.read_text()[-2000:] for path in output.parent.glob(f"{output.name}.*.txt"))
        assert codes == [0] * len(HOSTS), consoles
        return chaos.finish(server, output)
    finally:
        for process in processes:
            process.kill()
            process.wait(30)


def copied(swarm: Path, apart: Path) -> Path:
    """Copy what a particle needs of a swarm's directory."""
    goal = apart / swarm.name
    goal.mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "server.json"):
        shutil.copy2(swarm / name, goal / name)
    return goal


def check_line(line: SlowLink) -> None:
    print(line.tally)
    assert line.tally.packets > 500 and line.tally.lost > 0.005 * line.tally.packets, line.tally


def test_two_hosts_that_share_a_folder(line: SlowLink, swarm_config: Path, tmp_path: Path) -> None:
    shared, cache = tmp_path / "shared", tmp_path / "cache"
    options = [f"swarm.store={shared}", f"swarm.cache={cache}"]
    swarm = play(line, swarm_config, tmp_path / "far", *options)
    assert list(cache.glob("*.safetensors"))
    assert not (swarm / "weights").exists()
    assert chaos.outcome(swarm, shared / swarm.name) == chaos.undisturbed(swarm_config, tmp_path)
    check_line(line)


def test_two_hosts_that_share_a_bucket_and_no_folder(line: SlowLink, swarm_config: Path, tmp_path: Path) -> None:
    import bad_s3

    with s3_on(line, 0) as address:
        keys = {**bad_s3.CREDENTIALS, "AWS_ENDPOINT_URL": address}
        options = ["swarm.store=s3://swarms/here", f"swarm.cache={tmp_path / 'cache'}", "training.epochs=2"]
        apart = tmp_path / "apart"
        swarm = play(line, swarm_config, tmp_path / "far", *options, apart=apart, **keys)
        read = line.on(0, sys.executable, "-c", READ_ALL, address, str(tmp_path / "read"))
        subprocess.run(read, check=True, env={**os.environ, **keys})
    assert not (swarm / "weights").exists()
    positions = tmp_path / "read" / "here" / swarm.name
    quiet = tmp_path / "two.yaml"
    quiet.write_text(swarm_config.read_text().replace("epochs: 3", "epochs: 2"))
    assert [len(list((one / "particles").glob("particle-*/"))) for one in (swarm, apart / swarm.name)] == [1, 2]
    outcome = chaos.outcome(swarm, positions) | chaos.outcome(apart / swarm.name, positions)
    assert outcome == chaos.undisturbed(quiet, tmp_path)
    check_line(line)
