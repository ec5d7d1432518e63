"""The prepared cache at an s3:// address, against a local S3 server.

TensorFlow IO's S3 plugin aborts the process when the interpreter exits, so all that uses it runs in a process of its
own that ends with `remote.leave`. The results are checked by their content.
"""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.data import remote
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.prepared import PreparedSource, prepare
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UnreadableVideoError, UserError


class FakeSource:
    """Grey frames whose brightness is 10 x frame number; `cut` ones cannot be read."""

    def probe(self, clip: Clip) -> VideoInfo:
        return VideoInfo(20, 25.0, 32, 24, 0)

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated")
        return np.broadcast_to(
            (10 * np.asarray(indices, np.uint8))[:, None, None, None], (len(indices), 24, 32, 3)
        ).copy()


def manifest() -> Manifest:
    names = ["a", "b", "c", "cut", "d", "e"]
    return Manifest.from_clips("tiny", "nowhere", 1, [Clip(f"{name}.avi", "jump", "train") for name in names])


def work_on_s3(address: str, out: str) -> None:
    """Prepare in two goes (the first one is broken off), read, feed a loader, and write down what was seen."""
    from keras_actrec.data.pipeline import Loader
    from keras_actrec.data.views import View

    class Breaking(FakeSource):
        def read(self, clip: Clip, *rest: object) -> np.ndarray:
            if clip.path == "d.avi":
                raise KeyboardInterrupt
            return super().read(clip, *rest)

    settings = {"short_side": 24, "quality": 95, "clips_per_shard": 2, "workers": 2}
    try:
        prepare(manifest(), Breaking(), address, **settings)
    except KeyboardInterrupt:
        print("broken off")
    try:
        PreparedSource(address)
    except UserError as error:
        print("unfinished:", "unfinished" in str(error))
    again: list[str] = []

    class Counting(FakeSource):
        def read(self, clip: Clip, *rest: object) -> np.ndarray:
            again.append(clip.path)
            return super().read(clip, *rest)

    quarantine = Quarantine()
    cached = prepare(manifest(), Counting(), address, quarantine=quarantine, **settings)
    cached.verify()
    print("again:", *sorted(again), "quarantine:", quarantine.reasons())
    frames = cached.read(manifest().clips[5], [19, 3])
    one = Loader(
        manifest().clips,
        ("jump",),
        (View(frames=2, size=16),),
        cached,
        batch_size=4,
        seed=0,
        shuffle=False,
        quarantine=quarantine,
        workers=3,
    )
    batches = [inputs["rgb"] for inputs, _ in one.dataset().as_numpy_iterator()]
    np.savez(out, frames=frames, batches=np.concatenate(batches))
    try:
        prepare(manifest(), FakeSource(), address, short_side=16)
    except UserError as error:
        print("refused:", error)
    try:
        prepare(manifest(), FakeSource(), "s3://no-such-bucket/x", short_side=16)
    except UserError as error:
        print("no bucket:", error)
    remote.leave(7)


@pytest.fixture
def server() -> object:
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    if not importlib.util.find_spec("tensorflow_io"):
        pytest.skip("TensorFlow IO is not installed")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **keys)
    client.create_bucket(Bucket="videos")
    yield address, client
    running.stop()


def test_shards_on_s3(server: tuple[str, object], tmp_path: Path) -> None:
    endpoint, client = server
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import importlib.util, sys
            spec = importlib.util.spec_from_file_location("work", {__file__!r})
            work = importlib.util.module_from_spec(spec); spec.loader.exec_module(work)
            work.work_on_s3("s3://videos/caches/tiny", {str(tmp_path / "seen.npz")!r})
            """
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT": endpoint,
        "S3_VERIFY_SSL": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    if "needs TensorFlow IO" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 7, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["broken off", "unfinished: True"]
    # The shards of a, b and of c, cut had been written.
    assert lines[2] == "again: d.avi e.avi quarantine: {'cut.avi': 'truncated'}"
    assert "short_side = 24, 16 is asked for" in lines[3]
    assert "no bucket: cannot use s3://no-such-bucket/x: NoSuchBucket" in lines[4]

    seen = np.load(tmp_path / "seen.npz")
    assert np.abs(seen["frames"][:, 0, 0, 0].astype(int) - [190, 30]).max() <= 2
    assert seen["batches"].shape == (5, 2, 16, 16, 3)

    local = tmp_path / "local"
    prepare(manifest(), FakeSource(), local, short_side=24, quality=95, clips_per_shard=2)
    listed = client.list_objects_v2(Bucket="videos", Prefix="caches/tiny/")["Contents"]
    remote_files = {Path(entry["Key"]).name: client.get_object(Bucket="videos", Key=entry["Key"]) for entry in listed}
    assert {name: entry["Body"].read() for name, entry in remote_files.items()} == {
        path.name: path.read_bytes() for path in local.iterdir() if path.name != ".lock"
    }


def test_without_tensorflow_io_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(UserError, match=r"needs TensorFlow IO.*up to 2\.17.*copy the shards to a local folder"):
        PreparedSource("s3://videos/tiny")


def test_leaving_is_nothing_where_s3_was_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", "from keras_actrec.data import remote; remote.leave(3)"], check=False)
    assert done.returncode == 0
