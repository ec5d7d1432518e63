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

WORDS = [
    ["--config", "F", "a.b=1", "c=2", "--ray-address", "auto", "d=3"],
    ["a.b=1", "--config", "F", "c=2", "--ray-address", "auto", "d=3"],
    ["a.b=1", "c=2", "d=3", "--config", "F", "--ray-address", "auto"],
    ["--ray-address", "auto", "a.b=1", "--config", "F", "c=2", "d=3"],
]
"""One command, with its overrides here and there."""

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


@pytest.mark.parametrize("words", WORDS)
def test_overrides_stand_anywhere(words: list[str]) -> None:
    alone, below = cli.Parser(), cli.Parser()
    commands = below.add_subparsers(parser_class=cli.Parser).add_parser("run")
    for parser, given in ((alone, words), (below, ["run", *words])):
        cli.add_config_arguments(commands if parser is below else alone)
        (commands if parser is below else alone).add_argument("--ray-address")
        options = parser.parse_args(given)
        assert (options.overrides, options.config, options.ray_address) == (["a.b=1", "c=2", "d=3"], "F", "auto")


@pytest.mark.parametrize("word", ["nothing", "--typo=1", "=2", "a b=3"])
def test_what_is_no_override_is_a_mistake(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser()
    cli.add_config_arguments(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["a=1", "--config", "F", "b=2", word])
    assert caught.value.code == 2
    assert f"unrecognized arguments: {word}" in capsys.readouterr().err
