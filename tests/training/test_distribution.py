import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import toys

from keras_actrec.config import TrainingConfig
from keras_actrec.errors import UserError
from keras_actrec.training import distribution

PROGRAM = Path(__file__).parent / "device_program.py"
ROOT = Path(__file__).parents[2]


def run(output: Path, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(PROGRAM), str(output), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(output: Path) -> dict[str, np.ndarray]:
    with np.load(output / "result.npz") as file:
        return dict(file)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_two_devices_equal_one(tmp_path: Path, precision: str) -> None:
    """With clipping, decay, EMA, warm-up, synchronised statistics, and a last validation batch of a single clip."""
    run(tmp_path / "one", 0, 16, precision)
    output = run(tmp_path / "two", 2, 16, precision)
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert one.keys() == two.keys()
    tolerance = 1e-5 if precision == "float32" else 2e-2
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=tolerance, err_msg=name)

    assert "refused: batch normalisation must be synchronised" in output
    assert "once: this process already trains on several devices" in output
    kept = keras.saving.load_model(tmp_path / "two" / "model.keras")
    logits = kept.predict(toys.make_arrays(5, seed=2)[0], verbose=0)
    np.testing.assert_allclose(logits, two["logits"], atol=tolerance)
    assert not any(getattr(layer, "synchronized", False) for layer in kept.layers)


def test_batches_are_cut_and_filled_for_the_devices() -> None:
    class TwoReplicas:
        num_replicas_in_sync = 2

    hardware = distribution.Hardware(("CPU:0", "CPU:1"), TwoReplicas())
    loader = toys.ArrayLoader(*toys.make_arrays(9), batch_size=4, shuffle=False)
    cut = list(hardware.training_batches(loader.dataset()))
    assert [len(labels) for _, labels in cut] == [4, 4]  # the last batch of one is left out
    filled = list(hardware.validation_batches(loader.dataset()))
    assert [len(labels) for _, labels, _ in filled] == [4, 4, 2]
    np.testing.assert_array_equal(filled[-1][2], [1, 0])
    np.testing.assert_array_equal(filled[-1][0]["rgb"][0], loader.clips[8])


def test_one_device_is_left_alone() -> None:
    hardware = distribution.Hardware(("CPU:0",))
    dataset = object()
    assert hardware.training_batches(dataset) is dataset
    assert hardware.validation_batches(dataset) is dataset
    assert hardware.replicas == 1


def test_cpu_uses_no_xla_unless_told() -> None:
    assert not distribution.set_up(TrainingConfig()).jit_compile
    assert distribution.set_up(TrainingConfig(jit_compile=True)).jit_compile
    assert distribution.current().jit_compile
    distribution.set_up(TrainingConfig())


def test_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no device 'CPU:7'.*CPU:0"):
        distribution.set_up(TrainingConfig(devices=("CPU:7",)))


def test_float16_on_cpu_warns() -> None:
    with pytest.warns(UserWarning, match="slow on a CPU"):
        distribution.set_up(TrainingConfig(precision="mixed_float16"))
    assert keras.config.dtype_policy().name == "mixed_float16"
    distribution.set_up(TrainingConfig(precision="float32"))
