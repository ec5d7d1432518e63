"""The section `ray`, the option for it, and what is said where no cluster can be had."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_actrec import cli
from keras_actrec.cluster import option
from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.settings import RaySection
from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.swarm import compare_settings
from keras_actrec.swarm.compare_settings import CompareConfig
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.sweep import settings as sweep_settings
from keras_actrec.sweep.settings import SweepConfig


def test_the_option_stands_for_launcher_and_address() -> None:
    parser = cli.Parser()
    cli.add_swarm_arguments(parser)
    options = parser.parse_args(["--config", "x.yaml", "--ray-address", "10.0.0.1:6379"])
    swarm = parse_config({}, kind=SwarmConfig, overrides=option.overrides(options, "swarm")).swarm
    assert (swarm.launcher, swarm.ray.address) == ("ray", "10.0.0.1:6379")
    assert option.overrides(parser.parse_args(["--config", "x.yaml"]), "swarm") == []


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"address": "ray://10.0.0.1:10001"}, "runs on a node of the cluster"),
        ({"num_cpus": 0}, "greater than 0"),
        ({"num_gpus": -1}, "greater than or equal to 0"),
        ({"adress": "auto"}, "Did you mean 'address'"),
        ({"environment": ["A B"]}, "pattern"),
    ],
)
def test_mistakes_are_told(section: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_config({"swarm": {"ray": section}}, kind=SwarmConfig)


def test_the_former_name_of_the_launcher_is_read() -> None:
    def launcher(**swarm: object) -> str:
        return parse_config({"swarm": swarm}, kind=SwarmConfig).swarm.launcher

    assert [launcher(launch="local"), launcher(launch="none"), launcher()] == ["local", "manual", "local"]
    with pytest.raises(UserError, match=r"unknown key 'swarm\.launch'"):
        launcher(launch="somewhere")


def test_where_trials_and_seeds_run_does_not_move_their_results() -> None:
    def sweep(**changes: object) -> Path:
        document = {"sweep": {"space": {"training.batch_size": [1, 2]}, **changes}}
        return sweep_settings.directory(parse_config(document, kind=SweepConfig))

    assert sweep() == sweep(launcher="ray", ray={"num_gpus": 1}, workers=8)

    def compare(**changes: object) -> Path:
        return compare_settings.directory(parse_config(changes, kind=CompareConfig))

    moved = {"swarm": {"launcher": "ray", "ray": {"num_cpus": 2}}, "compare": {"launcher": "ray"}}
    assert compare() == compare(**moved)


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="pip install"):
        Cluster(RaySection(), "swarm.ray", 2)


@pytest.mark.parametrize(("address", "told"), [(None, "could not start a cluster"), ("auto", "a Ray cluster at auto")])
def test_what_ray_cannot_do_is_one_sentence(monkeypatch: pytest.MonkeyPatch, address: str | None, told: str) -> None:
    ended = []

    def fail(*_: object, **__: object) -> None:
        raise Exception("The current node\n timed out during startup.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=fail, shutdown=lambda: ended.append(True)))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match=rf"{told}.*: The current node timed out during startup\. [SA]"):
        Cluster(RaySection(address=address), "swarm.ray", 2)
    assert ended == [True]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_an_address_at_which_nobody_answers_is_told_at_once() -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=rf"a Ray cluster at 127\.0\.0\.1:{port} \(swarm\.ray\.address\)"):
        Cluster(RaySection(address=f"127.0.0.1:{port}"), "swarm.ray", 2)
