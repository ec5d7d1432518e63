"""What tests of the swarm share."""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tests_support.py and its like


if TYPE_CHECKING:
    from bad_s3 import BadServer
    from world import World

    from keras_actrec.swarm.bucket import Bucket
    from keras_actrec.swarm.bucket_store import BucketStore


class Service:
    """An S3 service for one test: the server, which can be told to misbehave, and a folder of its own there."""

    def __init__(self, server: BadServer) -> None:
        from bad_s3 import BUCKET

        self.server, self.address = server, f"s3://{BUCKET}/{secrets.token_hex(8)}"

    def bucket(self, patience_sec: float = 60.0) -> Bucket:
        from keras_actrec.swarm.bucket import Bucket

        return Bucket(self.address, patience_sec)

    def open(
        self, folder: Path, patience_sec: float = 60.0, limit_bytes: int = 10**9, precision: str = "float32"
    ) -> BucketStore:
        """Open a store with a cache and a journal in a folder."""
        from keras_actrec.swarm.bucket_store import BucketStore
        from keras_actrec.swarm.cache import Cache
        from keras_actrec.swarm.journal import Journal

        cache = Cache(folder / "cache", limit_bytes)
        journal = Journal(folder / "swarm.sqlite")
        return BucketStore(self.bucket(patience_sec), cache, journal, patience_sec, precision)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[BadServer, str]]:
    """A local S3 server for the whole session."""
    missing = [name for name in ("s3fs", "moto", "boto3", "flask") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    import bad_s3

    with bad_s3.serving() as (server, address):
        yield server, address


@pytest.fixture
def s3(s3_server: tuple[BadServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """An S3 service, without faults until `server.faults` are set."""
    import bad_s3

    server, address = s3_server
    for name, value in {**bad_s3.CREDENTIALS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, server, "faults", None)
        server.seen.clear()
        server.struck.clear()
        yield Service(server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    path = tmp_path / "small"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting a file system is not permitted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Make a swarm whose clock, processes and store the test controls."""
    from world import World

    return lambda **options: World(tmp_path, **options)
