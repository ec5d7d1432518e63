"""The command as a whole: what it writes, what it refuses, and starting a run from the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml

torch = pytest.importorskip("torch", reason="the original networks run on PyTorch")

import reference_c3d  # noqa: E402
import reference_common as common  # noqa: E402
import reference_i3res  # noqa: E402
import reference_pytorchvideo  # noqa: E402
import reference_torchvision  # noqa: E402

from keras_actrec import cli, files, models  # noqa: E402
from keras_actrec.errors import UserError  # noqa: E402
from keras_actrec.porting import importing, reading  # noqa: E402

CLASSES, FRAMES, SIZE = 5, 4, 32
SMALL = {"frames": FRAMES, "size": SIZE}
Weights = dict[str, Any]


@pytest.fixture(scope="module")
def network() -> Any:
    return common.randomised(reference_torchvision.r3d_18(CLASSES, width=2, depth=1))


@pytest.fixture
def weights(network: Any) -> Weights:
    return dict(network.state_dict())


@pytest.fixture
def source(network: Any, tmp_path: Path) -> Path:
    return common.save(network, tmp_path / "r3d.safetensors")


def saved(weights: Weights, path: Path) -> Path:
    torch.save(weights, path)
    return path


def imported(source: Path, **keywords: Any) -> importing.Report:
    model, options = keywords.pop("model", "r3d_18"), keywords.pop("options", SMALL)
    out = source.with_name("out") / "model.keras"
    return importing.import_weights(model, source, out, options, say=lambda _: None, **keywords)


def refused(source: Path, message: str, **keywords: Any) -> None:
    """Expect a refusal, and nothing written."""
    with pytest.raises(UserError, match=message):
        imported(source, **keywords)
    assert not (source.with_name("out") / "model.keras").exists()
    assert not (source.with_name("out") / "model.import.json").exists()


def logits_agree(network: Any, path: Path) -> None:
    values = common.clips(FRAMES, SIZE)
    theirs, ours = common.their_logits(network, values), common.our_logits(path, values)
    common.assert_telling(theirs)
    assert common.largest_relative_difference(ours, theirs) < common.LARGEST_DIFFERENCE


def test_the_command_line_writes_a_model_and_a_report(
    network: Any, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights" / "r3d.keras"
    arguments = ["import-weights", "--model", "r3d_18", "--from", str(source), "--out", str(out), "frames=4", "size=32"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.strip().endswith(f"imported: {out}")
    assert "in the file without a place: none" in printed
    assert "in the network without a tensor: none" in printed
    logits_agree(network, out)

    report = files.read_json(tmp_path / "weights" / "r3d.import.json")
    assert report["source"] == "r3d.safetensors"
    assert report["sha256"] == files.sha256(source)
    assert (report["family"], report["model"]) == ("torchvision_r3d", "r3d_18")
    assert (report["num_classes"], report["normalization"]) == (CLASSES, "kinetics")
    assert report["options"]["base_width"] == 2
    assert report["options"]["depths"] == [1, 1, 1, 1]
    assert report["unmatched"] == {"in_file": [], "in_network": []}
    assert str(tmp_path) not in json.dumps(report)


def test_what_is_printed_is_a_configuration(source: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "model.keras"
    importing.import_weights("r3d_18", source, out, SMALL, say=lines.append)
    document = yaml.safe_load(lines[-1].partition("\n")[2])
    assert document["data"] == SMALL
    assert document["training"] == {"init_from": str(out)}
    options = document["model"]
    assert options.pop("name") == "r3d_18"
    config = models.make_config("r3d_18", 9, **document["data"], **options)
    assert config.normalization == "kinetics"
    assert (config.base_width, config.depths) == (2, (1, 1, 1, 1))


def test_equal_imports_write_equal_reports(source: Path) -> None:
    imported(source)
    path = source.with_name("out") / "model.import.json"
    first = path.read_bytes()
    imported(source)
    assert path.read_bytes() == first


def test_a_run_with_other_classes_starts_from_the_body(source: Path) -> None:
    from keras_actrec.training import weights as training_weights

    imported(source)
    path = source.with_name("out") / "model.keras"
    options = {**SMALL, "base_width": 2, "depths": [1, 1, 1, 1]}
    ours = models.build_model("r3d_18", 3, **options)
    start = {variable.path: np.array(variable) for variable in ours.weights}
    notices: list[str] = []
    training_weights.init_from(ours, path, notices.append)
    assert len(notices) == 1
    assert "5 classes, this model 3" in notices[0]
    given = {variable.path: np.array(variable) for variable in models.load_model(path).weights}
    for variable in ours.weights:
        expected = start if variable.path.startswith("logits") else given
        assert np.array_equal(np.array(variable), expected[variable.path]), variable.path


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module.model."])
@pytest.mark.parametrize("container", [None, "state_dict", "model_state", "model", "model_state_dict"])
def test_prefixes_and_containers_make_no_difference(
    weights: Weights, tmp_path: Path, prefix: str, container: str | None
) -> None:
    wrapped = {f"{prefix}{name}": value for name, value in weights.items()}
    path = saved({"epoch": 3, container: wrapped} if container else wrapped, tmp_path / "x.pth")
    found = reading.read(path)
    plain = importing.recognition.unwrapped(found.tensors)
    assert set(plain) == set(weights)
    assert importing.recognition.choose("r3d_18", list(plain)).name == "torchvision_r3d"


def test_a_wrapped_file_is_imported(network: Any, weights: Weights, tmp_path: Path) -> None:
    path = saved({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "x.pth")
    report = imported(path)
    assert all(name.startswith("module.") for name in report.match.ignored)
    logits_agree(network, tmp_path / "out" / "model.keras")


def test_shards_in_a_folder_are_imported(network: Any, weights: Weights, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    weight_map = {}
    for number, names in enumerate([list(weights)[::2], list(weights)[1::2]]):
        shard = f"model-{number}.safetensors"
        safetensors.numpy.save_file({name: weights[name].numpy() for name in names}, folder / shard)
        weight_map |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    report = imported(folder)
    assert report.as_json()["source"] == "published"
    assert set(report.as_json()["files"]) == {"model-0.safetensors", "model-1.safetensors"}
    logits_agree(network, tmp_path / "out" / "model.keras")


def test_half_precision_weights_are_imported(weights: Weights, tmp_path: Path) -> None:
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in weights.items()}
    rounded = reference_torchvision.r3d_18(CLASSES, width=2, depth=1)
    rounded.load_state_dict(half)
    imported(saved(half, tmp_path / "x.pth"))
    logits_agree(rounded.eval(), tmp_path / "out" / "model.keras")


def test_an_unknown_tensor_is_reported_and_left_out(network: Any, weights: Weights, tmp_path: Path) -> None:
    report = imported(saved({**weights, "teacher.weight": torch.ones(3, 2)}, tmp_path / "x.pth"))
    assert report.as_json()["unmatched"]["in_file"] == [
        {"name": "teacher.weight", "shape": [3, 2], "reason": "the family has no rule for it"}
    ]
    assert "  teacher.weight (3, 2): the family has no rule for it" in report.lines()
    logits_agree(network, tmp_path / "out" / "model.keras")


def test_a_missing_tensor_is_refused_unless_permitted(weights: Weights, tmp_path: Path) -> None:
    del weights["layer2.0.conv1.0.weight"]
    path = saved(weights, tmp_path / "x.pth")
    # The block is counted by that tensor; with its depth unknown the model's own is taken.
    refused(path, "without a tensor in the file", options=SMALL)
    report = imported(path, options={**SMALL, "depths": [1, 1, 1, 1]}, allow_partial=True)
    assert [orphan.path for orphan in report.match.orphans] == ["conv3_block1_1_conv/kernel"]
    assert report.as_json()["unmatched"]["in_network"][0]["path"] == "conv3_block1_1_conv/kernel"


def test_ten_missing_weights_are_listed_and_the_others_counted(weights: Weights, tmp_path: Path) -> None:
    path = saved({name: value for name, value in weights.items() if not name.startswith("layer4")}, tmp_path / "x.pth")
    with pytest.raises(UserError) as caught:
        imported(path, options={**SMALL, "depths": [1, 1, 1, 1]})
    text = str(caught.value)
    assert "weights of the network without a tensor in the file, 15" in text
    assert text.count("conv5_block1") == 10
    assert "and 5 more" in text
    assert "--allow-partial" in text


def test_a_refusal_ends_the_command_with_an_exit_code(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del weights["stem.1.running_mean"]
    path = saved(weights, tmp_path / "x.pth")
    arguments = ["--model", "r3d_18", "--from", str(path), "--out", str(tmp_path / "x.keras"), "frames=4", "size=32"]
    assert cli.main(["import-weights", *arguments]) == 1
    assert "conv1_bn/moving_mean (2,)" in capsys.readouterr().err
    assert not (tmp_path / "x.keras").exists()
    assert cli.main(["import-weights", *arguments, "--allow-partial"]) == 0
    assert (tmp_path / "x.keras").is_file()


def test_another_shape_is_refused_with_both_shapes_and_the_cause(weights: Weights, tmp_path: Path) -> None:
    weights["stem.1.bias"] = torch.zeros(3)
    message = r"stem\.1\.bias is \(3,\), but conv1_bn/beta is \(2,\) \(another width"
    refused(saved(weights, tmp_path / "x.pth"), message)
    refused(saved(weights, tmp_path / "x.pth"), message, allow_partial=True)


def test_another_member_of_the_family_is_refused_and_named(tmp_path: Path) -> None:
    path = common.save(reference_torchvision.mc3_18(CLASSES, width=2), tmp_path / "mc3.pth")
    refused(path, r"another kernel.*Networks of the model mc3_18 have the same names")


def test_a_relative_with_other_kernels_is_imported_with_the_options_that_say_so(tmp_path: Path) -> None:
    """PyTorchVideo's c2d_r50, as docs/weights.md has it."""
    flat = [[1], [1], [1], [1]]
    network = common.randomised(reference_pytorchvideo.resnet(4, CLASSES, 1, flat, pooled=True, depths=(1, 1, 1, 1)))
    path = common.save(network, tmp_path / "c2d.pth")
    refused(path, "another kernel", model="i3d_resnet50", options=SMALL)
    imported(path, model="i3d_resnet50", options={**SMALL, "stem_temporal_kernel": 1, "temporal_kernels": flat})
    logits_agree(network, tmp_path / "out" / "model.keras")


def test_another_architecture_takes_an_import_by_layer_names(tmp_path: Path) -> None:
    network = common.randomised(reference_pytorchvideo.i3d_r50(CLASSES, width=4, depths=(1, 2, 2, 1)))
    imported(common.save(network, tmp_path / "i3d.pth"), model="i3d_resnet50", options=SMALL)
    path = tmp_path / "out" / "model.keras"
    options = {"base_width": 4, "depths": [1, 2, 2, 1], "blocks_per_stage": [[], [2], [2], []], "stride_on": "3x3"}
    ours = models.build_model("non_local", CLASSES, weights=str(path), **SMALL, **options)
    values = common.clips(FRAMES, SIZE)
    answer = np.array(ours([values], training=False))
    assert common.largest_relative_difference(answer, common.their_logits(network, values)) < common.LARGEST_DIFFERENCE


def test_an_image_network_is_refused(tmp_path: Path) -> None:
    network = reference_i3res.i3res50(CLASSES, width=2, depths=(1, 1, 1, 1))
    flat = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in network.state_dict().items()}
    options = {"frames": 16, "size": 64}
    refused(saved(flat, tmp_path / "x.pth"), "with 2-D convolutions", model="i3d_resnet50", options=options)


def test_non_local_weights_belong_into_a_non_local_network(tmp_path: Path) -> None:
    network = reference_i3res.i3res50(CLASSES, width=4, use_nl=True, depths=(1, 2, 1, 1))
    path = common.save(network, tmp_path / "x.pth")
    message = "the network has no conv3_block2_non_local/theta/kernel.*model non_local have the same names"
    refused(path, message, model="i3d_resnet50", options={"frames": 16, "size": 64})


def test_non_finite_and_quantised_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    broken = {**weights, "fc.bias": torch.full((CLASSES,), float("nan"))}
    refused(saved(broken, tmp_path / "x.pth"), r"fc\.bias holds numbers that are not finite")
    quantised = {**weights, "fc.bias": torch.zeros(CLASSES, dtype=torch.int8)}
    refused(saved(quantised, tmp_path / "x.pth"), r"fc\.bias holds int8")


def test_options_that_contradict_the_weights_are_refused(source: Path, tmp_path: Path) -> None:
    refused(source, "classifier in the file has 5 classes", options={**SMALL, "num_classes": 9})
    refused(source, "base_width=2.*base_width=8 was asked for", options={**SMALL, "base_width": 8})
    refused(source, "has no option 'framse'", options={"framse": 8})
    network = reference_pytorchvideo.i3d_r50(CLASSES, width=2, depths=(1, 1, 1, 1))
    path = common.save(network, tmp_path / "i3d.pth")
    refused(path, "stride_on=3x3.*stride_on=1x1 was asked for", model="i3d_resnet50", options={"stride_on": "1x1"})


def test_options_that_do_not_contradict_the_weights_win(source: Path) -> None:
    options = {**SMALL, "num_classes": CLASSES, "input_normalization": "zero_one", "head_dropout": 0.3}
    report = imported(source, options=options)
    assert report.normalization == "zero_one"
    assert report.options["head_dropout"] == 0.3


def test_c3d_in_sequence_may_lack_its_classifier(tmp_path: Path) -> None:
    network = common.randomised(reference_c3d.c3d_sequential(CLASSES, (2, 2, 2, 2, 3), 4))
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("classifier.6")}
    path = saved(kept, tmp_path / "x.pth")
    refused(path, "give it, such as num_classes", model="c3d", options={})
    report = imported(path, model="c3d", options={"num_classes": 7})
    assert [(orphan.path, orphan.optional) for orphan in report.match.orphans] == [
        ("logits/kernel", True),
        ("logits/bias", True),
    ]


def test_c3d_for_other_clips_is_refused_with_the_cause(tmp_path: Path) -> None:
    path = common.save(reference_c3d.c3d(CLASSES, (2, 2, 2, 2, 3), 4), tmp_path / "x.pth")
    message = r"fc6\.weight is \(4, 48\).*fc6/kernel is \(27, 4\) \(clips of another number of frames or another size"
    refused(path, message, model="c3d", options={"size": 80})


def test_two_tensors_for_one_weight_are_refused(weights: Weights, tmp_path: Path) -> None:
    both = {**weights, "module.fc.weight": weights["fc.weight"]}
    found = reading.read(saved(both, tmp_path / "x.pth"))
    names = importing.recognition.unwrapped(found.tensors)
    assert "module.fc.weight" in names  # left as it is, so that it is reported rather than taken
    report = imported(tmp_path / "x.pth")
    assert [stranger.name for stranger in report.match.strangers] == ["module.fc.weight"]


def test_a_wrong_model_or_family_is_refused(source: Path, tmp_path: Path) -> None:
    refused(source, "there is no model 'r3d_81'. Did you mean 'r3d_18'", model="r3d_81")
    refused(source, "no public weights are known for the model 'lrcn'", model="lrcn")
    refused(source, "torchvision's r3d_18 and mc3_18.*for the model r3d_18 or mc3_18, not for 'c3d'", model="c3d")
    refused(source, "has no family 'torchvision_r3'. Did you mean 'torchvision_r3d'", family="torchvision_r3")
    other = saved({"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2)}, tmp_path / "other.pth")
    refused(other, "are of no family that fits the model 'r3d_18'")


def test_a_family_that_is_given_is_taken(source: Path) -> None:
    assert imported(source, family="torchvision_r3d").family.name == "torchvision_r3d"
    refused_path = source.with_name("elsewhere")
    refused_path.mkdir()
    refused(source.rename(refused_path / "x.safetensors"), "num_classes", model="c3d", family="c3d", options={})


def test_the_target_must_be_a_keras_file(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.keras"):
        importing.import_weights("r3d_18", source, tmp_path / "out.h5")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        importing.import_weights("r3d_18", source, tmp_path / "folder.keras")


@pytest.mark.parametrize("text", ["frames", "=3", "data.frames=3", ""])
def test_an_option_is_a_key_and_a_value(text: str) -> None:
    with pytest.raises(UserError, match="expected key=value"):
        importing.parse_options([text])


def test_option_values_are_yaml() -> None:
    assert importing.parse_options(["frames=8", "depths=[1, 2]", "scaled=true", "x=a=b"]) == {
        "frames": 8,
        "depths": [1, 2],
        "scaled": True,
        "x": "a=b",
    }
