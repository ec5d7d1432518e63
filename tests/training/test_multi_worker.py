"""Several processes that train one network: what each takes of a batch, and real processes on this machine."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys
from linked import as_threads, free_addresses, linked
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import context

from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.training import cluster_wait, forming, meeting
from keras_actrec.training import links as module
from keras_actrec.training.cluster import Place
from keras_actrec.training.links import Links
from keras_actrec.training.multi_worker import SharedHardware

PROGRAM = Path(__file__).parent / "cluster_program.py"
ROOT = Path(__file__).parents[2]


class Devices:
    """Stands for a strategy."""

    def __init__(self, count: int) -> None:
        self.num_replicas_in_sync = count

    def experimental_distribute_values_from_function(self, function: Any) -> list[Any]:
        return [function(None) for _ in range(self.num_replicas_in_sync // 2)]


class Losing(toys.ArrayLoader):
    """Rows that cannot be read are missing from the stream, as clips are from `data.pipeline.Loader`'s."""

    lost: tuple[int, ...] = ()

    def batches(self) -> Iterator[Any]:
        kept = [row for row in range(len(self.clips)) if row not in self.lost]
        for start in range(0, len(kept), self.batch_size):
            rows = kept[start : start + self.batch_size]
            yield {"rgb": self.clips[rows]}, self.targets[rows]


def hardware(links: Links, devices: int = 2) -> SharedHardware:
    return SharedHardware(("CPU:0",) * devices, Devices(devices), links=links)


def numbered(first: int, count: int, lost: tuple[int, ...] = (), batch_size: int = 4) -> Losing:
    """Clips that hold their numbers."""
    clips = np.arange(first, first + count, dtype="float32").reshape(-1, 1, 1, 1, 1) * np.ones((1, 1, 1, 1, 3), "f")
    one = Losing(clips, np.eye(3, dtype="float32")[np.arange(count) % 3], batch_size)
    one.lost = lost
    return one


def rows_of(batch: Any) -> list[int]:
    return batch[0]["rgb"][:, 0, 0, 0, 0].numpy().astype(int).tolist()


def test_all_take_equally_many_rows_in_training() -> None:
    """Of 10 rows each, one process cannot read three: the other leaves out as many in the end."""
    loaders = numbered(0, 10, lost=(1, 2, 6)), numbered(100, 10)
    with linked(2) as links:
        found = as_threads(
            2, lambda index: list(map(rows_of, hardware(links[index]).training_batches(loaders[index].dataset())))
        )
    assert found == [[[0, 3, 4, 5], [7, 8, 9]], [[100, 101, 102, 103], [104, 105, 106]]]


def test_validation_counts_each_row_once() -> None:
    """A process that has fewer fills up with rows of weight 0, also where it never had one."""
    loaders = numbered(0, 5), numbered(100, 2, lost=(0,)), numbered(200, 1, lost=(0,))
    with linked(3) as links:
        found = as_threads(
            3, lambda index: list(hardware(links[index], 3).validation_batches(loaders[index].dataset()))
        )
    assert [[rows_of(batch) for batch in batches] for batches in found] == [
        [[0, 1, 2, 3], [4]],
        [[101, 101, 101, 101], [101]],
        [[0, 0, 0, 0], [0]],
    ]
    weights = [[batch[2].numpy().tolist() for batch in batches] for batches in found]
    assert weights == [[[1, 1, 1, 1], [1]], [[1, 0, 0, 0], [0]], [[0, 0, 0, 0], [0]]]


def test_own_weights_of_rows_stay() -> None:
    dataset = numbered(0, 3).dataset().map(lambda inputs, labels: (inputs, labels, labels[:, 0] + 2))
    other = numbered(0, 4).dataset().map(lambda inputs, labels: (inputs, labels, labels[:, 0] + 2))
    with linked(2) as links:
        first, _ = as_threads(2, lambda index: list(hardware(links[index]).validation_batches((dataset, other)[index])))
    assert first[0][2].numpy().tolist() == [3, 2, 2, 0]


def test_rows_are_split_over_the_devices_of_a_process() -> None:
    """Four devices, two of each process: five rows are cut to four, or filled up to six."""
    loaders = numbered(0, 5, batch_size=8), numbered(100, 5, batch_size=8)
    with linked(2) as links:

        def work(index: int) -> Any:
            one, dataset = hardware(links[index], 4), loaders[index].dataset()
            return [
                list(map(rows_of, batch))
                for made in (one.training_batches, one.validation_batches)
                for batch in made(dataset)
            ]

        found = as_threads(2, work)
    assert found == [
        [[[0, 1], [2, 3]], [[0, 1, 2], [3, 4, 4]]],
        [[[100, 101], [102, 103]], [[100, 101, 102], [103, 104, 104]]],
    ]


def test_a_loader_without_shares_is_sliced() -> None:
    with linked(2) as links:
        shares = [
            [rows_of(batch) for batch in hardware(one).own_share(numbered(0, 9), filled).dataset()]
            for one in links
            for filled in (False, True)
        ]
    assert shares == [[[0, 1], [4, 5]], [[0, 1], [4, 5], [8]], [[2, 3], [6, 7]], [[2, 3], [6, 7]]]


def test_an_error_in_the_data_of_one_ends_its_epoch_with_it() -> None:
    class Broken(Losing):
        def batches(self) -> Iterator[Any]:
            raise ValueError("a defect")
            yield

    one = numbered(0, 4)
    broken = Broken(one.clips, one.targets)
    with linked(2) as links, pytest.raises(Exception, match="a defect"):
        list(hardware(links[0]).training_batches(broken.dataset()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joint": [{"root": "b"}]}, "with `joint`: train on one data set"),
        ({"training": {"regime": "transfer"}}, "training.regime: set it to end_to_end"),
        ({"training": {"objective": "n_pair"}}, "training.objective: set it to cross_entropy"),
        ({"training": {"virtual_cpus": 2}}, "training.virtual_cpus: remove it"),
        ({"training": {"jit_compile": True}}, "training.jit_compile: leave it at auto"),
        ({"training": {"devices": ["GPU:7"]}}, "no device 'GPU:7'"),
    ],
)
def test_what_several_processes_cannot_do(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        forming.form(parse_config(changes), Place(free_addresses(2), 0))


def test_a_process_that_goes_before_tensorflow_s_cluster_stands_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow would wait for it: the chief ends its process, or gives the reason if TensorFlow gives up."""
    begun, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(module.faulthandler, "dump_traceback_later", lambda *_, **__: None)
    monkeypatch.setattr(module, "GRACE_SEC", 0.1)
    monkeypatch.setattr(module.os, "_exit", lambda code: ended.set())
    monkeypatch.setattr(forming, "_devices", lambda wanted: ("CPU", 1))
    addresses = free_addresses(2)

    def strategy(place: Place) -> Any:
        begun.set()
        if not ended.wait(20):
            return Devices(2)
        raise RuntimeError("a defect")

    monkeypatch.setattr(forming, "_strategy", strategy)

    def facts(chief: Any, other: Any) -> str:
        return ""

    monkeypatch.setattr(forming, "_compare", facts)

    def work(index: int) -> Any:
        if index == 0:
            return forming.form(parse_config({}), Place(addresses, 0))
        met = meeting.meet(Place(addresses, 1), {}, facts, 20)
        begun.wait(20)
        for connection in met.all():
            connection.close()
        return None

    try:
        error, _ = as_threads(2, work)
    finally:
        module._used.clear()
    assert ended.is_set()
    assert isinstance(error, UserError)
    assert "worker 1" in str(error)
    assert "has gone" in str(error)


def test_threads_go_on_while_tensorflow_waits_for_its_cluster() -> None:
    """The call without Python's lock is in place, tells TensorFlow's errors, and is gone afterwards."""
    own = pywrap_tfe.TFE_EnableCollectiveOps
    context.ensure_initialized()
    with cluster_wait.threads_go_on():
        assert pywrap_tfe.TFE_EnableCollectiveOps is not own
        with pytest.raises(tf.errors.InvalidArgumentError, match="ServerDef"):
            pywrap_tfe.TFE_EnableCollectiveOps(context.context()._context_handle, b"no definition")
    assert pywrap_tfe.TFE_EnableCollectiveOps is own


def start(output: Path, addresses: tuple[str, ...], index: int, **document: Any) -> subprocess.Popen[str]:
    """Start one of several processes, or one that is alone where there is no address."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    if addresses:
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment["TF_CONFIG"] = json.dumps(task)
    command = [sys.executable, str(PROGRAM), str(output), json.dumps(document)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> list[tuple[int, str]]:
    """Return how two processes that train together end: their exit codes and what they say."""
    addresses = free_addresses(2)
    started = [
        start(folder / str(index), addresses, index, **document) for index, document in enumerate((first, second))
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return list(zip((process.returncode for process in started), said, strict=True))


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


DOCUMENT = {"clips": 22, "dropout": 0.3}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    for code, said in train(folder, DOCUMENT, DOCUMENT):
        assert code == 0, said
    return folder


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_equal_two_devices(together: Path, tmp_path: Path) -> None:
    """With dropout, synchronised statistics, clipping, decay, EMA, a schedule, and last batches of 6 and of 1."""
    alone = start(tmp_path, (), 0, **DOCUMENT, training={"virtual_cpus": 2})
    said, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, said
    ours, theirs = load(together / "0" / "result.npz"), load(tmp_path / "result.npz")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name][:5], theirs[name][:5], atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.ci
def test_only_the_chief_keeps_anything(together: Path) -> None:
    chief, other = load(together / "0" / "last.npz"), load(together / "1" / "last.npz")
    for name in chief:
        np.testing.assert_array_equal(chief[name], other[name], err_msg=name)
    assert list((together / "0").glob("run-*/checkpoints/*"))
    assert not list((together / "1").glob("run-*/checkpoints/*"))
    kept = keras.saving.load_model(together / "0" / "model.keras")
    logits = kept.predict(toys.make_arrays(5, seed=2)[0], verbose=0)
    np.testing.assert_allclose(logits, load(together / "0" / "result.npz")["logits"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.ci
def test_a_killed_worker_ends_the_run_which_can_be_resumed(together: Path, tmp_path: Path) -> None:
    """It dies while the chief waits for it within a step of TensorFlow, which would wait for ever."""
    (code, said), (killed, _) = train(tmp_path, DOCUMENT, {**DOCUMENT, "dies_in_step": 8})
    assert killed == -9
    assert code == 1, said
    assert "worker 1" in said.splitlines()[-1], said
    assert "--resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.glob("0/run-*/checkpoints/state-*")] != []
    assert not (tmp_path / "0" / "result.npz").exists()

    (code, said), (other, theirs) = train(tmp_path, DOCUMENT, DOCUMENT)
    assert (code, other) == (0, 0), said + theirs
    assert "resuming after epoch 2 of 4" in said
    calm, resumed = load(together / "0" / "result.npz"), load(tmp_path / "0" / "result.npz")
    for name in calm:
        np.testing.assert_array_equal(calm[name], resumed[name], err_msg=name)


@pytest.mark.slow
def test_a_worker_that_is_killed_before_tensorflow_s_cluster_stands_ends_the_run(tmp_path: Path) -> None:
    (code, said), (killed, _) = train(tmp_path, {}, {"dies_before_the_cluster": True})
    assert killed == -9
    assert code == 1, said
    assert "worker 1" in said.splitlines()[-1], said
    assert "--resume" in said.splitlines()[-1]


@pytest.mark.slow
def test_another_configuration_is_refused(tmp_path: Path) -> None:
    for code, said in train(tmp_path, {}, {"training": {"epochs": 5}}):
        assert code == 1, said
        assert "configuration.training.epochs was 4, is 5. Start the same command" in said.splitlines()[-1]
        assert "Traceback" not in said
