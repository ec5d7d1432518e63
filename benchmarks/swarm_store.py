"""What a store costs: publishing a position, reading one that another machine has published, and reading it again.

python benchmarks/swarm_store.py [--weights N] [--repeats N]

Each number is the median over the repeats, in milliseconds, and beside it the ratio to a plain directory in the same
run. S3 is moto, a server in Python on this machine: what is seen is the work of both sides without a network, and no
real service. `fetch` reads by a machine that does not have it, `again` by another particle of the same machine.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from keras_actrec.swarm.bucket import Bucket
from keras_actrec.swarm.bucket_store import BucketStore
from keras_actrec.swarm.cache import Cache
from keras_actrec.swarm.state import Kind
from keras_actrec.swarm.store import DirectoryStore, Store

LIMIT_BYTES = 10**10
Opener = Callable[[str], Store]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, default=5_000_000, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = {name: measure(opener, options) for name, opener in stores(Path(folder))}
    print(f"{options.weights:,} weights, {4e-6 * options.weights:.0f} MB, {options.repeats} repeats")
    for name, row in times.items():
        cells = [f"{what} {1000 * sec:8.1f} ms ({sec / times['directory'][what]:5.1f})" for what, sec in row.items()]
        print(f"{name:10}", *cells, sep="  ")


def stores(folder: Path) -> Iterator[tuple[str, Opener]]:
    """Give what opens each store as a machine of a name."""
    yield "directory", lambda machine: DirectoryStore.weights_only(folder / "plain")
    yield (
        "copied",
        lambda machine: DirectoryStore(
            folder / "copied", with_journal=False, cache=Cache(folder / f"copied-{machine}", LIMIT_BYTES)
        ),
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        create_bucket(f"http://127.0.0.1:{port}")
        bucket = Bucket("s3://swarms/benchmark", 60)
        yield "s3", lambda machine: BucketStore(bucket, Cache(folder / f"s3-{machine}", LIMIT_BYTES))
    finally:
        server.kill()
        server.wait(30)


def create_bucket(address: str) -> None:
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys, AWS_ENDPOINT_URL=address)
    deadline = time.monotonic() + 60
    while True:
        try:
            boto3.client("s3").create_bucket(Bucket="swarms")
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def measure(opener: Opener, options: argparse.Namespace) -> dict[str, float]:
    """Return the median seconds of each step."""
    vector = np.random.default_rng(0).standard_normal(options.weights, np.float32)
    writer, times = opener("writer"), {"put": [], "fetch": [], "again": []}
    for number in range(1, options.repeats + 1):
        vector += 1
        began = time.perf_counter()
        digest = writer.put(0, Kind.AFTER, number, [vector], vector.size)
        times["put"].append(time.perf_counter() - began)
        for what in ("fetch", "again"):
            began = time.perf_counter()
            opener("reader").get(0, Kind.AFTER, number, digest).verify()
            times[what].append(time.perf_counter() - began)
    return {what: statistics.median(found) for what, found in times.items()}


if __name__ == "__main__":
    main()
