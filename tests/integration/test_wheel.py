"""The wheel holds the whole package, and works away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a freshly built wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, because building leaves files beside the sources
    shutil.copytree(ROOT / "keras_actrec", source / "keras_actrec", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, cwd=folder)
    return folder / "site"


def test_every_module_and_resource_is_in_the_wheel(site: Path) -> None:
    (wheel,) = site.parent.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("keras_actrec/")}
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "keras_actrec").rglob("*")
        if path.is_file() and path.suffix in {".py", ".html", ".css", ".js"}
    }
    assert packed == there


def test_the_installed_package_builds_a_model_and_renders_a_page(site: Path) -> None:
    script = (
        "import keras_actrec, numpy\n"
        "from keras_actrec.evaluation import report\n"
        f"assert keras_actrec.__file__.startswith({str(site)!r}), keras_actrec.__file__\n"
        "options = dict(backbone='tiny', weights='none', frames=2, size=32, head_units=8)\n"
        "model = keras_actrec.build_model('convnet_transformer', 3, **options)\n"
        "print(model(numpy.zeros((1, 2, 32, 32, 3), 'float32')).shape, len(report._resource('report.css')) > 100)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=site, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(1, 3) True"
