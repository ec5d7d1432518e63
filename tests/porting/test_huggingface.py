"""The video Transformers of Hugging Face: folders as `transformers` writes them answer here as they do there.

`pytest tests/porting/test_huggingface.py -m "slow or not slow" -s` prints the differences that docs/weights.md has.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml

torch = pytest.importorskip("torch", reason="the original networks run on PyTorch")
transformers = pytest.importorskip("transformers", reason="the original networks are Hugging Face's")

import reference_common as common  # noqa: E402
import reference_huggingface as huggingface  # noqa: E402

from keras_actrec import cli, files, models  # noqa: E402
from keras_actrec.errors import UserError  # noqa: E402
from keras_actrec.porting import importing  # noqa: E402

CLASSES, FRAMES, SIZE = 5, 4, 32
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
SMALL = {**SIZES, "num_frames": FRAMES, "image_size": SIZE, "num_labels": CLASSES}
PATCHED = {**SMALL, "patch_size": 8}
TUBELETS = {**SMALL, "tubelet_size": [2, 8, 8]}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 24,
}
say_nothing: Callable[[str], None] = lambda _: None  # noqa: E731


@dataclasses.dataclass(frozen=True)
class Case:
    """A network of `transformers`.

    Attributes:
        model: ours; the family is named after it.
        build: theirs.
        narrow: options of its config that make it small.
        full: options of its config for the published network, where they are not the defaults.
        options: of our config, that are to be read from the folder.
        logits: how theirs answers.
    """

    model: str
    build: huggingface.Build
    narrow: dict[str, Any]
    full: dict[str, Any]
    options: dict[str, Any]
    logits: Callable[..., np.ndarray] = huggingface.logits

    @property
    def family(self) -> str:
        return f"huggingface_{self.model}"


CASES = {
    "timesformer": Case("timesformer", huggingface.timesformer, PATCHED, {}, {"attention": "divided"}),
    "timesformer_joint": Case(
        "timesformer",
        huggingface.timesformer,
        {**PATCHED, "attention_type": "joint_space_time"},
        {"attention_type": "joint_space_time"},
        {"attention": "joint"},
    ),
    "timesformer_space": Case(
        "timesformer",
        huggingface.timesformer,
        {**PATCHED, "attention_type": "space_only"},
        {"attention_type": "space_only"},
        {"attention": "space"},
        huggingface.space_only_logits,
    ),
    "vivit": Case(
        "vivit", huggingface.vivit, TUBELETS, {"num_frames": 8}, {"activation": "gelu_tanh", "tubelet_frames": 2}
    ),
    "vivit_gelu": Case(
        "vivit",
        huggingface.vivit,
        {**TUBELETS, "hidden_act": "gelu", "tubelet_size": [1, 16, 16]},
        {"num_frames": 4, "hidden_act": "gelu"},
        {"activation": "gelu"},
    ),
    "videomae": Case("videomae", huggingface.videomae, PATCHED, {"num_frames": 8}, {"pool": "mean", "epsilon": 1e-12}),
    "videomae_token": Case(
        "videomae",
        huggingface.videomae,
        {**PATCHED, "use_mean_pooling": False, "tubelet_size": 4},
        {"num_frames": 8, "use_mean_pooling": False},
        {"pool": "token", "tubelet_frames": 4},
    ),
}
PUBLISHED = ("timesformer", "vivit", "videomae")


def compare(case: Case, network: Any, folder: Path, frames: int, size: int) -> importing.Report:
    """Import a folder, compare the logits, and return the report."""
    out = folder.with_name("imported.keras")
    report = importing.import_weights(case.model, folder, out, say=say_nothing)
    values = common.clips(frames, size)
    theirs, ours = case.logits(network, values), common.our_logits(out, values)
    common.assert_telling(theirs)
    difference = common.largest_relative_difference(ours, theirs)
    print(f"\n{type(network).__name__} -> {case.model}: largest relative difference {difference:.1e}", end="")
    assert difference < common.LARGEST_DIFFERENCE
    return report


@pytest.mark.parametrize("name", CASES)
def test_a_small_network_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    network = case.build(**case.narrow)
    report = compare(case, network, huggingface.save(network, tmp_path / "network"), FRAMES, SIZE)
    assert report.family.name == case.family
    assert report.num_classes == CLASSES
    assert not report.match.strangers
    assert not report.match.orphans
    sizes = {"width": 24, "depth": 2, "heads": 3, "dense_dim": 40, "frames": FRAMES, "size": SIZE}
    wanted = {**sizes, **case.options}
    assert {option: report.options[option] for option in wanted} == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_of_published_size_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    """ViT-B with 400 classes, frames of 224 pixels; ViViT and VideoMAE with 8 frames."""
    case = CASES[name]
    network = case.build(num_labels=400, **case.full)
    report = compare(case, network, huggingface.save(network, tmp_path / "network"), 8, 224)
    copied = sum(value.size for value in report.match.values.values())
    assert copied == sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def vivit() -> Any:
    return huggingface.vivit(**TUBELETS)


@pytest.fixture
def folder(vivit: Any, tmp_path: Path) -> Path:
    return huggingface.save(vivit, tmp_path / "network")


def imported(model: str, source: Path, **keywords: Any) -> importing.Report:
    return importing.import_weights(model, source, source.with_name("out.keras"), say=say_nothing, **keywords)


def edit_settings(folder: Path, **changes: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


def edit_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Path:
    file = folder / "model.safetensors"
    safetensors.numpy.save_file(change(safetensors.numpy.load_file(file)), file)
    return folder


def logits_agree(network: Any, path: Path, frames: int = FRAMES, size: int = SIZE) -> None:
    values = common.clips(frames, size)
    theirs, ours = huggingface.logits(network, values), common.our_logits(path, values)
    common.assert_telling(theirs)
    assert common.largest_relative_difference(ours, theirs) < common.LARGEST_DIFFERENCE


def test_the_command_line_imports_a_folder(
    vivit: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from keras_actrec.training import weights as training_weights

    out = tmp_path / "vivit.keras"
    assert cli.main(["import-weights", "--model", "vivit", "--from", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "family: huggingface_vivit" in printed
    logits_agree(vivit, out)
    report = files.read_json(tmp_path / "vivit.import.json")
    assert (report["normalization"], report["num_classes"]) == ("minus_one_one", CLASSES)
    assert report["unmatched"] == {"in_file": [], "in_network": []}

    document = yaml.safe_load(printed.partition("in a run's configuration:\n")[2].partition("imported:")[0])
    assert document["data"] == {"frames": FRAMES, "size": SIZE}
    assert document["model"].pop("name") == "vivit"
    ours = models.build_model("vivit", 3, **document["data"], **document["model"])
    notices: list[str] = []
    training_weights.init_from(ours, document["training"]["init_from"], notices.append)
    given = {variable.path: np.array(variable) for variable in models.load_model(out).weights}
    body = [variable for variable in ours.weights if not variable.path.startswith("logits")]
    assert len(body) == len(ours.weights) - 2
    assert all(np.array_equal(np.array(variable), given[variable.path]) for variable in body)


def test_newer_names_of_the_modules_are_known(vivit: Any, tmp_path: Path) -> None:
    """A state dict that was saved as it is names the layers otherwise than the published files."""
    assert any("attention.q_proj" in name for name in vivit.state_dict())
    file = common.save(vivit, tmp_path / "vivit.pth")
    imported("vivit", file, options={"heads": 3, "frames": FRAMES, "size": SIZE})
    logits_agree(vivit, tmp_path / "out.keras")


def test_a_folder_with_a_file_of_pytorch_is_imported(vivit: Any, folder: Path) -> None:
    file = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(file)
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "pytorch_model.bin")
    file.unlink()
    assert imported("vivit", folder).options["heads"] == 3
    logits_agree(vivit, folder.with_name("out.keras"))


def test_bias_parameters_of_newer_videomaes_are_known(tmp_path: Path) -> None:
    network = huggingface.videomae(**PATCHED)
    assert any(name.endswith("query.bias") for name in network.state_dict())
    file = common.save(network, tmp_path / "videomae.safetensors")
    imported("videomae", file, options={"heads": 3, "frames": FRAMES, "size": SIZE})
    logits_agree(network, tmp_path / "out.keras")


@pytest.mark.parametrize("model", ["timesformer", "vivit", "videomae"])
def test_a_lone_file_must_be_told_the_number_of_heads(model: str, tmp_path: Path) -> None:
    case = CASES[model]
    network = case.build(**case.narrow)
    file = huggingface.save(network, tmp_path / "network") / "model.safetensors"
    clip = {"frames": FRAMES, "size": SIZE}
    with pytest.raises(UserError, match=r"do not show heads; pass the folder .* heads=N"):
        imported(model, file, options=clip)
    report = imported(model, file, options={"heads": 3, **clip})
    assert report.family.name == case.family
    logits_agree(network, file.with_name("out.keras"))


def test_the_tables_of_a_lone_timesformer_tell_its_clips(tmp_path: Path) -> None:
    network = huggingface.timesformer(**PATCHED)
    file = huggingface.save(network, tmp_path / "network") / "model.safetensors"
    report = imported("timesformer", file, options={"heads": 3})
    assert (report.options["frames"], report.options["size"]) == (FRAMES, SIZE)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("timesformer", transformers.TimesformerModel),
        ("vivit", transformers.VivitModel),
        ("videomae", transformers.VideoMAEModel),
        ("videomae", transformers.VideoMAEForPreTraining),
    ],
)
def test_a_network_without_its_head_leaves_the_head_untrained(model: str, kind: type[Any], tmp_path: Path) -> None:
    case = CASES[model]
    extra = DECODER if kind is transformers.VideoMAEForPreTraining else {}
    network = case.build(kind, **{**case.narrow, **extra})
    source = huggingface.save(network, tmp_path / "network")
    with pytest.raises(UserError, match="num_classes=400"):
        imported(model, source)
    report = imported(model, source, options={"num_classes": 7})
    head = {"logits/kernel", "logits/bias"} | ({"norm/gamma", "norm/beta"} if model == "videomae" else set())
    assert {orphan.path for orphan in report.match.orphans} == head
    assert not report.match.strangers
    whole = case.build(**case.narrow)
    missing, _ = getattr(whole, model).load_state_dict(getattr(network, model, network).state_dict(), strict=False)
    assert not missing
    bodies_agree(model, whole, models.load_model(source.with_name("out.keras")))


def bodies_agree(model: str, theirs: Any, ours: Any) -> None:
    """Compare the tokens behind the last encoder layer."""
    import keras

    values = common.clips(FRAMES, SIZE)
    tokens = keras.Model(ours.inputs, ours.get_layer("block2").output)([values])
    with torch.inference_mode():
        captured = []
        body = getattr(theirs, model)
        last = (body.layers if model == "vivit" else body.encoder.layer)[-1]
        handle = last.register_forward_hook(lambda _, __, output: captured.append(output))
        huggingface.logits(theirs, values)
        handle.remove()
    expected = captured[0][0] if isinstance(captured[0], tuple) else captured[0]
    expected = expected.numpy()
    if model == "timesformer":  # whose tokens lie place by place there, and frame by frame here
        places = expected[:, 1:].reshape(len(expected), -1, FRAMES, expected.shape[-1]).swapaxes(1, 2)
        expected = np.concatenate([expected[:, :1], places.reshape(len(expected), -1, expected.shape[-1])], axis=1)
    assert common.largest_relative_difference(np.array(tokens), expected) < common.LARGEST_DIFFERENCE


def test_the_decoder_of_a_pretraining_is_left_out_by_name(tmp_path: Path) -> None:
    network = huggingface.videomae(transformers.VideoMAEForPreTraining, **PATCHED, **DECODER)
    report = imported("videomae", huggingface.save(network, tmp_path / "network"), options={"num_classes": 2})
    assert {name.partition(".")[0] for name in report.match.ignored} == {"decoder", "encoder_to_decoder", "mask_token"}


@pytest.mark.parametrize(("frames", "size"), [(8, SIZE), (2, SIZE), (FRAMES, 48), (6, 16)])
def test_timesformers_positions_are_resampled_as_the_original_does(frames: int, size: int, tmp_path: Path) -> None:
    network = huggingface.timesformer(**PATCHED)
    source = huggingface.save(network, tmp_path / "network")
    other = huggingface.timesformer(**{**PATCHED, "num_frames": frames, "image_size": size})
    state = network.state_dict()
    space, time = "timesformer.embeddings.position_embeddings", "timesformer.embeddings.time_embeddings"
    grid = state[space][:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(size // 8,) * 2, mode="nearest").flatten(2).transpose(1, 2)
    state[space] = torch.cat([state[space][:, :1], grid], 1)
    times = torch.nn.functional.interpolate(state[time].transpose(1, 2), size=frames, mode="nearest")
    state[time] = times.transpose(1, 2)
    other.load_state_dict(state)
    imported("timesformer", source, options={"frames": frames, "size": size})
    logits_agree(other, source.with_name("out.keras"), frames, size)


@pytest.mark.parametrize(("frames", "size"), [(8, SIZE), (2, SIZE), (FRAMES, 48), (6, 16)])
def test_vivits_positions_are_resampled_linearly(frames: int, size: int, vivit: Any, folder: Path) -> None:
    other = huggingface.vivit(**{**TUBELETS, "num_frames": frames, "image_size": size})
    state = vivit.state_dict()
    name = "vivit.embeddings.position_embeddings"
    grid = state[name][:, 1:].unflatten(1, (2, 4, 4)).permute(0, 4, 1, 2, 3)
    extent = (frames // 2, size // 8, size // 8)
    grid = torch.nn.functional.interpolate(grid, size=extent, mode="trilinear").flatten(2).transpose(1, 2)
    other.load_state_dict({**state, name: torch.cat([state[name][:, :1], grid], 1)})
    imported("vivit", folder, options={"frames": frames, "size": size})
    logits_agree(other, folder.with_name("out.keras"), frames, size)


def test_a_lone_vivit_for_other_clips_is_refused_with_the_cause(folder: Path) -> None:
    file = folder / "model.safetensors"
    with pytest.raises(UserError, match=r"position/table is \(65, 24\) .*positions of another number of frames"):
        imported("vivit", file, options={"heads": 3, "frames": 8, "size": SIZE})


def test_videomae_takes_other_lengths_and_refuses_other_sizes(tmp_path: Path) -> None:
    network = huggingface.videomae(**PATCHED)
    source = huggingface.save(network, tmp_path / "network")
    with pytest.raises(UserError, match=r"a network with size=32 .* size=48 was asked for"):
        imported("videomae", source, options={"size": 48})
    imported("videomae", source, options={"frames": 8})
    other = huggingface.videomae(**{**PATCHED, "num_frames": 8})
    other.load_state_dict(network.state_dict())
    logits_agree(other, source.with_name("out.keras"), frames=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 48}, "config.json says hidden_size=48, but the tensors beside it have 24"),
        ({"num_hidden_layers": 3}, "num_hidden_layers=3, but the tensors beside it have 2"),
        ({"intermediate_size": 41}, "intermediate_size=41, but the tensors beside it have 40"),
        ({"hidden_act": "swish"}, "the activation 'swish'; expected one of gelu"),
        ({"image_size": [32, 48]}, "only square ones"),
    ],
)
def test_settings_that_contradict_the_tensors_are_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        imported("vivit", edit_settings(folder, **change))


def test_sizes_in_the_settings_may_be_lists(vivit: Any, folder: Path) -> None:
    imported("vivit", edit_settings(folder, image_size=[SIZE, SIZE]))
    logits_agree(vivit, folder.with_name("out.keras"))


@pytest.mark.parametrize(
    ("mean", "std", "normalization"),
    [
        ([0.45] * 3, [0.225] * 3, "slowfast"),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "imagenet"),
        ([0.5] * 3, [0.5] * 3, "minus_one_one"),
        ([0.1] * 3, [0.2] * 3, "slowfast"),
    ],
)
def test_the_folder_tells_timesformers_normalisation(
    mean: list[float], std: list[float], normalization: str, tmp_path: Path
) -> None:
    source = huggingface.save(huggingface.timesformer(**PATCHED), tmp_path / "network")
    (source / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    assert imported("timesformer", source).normalization == normalization


@pytest.mark.parametrize(("model", "others"), [("vivit", "timesformer"), ("videomae", "vivit")])
def test_another_family_is_refused_and_named(model: str, others: str, tmp_path: Path) -> None:
    case = CASES[model]
    source = huggingface.save(case.build(**case.narrow), tmp_path / "network")
    with pytest.raises(UserError, match=f"family huggingface_{model}.*for the model {model}, not for '{others}'"):
        imported(others, source)


def test_an_image_transformer_is_referred_to_the_option_weights(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**{**SIZES, "image_size": SIZE, "patch_size": 8})
    source = huggingface.save(transformers.ViTModel(config), tmp_path / "network")
    with pytest.raises(UserError, match="an image Transformer; start from them by the model's option weights"):
        imported("vivit", source, options={"num_classes": 2})


def test_queries_keys_and_values_of_a_fused_layer_go_where_they_belong(tmp_path: Path) -> None:
    """By numbers that tell their row: a third each, transposed, in time and in space."""
    network = huggingface.timesformer(**PATCHED)
    source = huggingface.save(network, tmp_path / "network")
    marked = np.arange(72 * 24, dtype=np.float32).reshape(72, 24)

    def mark(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        layer = "timesformer.encoder.layer.1"
        return {
            **tensors,
            f"{layer}.attention.attention.qkv.weight": marked,
            f"{layer}.temporal_attention.attention.qkv.weight": -marked,
        }

    values = imported("timesformer", edit_tensors(source, mark)).match.values
    for number, part in enumerate(("query", "key", "value")):
        rows = marked[24 * number : 24 * (number + 1)]
        assert np.array_equal(values[f"block2/attention/{part}/kernel"], rows.T)
        assert np.array_equal(values[f"block2/time_attention/{part}/kernel"], -rows.T)


def test_a_fused_layer_of_no_three_parts_is_refused(tmp_path: Path) -> None:
    source = huggingface.save(huggingface.timesformer(**PATCHED), tmp_path / "network")
    name = "timesformer.encoder.layer.0.attention.attention.qkv.weight"
    edit_tensors(source, lambda tensors: {**tensors, name: tensors[name][:70].copy()})
    with pytest.raises(UserError, match=r"qkv.weight is \(70, 24\), but block1/attention/query/kernel is \(24, 24\)"):
        imported("timesformer", source)
