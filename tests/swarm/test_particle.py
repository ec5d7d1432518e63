"""How the process of a particle ends: who starts it decides by the exit code whether to start it again."""

from __future__ import annotations

import argparse
import errno

import pytest

from keras_actrec.errors import UserError
from keras_actrec.swarm import particle
from keras_actrec.swarm.particle import CRASHED


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (None, 0, ""),
        (UserError("the training diverged; lower the rate"), 1, "error: the training diverged"),
        (OSError(errno.EIO, "Input/output error"), CRASHED, "Input/output error"),
        (MemoryError("no memory left on the device"), CRASHED, "no memory left on the device"),
    ],
)
def test_the_exit_code(
    raised: BaseException | None,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def play(options: argparse.Namespace) -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(particle, "play", play)
    assert particle.played(argparse.Namespace()) == code
    assert told in capsys.readouterr().err
