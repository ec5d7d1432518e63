"""What stands beside the package, benchmarks and pictures of the documents, tells mistakes in a sentence."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "swarm-scaling.png"


def run(script: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> SystemExit:
    """Run a script as a program, and return how it ended."""
    path = ROOT / script
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.setattr(sys, "argv", [path.name, *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    return stop.value


@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        ("benchmarks/variance_rate.py", ["--root", "nowhere"], "error: there is no manifest at nowhere/manifest.csv"),
        ("benchmarks/near_duplicates.py", ["--root", "nowhere"], "error: there is no manifest at nowhere/manifest.csv"),
        ("benchmarks/velocity.py", ["--root", "nowhere"], "error: there is no manifest at nowhere/manifest.csv"),
        ("benchmarks/export.py", ["nowhere"], "error: nowhere is no run directory"),
    ],
)
def test_a_benchmark_without_its_data_says_so(
    script: str, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(run(script, *words, monkeypatch=monkeypatch)).startswith(sentence)


def test_networks_that_there_are_not_are_refused_before_any_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("benchmarks/train_memory.py", "--networks", "ctn,nope", monkeypatch=monkeypatch).code == 2
    said = capsys.readouterr()
    assert "unknown nope; there are rpe_stdt, vivit" in said.err and not said.out


def test_help_draws_no_picture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = PICTURE.stat().st_mtime_ns
    assert run("docs/scaling_picture.py", "--help", monkeypatch=monkeypatch).code == 0
    assert "usage:" in capsys.readouterr().out and PICTURE.stat().st_mtime_ns == before
