"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from keras_actrec import cli
from keras_actrec.training import links

MISTAKE = ["fetch"]
"""A command that ends at once, with one sentence and the code 1."""

NEVER_ENDS = """
import sys, threading
from keras_actrec import cli
from keras_actrec.training import links

links._used.set()
threading.Thread(target=threading.Event().wait).start()
sys.argv = ["keras-actrec", {words}]
cli.program()
"""


def test_a_process_that_has_more_to_do_is_not_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used, left = threading.Event(), []
    used.set()
    monkeypatch.setattr(links, "_used", used)
    monkeypatch.setattr(os, "_exit", left.append)
    assert cli.main(MISTAKE) == 1
    assert "--dataset" in capsys.readouterr().err
    assert not left
    with pytest.raises(SystemExit):
        monkeypatch.setattr(sys, "argv", ["keras-actrec", *MISTAKE])
        cli.program()
    assert left == [1]


def test_a_command_ends_though_tensorflow_waits_for_others() -> None:
    program = NEVER_ENDS.format(words=", ".join(map(repr, MISTAKE)))
    done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--dataset" in done.stderr
