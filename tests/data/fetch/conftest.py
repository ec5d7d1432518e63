"""Helpers of the tests of `fetch`: the stand-in for the hosts, and collections in their layout."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for stand_in.py and made_up.py
sys.path.insert(0, str(Path(__file__).parent.parent))  # for trees.py

from made_up import Film
from stand_in import StandIn


@pytest.fixture
def hosts() -> Iterator[StandIn]:
    """A server in place of all hosts."""
    with StandIn() as server:
        yield server


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], bytes]:
    """Small real videos, each number another one."""
    return Film(tmp_path_factory.mktemp("film"))


@pytest.fixture(autouse=True)
def no_other_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing may leave this machine: whoever asks another host meets a proxy that is not there."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "1")
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "database"))
    monkeypatch.setenv("FIFTYONE_DATASET_ZOO_DIR", str(tmp_path / "zoo"))
