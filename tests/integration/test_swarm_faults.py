"""A swarm survives kill -9 of its particles and of its server, at any moment, and ends with the very same numbers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "swarm"))

from chaos import Chaos, outcome, undisturbed

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def swarm_config(tmp_path: Path, tiny_config: Path) -> Path:
    """Three particles that learn in seconds, with a server that notices quickly."""
    path = tmp_path / "swarm.yaml"
    text = tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9").replace("epochs: 3", "epochs: 5")
    path.write_text(
        text
        + """
swarm:
  particles: 3
  dynamic: dynamic_1
  learning_rates: [0.003, 0.001, [0.0001, 0.01]]
  heartbeat_sec: 0.3
  silence_sec: 6
  start_sec: 40
  restarts: 1000
"""
    )
    return path


SMALL = "  exchange: bfloat16\n  neighbours: 1\n  nearest_by: sketch\n  sketch_size: 1024\n"
"""Others get rounded copies, and find their neighbour by sketches."""


@pytest.mark.parametrize(
    ("kills", "rounds", "more"),
    [pytest.param(3, 6, "", marks=pytest.mark.ci), pytest.param(6, 11, SMALL), pytest.param(100, 70, "")],
    ids=["few", "small", "hundred"],
)
def test_killed_swarms_end_with_the_same_weights(
    swarm_config: Path, tmp_path: Path, kills: int, rounds: int, more: str
) -> None:
    swarm_config.write_text(swarm_config.read_text().replace("epochs: 5", f"epochs: {rounds}") + more)
    expected = undisturbed(swarm_config, tmp_path)
    chaos = Chaos(swarm_config, tmp_path / "chaos", kills=kills, stops=1 + kills // 30)
    disturbed = outcome(chaos.run())

    print(chaos.tally)
    assert chaos.tally.kills == kills
    assert chaos.tally.servers_killed >= 1
    assert disturbed.keys() == expected.keys()
    assert [name for name in disturbed if disturbed[name] != expected[name]] == []
