import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for toys.py


@pytest.fixture(autouse=True)
def fresh_precision() -> Iterator[None]:
    """Leave float32 behind."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")
