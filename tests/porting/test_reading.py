"""Files of every kind, good and bad."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from keras_actrec.errors import UserError
from keras_actrec.porting import reading

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}


def saved(path: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    safetensors.numpy.save_file(ARRAYS if arrays is None else arrays, path)
    return path


def test_a_file_is_read_and_named_by_its_content(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.bin")
    source = reading.read(path)
    assert np.array_equal(source.tensors["a"], ARRAYS["a"])
    assert source.name == "weights.bin"
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_half_precision_becomes_float32_and_counters_stay_integers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="writes bfloat16")
    import safetensors.torch

    values = torch.tensor([1.0, -0.5, 3.0])
    tensors = {"b": values.bfloat16(), "h": values.half(), "d": values.double(), "n": torch.tensor(3)}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    torch.save(tensors, tmp_path / "x.pt")
    for name in ("x.safetensors", "x.pt"):
        found = reading.read(tmp_path / name).tensors
        for key in "bhd":
            assert found[key].dtype == np.float32
            assert found[key].tolist() == [1.0, -0.5, 3.0]
        assert found["n"].dtype == np.int64


def test_shards_are_joined(tmp_path: Path) -> None:
    saved(tmp_path / "one.safetensors", {"a": ARRAYS["a"]})
    saved(tmp_path / "two.safetensors", {"b": ARRAYS["a"] + 1})
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    source = reading.read(tmp_path)
    assert sorted(source.tensors) == ["a", "b"]
    assert sorted(source.digests) == ["one.safetensors", "two.safetensors"]
    lines = "".join(f"{source.digests[name]}  {name}\n" for name in sorted(source.digests))
    assert source.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert reading.read(tmp_path / "model.safetensors.index.json").sha256 == source.sha256


def test_a_folder_tells_its_settings_and_how_its_input_was_prepared(tmp_path: Path) -> None:
    saved(tmp_path / "model.safetensors")
    assert reading.read(tmp_path).settings == {}
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')
    assert reading.read(tmp_path).settings == {"hidden_size": 3}
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    expected = {"hidden_size": 3, "preprocessor_config.json": {"image_mean": [0.5]}}
    assert reading.read(tmp_path).settings == expected
    assert reading.read(tmp_path / "model.safetensors").settings == {}
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(UserError, match=r"preprocessor_config.json is no JSON"):
        reading.read(tmp_path)


def test_a_folder_gives_its_model_before_other_files(tmp_path: Path) -> None:
    saved(tmp_path / "model.safetensors")
    saved(tmp_path / "optimizer.safetensors", {"z": ARRAYS["a"]})
    assert "a" in reading.read(tmp_path).tensors


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "missing.safetensors"}}, "missing.safetensors"),
        ({"weight_map": {"a": "../outside.safetensors"}}, "outside"),
        ({"weight_map": {}}, "no shard at all"),
        ({"weight_map": [1]}, "no index of shards"),
        ({"weight_map": {"a": 3}}, "no index of shards"),
        ([], "no index of shards"),
    ],
)
def test_an_index_of_nothing_is_refused(tmp_path: Path, index: Any, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    saved(tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        reading.read(folder)


def test_two_shards_may_not_hold_one_tensor(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        saved(tmp_path / name)
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="two of its files hold a tensor named 'a'"):
        reading.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", "is empty"),
        ("page.pth", b"<!DOCTYPE html><html>not found</html>", "is no checkpoint"),
        ("text.safetensors", b"hello, this is text of some length", "cannot be read as safetensors"),
        ("short.safetensors", b"abc", "cannot be read as safetensors"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("model.keras", b"PK\x03\x04 anything", "needs no import"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        reading.read(tmp_path / name)


@pytest.mark.parametrize("kept", [4, 9, 60, -1])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        reading.read(path)


def test_a_missing_path_and_a_folder_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no"):
        reading.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found: none"):
        reading.read(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        saved(tmp_path / name)
    with pytest.raises(UserError, match=r"found: a\.safetensors, b\.safetensors"):
        reading.read(tmp_path)


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_a_file_that_would_execute_code_is_refused_and_does_not(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="writes the file")
    path, target = tmp_path / "evil.pth", tmp_path / "executed"
    torch.save({"state_dict": {"a": torch.ones(1)}, "other": Command(target)}, path)
    with pytest.raises(UserError, match=r"mkdir\): reading it would execute code.*safetensors"):
        reading.read(path)
    assert not target.exists()


def test_whole_modules_and_programs_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="writes the file")
    module = torch.nn.Linear(2, 2)
    torch.save(module, tmp_path / "module.pth")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear\): reading it would execute code"):
        reading.read(tmp_path / "module.pth")
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 2)), tmp_path / "program.pt")
    with pytest.raises(UserError, match="TorchScript"):
        reading.read(tmp_path / "program.pt")


@pytest.mark.parametrize("kept", [30, 200, -30])
def test_a_truncated_torch_file_is_refused(tmp_path: Path, kept: int) -> None:
    torch = pytest.importorskip("torch", reason="writes the file")
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="cannot be read as a PyTorch file"):
        reading.read(path)


@pytest.mark.parametrize("content", [3, [1, 2], {}, {"epoch": 3, "lr": 0.1}], ids=str)
def test_a_torch_file_without_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch = pytest.importorskip("torch", reason="writes the file")
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no named tensors"):
        reading.read(tmp_path / "x.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("container", ["state_dict", "model_state", "model_state_dict", "model", None])
def test_containers_are_opened(tmp_path: Path, container: str | None, legacy: bool) -> None:
    torch = pytest.importorskip("torch", reason="writes the file")
    weights = {"a": torch.ones(2, requires_grad=True)}
    content = {"epoch": 3, container: weights, "optimizer": {"lr": 0.1}} if container else weights
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    assert reading.read(tmp_path / "x.pth").tensors["a"].tolist() == [1, 1]


def test_without_torch_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04 more")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        reading.read(tmp_path / "x.pth")


def test_the_settings_of_a_folder_are_read(tmp_path: Path) -> None:
    saved(tmp_path / "model.safetensors")
    assert reading.read(tmp_path).settings == {}
    (tmp_path / "config.json").write_text('{"num_attention_heads": 12}')
    assert reading.read(tmp_path).settings == {"num_attention_heads": 12}
    assert reading.read(tmp_path / "model.safetensors").settings == {}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        reading.read(tmp_path)
