import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for made.py


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network has not learnt anything; nobody writes into it."""
    import made

    return made.save_run(tmp_path_factory.mktemp("runs") / "untrained")


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of coloured noise, 20 frames per second, a key frame every 100 frames."""
    import made

    return made.video(tmp_path_factory.mktemp("videos") / "long.mp4", frames=200)


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second."""
    import made

    return made.video(tmp_path_factory.mktemp("videos") / "short.mp4", frames=20, seed=1)
