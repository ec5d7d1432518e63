"""The scripts of docs/export.md run as they stand there, without keras_actrec, and say what the package says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import export_runs
import numpy as np
import pytest

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parent.parent.parent / "docs" / "export.md"
SCRIPTS = {"use_onnx.py": "onnx", "use_saved_model.py": "saved_model", "use_litert.py": "litert"}
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is kept out of this test")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every script of the page, under the name in its first line."""
    folder = tmp_path_factory.mktemp("scripts")
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (folder / block.splitlines()[0].removeprefix("# ")).write_text(block)
    assert {path.name for path in folder.iterdir()} == {"clip.py", *SCRIPTS}
    return folder


def run(script: Path, folder: Path, video: Path, outside: Path, blocked: set[str]) -> dict[str, float]:
    """Run a script where some packages cannot be imported, and return the probabilities that it prints."""
    outside.mkdir(exist_ok=True)
    (outside / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    done = subprocess.run(
        [sys.executable, script, folder, video],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": str(outside), "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def kinds_of_videos(root: Path) -> list[Path]:
    """Return a portrait video whose frames must be turned, an AVI, and a video of which an odd rest is cut off."""
    from keras_actrec.data import decode

    known = {path: decode.probe(path) for path in sorted((root / "videos").rglob("v_*"))}
    turned = next(path for path, info in known.items() if info.rotation)
    avi = next(path for path in known if path.suffix == ".avi")
    odd = next(path for path, info in known.items() if (round(32 * info.width / info.height) - 32) % 2 == 1)
    return [turned, avi, odd]


def test_the_documented_scripts_run_without_the_package(
    scripts: Path, stick_actions: Path, tmp_path: Path, command: object
) -> None:
    from keras_actrec.evaluation.predict import softmax
    from keras_actrec.evaluation.trained import open_trained

    path = export_runs.make(tmp_path / "runs", stick_actions, "convnet_transformer")
    done = command("-m", "keras_actrec", "export", "--run", path, "--format", *SCRIPTS.values(), "--clips", 3)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = open_trained(path)
    for video, (script, name) in zip(kinds_of_videos(stick_actions), SCRIPTS.items(), strict=True):
        blocked = {"keras_actrec"} | ({"tensorflow", "keras"} if name != "saved_model" else set())
        said = run(scripts / script, path / "export" / name, video, tmp_path / "outside", blocked)
        clip = trained.normalize(trained.frames(video).pixels[None])
        ours = dict(zip(trained.classes, softmax(np.asarray(trained.model({"rgb": clip})))[0], strict=True))
        # Frames that are turned may differ by a grey level: here they are resized before, there after it.
        np.testing.assert_allclose(list(said.values()), sorted(ours.values(), reverse=True)[:5], atol=2e-3)
        np.testing.assert_allclose(list(said.values()), [ours[label] for label in said], atol=2e-3)
