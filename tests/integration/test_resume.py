"""Pull the plug: a run that was killed and resumed ends with the very same numbers."""

import random
import time
from pathlib import Path

import pytest
from processes import finish, kill, start, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.ci]


def test_killed_runs_end_with_the_same_metrics(tiny_config: Path, tmp_path: Path) -> None:
    undisturbed = finish(start(tiny_config, tmp_path / "undisturbed"))

    output = tmp_path / "killed"
    generator = random.Random(0)
    for epoch in (1, 2):
        process = start(tiny_config, output, "--resume")
        wait_for(
            lambda epoch=epoch: any(len(p.read_text().splitlines()) > epoch for p in output.glob("*/history.csv")),
            process,
        )
        time.sleep(generator.uniform(0, 0.3))
        kill(process)
    process = start(tiny_config, output, "--resume")
    wait_for(lambda: any(output.glob("*/baseline/history.csv")), process)
    kill(process)
    resumed = finish(start(tiny_config, output, "--resume"))

    assert len(list(output.iterdir())) == 1
    for name in ("metrics.json", "history.csv", "manifest.lock"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes(), name
