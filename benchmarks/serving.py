"""How many clips a second `serve` answers, against the same networks asked about the same files without a server.

    python benchmarks/serving.py --run RUN --videos FOLDER [--seconds 180] [--clients 16] [--check]

The server is a process of its own, on 127.0.0.1; clients send the files over connections that stay open, each the next
one as soon as it has its answer. `offline` is what `predict` does: files read by threads, windows answered in shared
passes of the same size. Rounds of both alternate, so that a busy machine slows both alike; a ratio is the quotient
within a round, and what counts is their median. Clients take part of the machine's time in the server's rounds. On a
machine that others use, what both cost in processor time says more: `cpu_ms`, milliseconds per clip of the process (of
the server and its workers), without the clients.

Beside it stand the server's latencies (median and 99th percentile over all requests, in seconds), answers that were no
200, and its memory (of its own process and with its workers) after the first round and at the end. With --check the
exit code is 1 where the ratio is below 0.9, an answer was no 200, the 99th percentile is more than ten times the
median, or memory has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from keras_actrec import files
from keras_actrec.data import decode
from keras_actrec.serving.inputs import videos
from keras_actrec.serving.predictor import default_sliding, open_predictor
from keras_actrec.serving.session import Session

START_SEC, ANSWER_SEC = 180.0, 120.0
LEAST_RATIO, MOST_TAIL, MOST_GROWTH = 0.9, 10.0, 1.1


@dataclasses.dataclass
class Load:
    """What clients have seen in all rounds."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--videos", required=True, help="folder of videos")
    parser.add_argument("--count", type=int, default=100, help="of them (default: 100)")
    parser.add_argument("--seconds", type=float, default=180.0, help="of all rounds together (default: 180)")
    parser.add_argument("--rounds", type=int, default=6, help="of each contestant (default: 6)")
    parser.add_argument("--clients", type=int, default=16, help="that ask at a time (default: 16)")
    parser.add_argument("--batch-size", type=int, default=16, help="clips in one pass (default: 16)")
    parser.add_argument("--workers", type=int, default=2, help="files that are read at a time (default: 2)")
    parser.add_argument("--output", help="JSON file")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bar is missed")
    options = parser.parse_args()
    found = measure(options)
    for name, value in found.items():
        print(f"{name:<26} {value}")
    if options.output:
        files.write_json(options.output, found)
    return int(options.check and bool(misses(found)))


def measure(options: argparse.Namespace) -> dict[str, object]:
    paths = videos([options.videos])[:: max(1, len(videos([options.videos])) // options.count)][: options.count]
    bodies = [path.read_bytes() for path in paths]
    predictor = open_predictor([options.run], most_clips=options.batch_size)
    predictor.warm_up()
    each_sec = options.seconds / options.rounds / 2
    offline, served, ratios, load, memory = [], [], [], Load(), []
    cpu: dict[str, list[float]] = {"offline": [], "served": []}
    with server(options) as (port, process):
        for number in range(options.rounds + 1):
            used = [time.process_time()]
            alone, clips = offline_rate(predictor, paths, each_sec, options.workers)
            used += [time.process_time(), cpu_of_all(process)]
            before = len(load.seconds)
            answered = asyncio.run(served_rate(port, bodies, each_sec, options.clients, load))
            used.append(cpu_of_all(process))
            memory.append((process.memory_info().rss, of_all(process)))
            if not number:  # the first round warms up both
                load = Load()
                continue
            offline.append(alone)
            served.append(answered)
            cpu["offline"].append(1000 * (used[1] - used[0]) / clips)
            cpu["served"].append(1000 * (used[3] - used[2]) / (len(load.seconds) - before))
            ratios.append(answered / alone)
            print(
                f"round {number}: offline {alone:.1f}, served {answered:.1f} clips/s, ratio {ratios[-1]:.2f}",
                flush=True,
            )
    return {
        "clips": len(paths),
        "clients": options.clients,
        "offline_clips_per_sec": round(statistics.median(offline), 1),
        "served_clips_per_sec": round(statistics.median(served), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
        "offline_cpu_ms": round(statistics.median(cpu["offline"]), 1),
        "served_cpu_ms": round(statistics.median(cpu["served"]), 1),
        "answers": len(load.seconds),
        "not_200": load.failed[:5],
        "latency_p50_sec": round(float(np.quantile(load.seconds, 0.5)), 3),
        "latency_p99_sec": round(float(np.quantile(load.seconds, 0.99)), 3),
        "memory_first_mb": [one >> 20 for one in memory[0]],
        "memory_last_mb": [one >> 20 for one in memory[-1]],
    }


def misses(found: dict[str, object]) -> list[str]:
    bars = {
        "ratio": found["ratio"] >= LEAST_RATIO,
        "not_200": not found["not_200"],
        "latency": found["latency_p99_sec"] <= MOST_TAIL * found["latency_p50_sec"],
        "memory": found["memory_last_mb"][1] <= MOST_GROWTH * found["memory_first_mb"][1],
    }
    missed = [name for name, kept in bars.items() if not kept]
    for name in missed:
        print(f"missed: {name}")
    return missed


def offline_rate(predictor: object, paths: list[Path], seconds: float, workers: int) -> tuple[float, int]:
    """Return clips per second, and how many, of whole passes over the files, at least one, until the time is over."""
    begin, count = time.perf_counter(), 0
    with Session(predictor, default_sliding(predictor), workers=workers) as session:
        while not count or time.perf_counter() - begin < seconds:
            decode.forget_indices()  # as each upload is, every file is a new one
            count += sum(1 for _ in session.answers(paths))
    return count / (time.perf_counter() - begin), count


@contextlib.contextmanager
def server(options: argparse.Namespace) -> Iterator[tuple[int, psutil.Process]]:
    """Run `serve`; yield its port and its process."""
    command = [sys.executable, "-m", "keras_actrec", "serve", "--run", options.run, "--port", "0", "--examples", "none"]
    command += ["--batch-size", str(options.batch_size), "--workers", str(options.workers)]
    command += ["--max-requests", str(2 * options.clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _port(process), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def _port(process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + START_SEC
    for line in process.stdout:
        if found := re.match(r"page: http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
        if time.monotonic() > deadline:
            break
    raise RuntimeError("the server has not started")


async def served_rate(port: int, bodies: list[bytes], seconds: float, clients: int, load: Load) -> float:
    """Return answers per second while clients ask one after the other; answers after the time count with their time."""
    begin, turns = time.perf_counter(), itertools.count()
    before = len(load.seconds)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while time.perf_counter() - begin < seconds:
                body = bodies[next(turns) % len(bodies)]
                asked = time.perf_counter()
                status = await asyncio.wait_for(_ask(reader, writer, port, body), ANSWER_SEC)
                load.seconds.append(time.perf_counter() - asked)
                if status != "200":
                    load.failed.append(status)
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return (len(load.seconds) - before) / (time.perf_counter() - begin)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, body: bytes) -> str:
    """Post a file over an open connection; return the status."""
    head = (
        f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Actrec: 1\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)^content-length: (\d+)", answer, re.MULTILINE)
    await reader.readexactly(int(length[1]))
    return answer.split(" ", 2)[1]


def cpu_of_all(process: psutil.Process) -> float:
    """Return the processor seconds of a process and all below it."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def of_all(process: psutil.Process) -> int:
    """Return the memory of a process and all below it, in bytes."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


if __name__ == "__main__":
    sys.exit(main())
