"""The API under strange requests, made from its own description (schemathesis), and under files of damaged bytes.

Whatever comes: no answer of 500 or more, none that takes long, no memory that is lost, and the next request is served.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import made
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import OWN, application_of
from web_server import served

pytest.importorskip("schemathesis")

import requests
import schemathesis
from schemathesis.specs.openapi import checks

LONGEST_SEC = 60.0
MORE_BYTES = 150_000_000
"""What a server may hold more after hundreds of requests; the decoders are processes of their own."""


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    with served(application_of(run)) as port:
        yield f"http://127.0.0.1:{port}"


def serves(address: str, video: Path) -> bool:
    """Whether a good video is answered."""
    answer = httpx.post(f"{address}/api/predict", content=video.read_bytes(), headers=OWN, timeout=60, trust_env=False)
    return answer.status_code == 200 and answer.json()["label"] in made.CLASSES


def settled(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def fuzz(address: str, examples: int) -> collections.Counter[int]:
    """Send what the description allows, and what it forbids; return how often each status came."""
    statuses: collections.Counter[int] = collections.Counter()
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", timeout=60)
    session = requests.Session()
    session.trust_env = False
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            if mode == schemathesis.GenerationMode.NEGATIVE and operation.method.upper() == "GET":
                continue  # takes no arguments: there is nothing to get wrong

            @settled(examples)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                begin = time.monotonic()
                answer = case.call(base_url=address, session=session, timeout=LONGEST_SEC)
                assert time.monotonic() - begin < LONGEST_SEC
                assert answer.status_code < 500, (case, answer.text)
                statuses[answer.status_code] += 1
                if answer.status_code not in (403, 405):  # the door's and the router's own
                    case.validate_response(
                        answer, checks=[checks.status_code_conformance, checks.response_schema_conformance]
                    )

            ask()
    return statuses


def test_requests_made_from_the_description(address: str, short_video: Path) -> None:
    statuses = fuzz(address, 8)
    assert serves(address, short_video)
    assert {200, 422} <= set(statuses), statuses


@settled(12)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1), width=st.integers(1, 2000))
def test_files_of_damaged_bytes(address: str, short_video: Path, seed: int, share: float, width: int) -> None:
    damage_and_ask(address, short_video, seed, share, width)


def damage_and_ask(address: str, video: Path, seed: int, share: float, width: int) -> int:
    data = bytearray(video.read_bytes())
    start = int(share * len(data))
    data[start : start + width] = np.random.default_rng(seed).bytes(len(data[start : start + width]))
    begin = time.monotonic()
    answer = httpx.post(
        f"{address}/api/predict", content=bytes(data), headers=OWN, timeout=LONGEST_SEC, trust_env=False
    )
    assert time.monotonic() - begin < LONGEST_SEC
    assert answer.status_code in (200, 422), answer.text
    return answer.status_code


@pytest.mark.slow
def test_hours_of_nonsense_in_minutes(address: str, short_video: Path, long_video: Path) -> None:
    assert serves(address, short_video)
    process = psutil.Process()
    fuzz(address, 10)  # first, so that what is loaded once is loaded
    before = process.memory_info().rss
    statuses = fuzz(address, 150)
    rng = np.random.default_rng(0)
    for number in range(300):
        video = long_video if number % 10 == 0 else short_video
        seed, width = int(rng.integers(2**32)), int(rng.integers(1, 3000))
        statuses[damage_and_ask(address, video, seed, float(rng.random()), width)] += 1
    assert serves(address, short_video)
    assert process.memory_info().rss - before < MORE_BYTES
    assert sum(statuses.values()) > 600, statuses
