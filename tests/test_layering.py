"""Who may import whom (docs/design.md): the house stays tidy because this test says so."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "keras_actrec"
COMMON = {"errors", "files", "config", "locking", "tensor_file"}
ALLOWED = {
    "layers": {"errors"},
    "losses": {"errors"},
    "config": {"errors", "files", "data.views"},
    "backbones": {"layers", "errors", "files"},
    "models": {"layers", "backbones", "data.views"} | COMMON,
    "data": COMMON,
    "cluster": COMMON,
    "doctor": {"data.fetch.rar_tool"} | COMMON,  # one function says which program reads RAR archives
    "evaluation": {"models", "data"} | COMMON,
    "porting": {"models", "backbones", "layers"} | COMMON,
    "training": {"models", "backbones", "data", "losses", "evaluation"} | COMMON,
    "explain": {"models", "data", "evaluation"} | COMMON,
    "sweep": {"training", "data", "evaluation", "swarm.launcher", "cluster", "web", "cli"} | COMMON,
    "inspection": {"training", "data", "evaluation"} | COMMON,
    # explain: overlays on the page; training.progress: the bar alone
    "serving": {"models", "data", "evaluation", "explain", "training.progress", "web", "__version__"} | COMMON,
    "web": COMMON,
    "swarm": {"web", "cluster", "training", "data", "models", "backbones", "evaluation", "__version__", "cli"} | COMMON,
}
TENSORFLOW_ALLOWED = {
    "data/pipeline.py",
    "data/remote.py",
    "training/cluster_wait.py",
    "training/distribution.py",
    "training/forming.py",
    "training/hardware.py",
    "training/multi_worker.py",
    "training/semi_batches.py",
    "explain/gradients.py",
    "serving/export.py",
}
LIGHT_MODULES = ["keras_actrec", "keras_actrec.cli", "keras_actrec.config", "keras_actrec.data.manifest"]
LIGHT_MODULES += ["keras_actrec.data.guarded", "keras_actrec.doctor.command"]
SERVER_MODULES = [
    f"keras_actrec.swarm.{name}"
    for name in (
        "coordinator",
        "store",
        "bucket_store",
        "dashboard",
        "dynamics",
        "exchange",
        "launcher",
        "link",
        "serve",
    )
]
"""The server of a swarm holds no accelerator and starts at once, so it must not import Keras by any road."""


def imports_of(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    if room not in ALLOWED:
        pytest.skip("a door to the whole package")
    inside = {name.removeprefix("keras_actrec.") for name in imports_of(path) if name.startswith("keras_actrec.")}
    permitted = ALLOWED[room] | {room}
    strangers = {name for name in inside if not any(name == ok or name.startswith(f"{ok}.") for ok in permitted)}
    assert not strangers


def test_tensorflow_is_imported_in_few_places() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if any(name.split(".")[0] in {"tensorflow", "tensorflow_io"} for name in imports_of(path))
    }
    assert users <= TENSORFLOW_ALLOWED


def test_nothing_is_pickled() -> None:
    picklers = {"pickle", "joblib", "dill", "cloudpickle", "shelve"}
    assert not [path for path in modules() if {name.split(".")[0] for name in imports_of(path)} & picklers]


def test_no_asserts_in_the_library() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert not found


@pytest.mark.parametrize(
    "module", [*LIGHT_MODULES, *SERVER_MODULES, "keras_actrec.sweep.sweep", "keras_actrec.sweep.live"]
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    script = (
        f"import sys, {module}\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'cv2', 'av', 'plotly', 'pandas', 'scipy', 'fiftyone', 'ray'}\n"
        "heavy |= {'s3fs', 'botocore', 'aiohttp'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
