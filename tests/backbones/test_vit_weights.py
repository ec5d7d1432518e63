"""A video Transformer that starts from an image Transformer answers as that does where it sees but one image.

`pytest tests/backbones/test_vit_weights.py -m "slow or not slow" -k still -s` prints the differences that
docs/weights.md has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import keras
import numpy as np
import pytest
import safetensors.numpy

torch = pytest.importorskip("torch", reason="the image Transformer runs on PyTorch")
transformers = pytest.importorskip("transformers", reason="the image Transformer is Hugging Face's")
transformers.utils.logging.disable_progress_bar()

from keras_actrec import models  # noqa: E402
from keras_actrec.backbones import position_tables, vit_files, vit_weights  # noqa: E402
from keras_actrec.errors import UserError  # noqa: E402

WIDTH, LAYERS, HEADS, HIDDEN, PATCH, SIZE, CLASSES = 24, 3, 3, 40, 8, 32, 5
TOLERANCE = 1e-4
COMMON = {
    "width": WIDTH,
    "depth": LAYERS,
    "heads": HEADS,
    "dense_dim": HIDDEN,
    "patch": PATCH,
    "size": SIZE,
}
Tensors = dict[str, np.ndarray]


def image_transformer(**options: Any) -> Any:
    """An image Transformer with a classifier and random weights that keep signals alive."""
    network = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=7, **options))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            deviation = parameter[0].numel() ** -0.5 if name.endswith("weight") and parameter.ndim > 1 else 0.3
            centre = 1.0 if "layernorm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation + centre)
    return network.eval()


@pytest.fixture(scope="module")
def vit() -> Any:
    return image_transformer(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        patch_size=PATCH,
        image_size=SIZE,
    )


@pytest.fixture(scope="module")
def file(vit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("vit")
    vit.save_pretrained(folder)
    return folder / "model.safetensors"


def edited(file: Path, path: Path, change: Callable[[Tensors], Tensors]) -> Path:
    safetensors.numpy.save_file(change(safetensors.numpy.load_file(file)), path)
    return path


def as_timm(tensors: Tensors) -> Tensors:
    """The same weights as timm's VisionTransformer names and joins them."""
    embeddings = "vit.embeddings."
    timm = {
        "cls_token": tensors[f"{embeddings}cls_token"],
        "pos_embed": tensors[f"{embeddings}position_embeddings"],
        "patch_embed.proj.weight": tensors[f"{embeddings}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": tensors[f"{embeddings}patch_embeddings.projection.bias"],
    }
    for kind in ("weight", "bias"):
        timm |= {f"norm.{kind}": tensors[f"vit.layernorm.{kind}"], f"head.{kind}": tensors[f"classifier.{kind}"]}
        for number in range(LAYERS):
            theirs, ours = f"vit.encoder.layer.{number}.", f"blocks.{number}."
            parts = [tensors[f"{theirs}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            timm |= {
                f"{ours}attn.qkv.{kind}": np.concatenate(parts),
                f"{ours}attn.proj.{kind}": tensors[f"{theirs}attention.output.dense.{kind}"],
                f"{ours}norm1.{kind}": tensors[f"{theirs}layernorm_before.{kind}"],
                f"{ours}norm2.{kind}": tensors[f"{theirs}layernorm_after.{kind}"],
                f"{ours}mlp.fc1.{kind}": tensors[f"{theirs}intermediate.dense.{kind}"],
                f"{ours}mlp.fc2.{kind}": tensors[f"{theirs}output.dense.{kind}"],
            }
    return timm


def build(model: str, file: Path | str, **options: Any) -> keras.Model:
    return models.build_model(model, CLASSES, weights=str(file), **{**COMMON, **options})


def images(count: int = 2, size: int = SIZE, channels: int = 3) -> np.ndarray:
    """Random images (B, H, W, C) in [-1, 1]."""
    return np.random.default_rng(5).uniform(-1, 1, (count, size, size, channels)).astype(np.float32)


def repeated(pictures: np.ndarray, frames: int) -> np.ndarray:
    """Clips (B, T, H, W, C) in which nothing moves."""
    return np.repeat(pictures[:, None], frames, axis=1)


def image_tokens(vit: Any, pictures: np.ndarray, layers: int = LAYERS) -> np.ndarray:
    """The normalised tokens (B, 1 + N, D) of the image Transformer's first layers."""
    with torch.inference_mode():
        body = vit.vit
        x = body.embeddings(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        for layer in body.layers[:layers]:
            x = layer(x)
        return body.layernorm(x).numpy()


def features(network: keras.Model, clip: np.ndarray, layer: str = "dropout") -> np.ndarray:
    """What the classifier sees, (B, D), or another layer's output."""
    taken = network.get_layer(layer)
    part = keras.Model(network.inputs, taken.input if layer == "dropout" else taken.output)
    return keras.ops.convert_to_numpy(part([clip], training=False))


def assert_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs[0] - theirs[1]).max() > 0.1 * np.abs(theirs).max()  # else any network would agree
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"\nlargest relative difference {difference:.1e}", end="")
    assert difference < TOLERANCE


SEES_ONE_IMAGE = {
    "vivit, one tubelet": ("vivit", {"frames": 2}),
    "vivit, tubelets of one frame": ("vivit", {"frames": 1, "tubelet_frames": 1}),
    "vivit, mean": ("vivit", {"frames": 4, "tubelet_frames": 4, "inflation": "mean"}),
    "timesformer, space": ("timesformer", {"frames": 3, "attention": "space"}),
    # The dense layers behind the attention over time are zero: its positions in time alone would tell frames apart.
    "timesformer, divided": ("timesformer", {"frames": 3, "position": "space"}),
    "rpe_stdt": ("rpe_stdt", {"frames": 3, "encoders": "space", "position": "absolute", "depth": LAYERS}),
    "ctn": (
        "ctn",
        {
            "frames": 2,
            "tokens": "tubelets",
            "mapping": "linear",
            "norm": "pre",
            "position": "learned",
        },
    ),
}


@pytest.mark.parametrize("layout", ["hugging face", "timm"])
@pytest.mark.parametrize("name", SEES_ONE_IMAGE)
def test_a_still_clip_gives_the_image_transformers_class_token(
    name: str, layout: str, vit: Any, file: Path, tmp_path: Path
) -> None:
    model, options = SEES_ONE_IMAGE[name]
    weights = edited(file, tmp_path / "timm.safetensors", as_timm) if layout == "timm" else file
    network = build(model, weights, **options)
    pictures = images()
    ours = features(network, repeated(pictures, options["frames"]))
    assert_equal(ours, image_tokens(vit, pictures)[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("vivit", {"frames": 2}),
        ("timesformer", {"frames": 2, "position": "space"}),
        ("rpe_stdt", {"frames": 1, "encoders": "space", "position": "absolute", "depth": 12}),
    ],
)
def test_a_still_clip_gives_the_class_token_of_a_vit_b(model: str, options: dict[str, Any], tmp_path: Path) -> None:
    """At 224 pixels, with all sizes left to the defaults."""
    vit = image_transformer()
    vit.save_pretrained(tmp_path)
    network = models.build_model(model, CLASSES, weights=str(tmp_path), **options)
    pictures = images(size=224)
    ours = features(network, repeated(pictures, options["frames"]))
    assert_equal(ours, image_tokens(vit, pictures, layers=12)[:, 0])


def test_a_folder_and_the_names_of_the_newer_modules_are_read(vit: Any, file: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.safetensors"
    state = {name: array.numpy() for name, array in vit.state_dict().items()}
    assert any("attention.q_proj" in name for name in state)
    safetensors.numpy.save_file(state, newer)
    one, two, three = (vit_files.read(path) for path in (file, file.parent, newer))
    assert one.keys() == two.keys() == three.keys()
    assert all(np.array_equal(one[place].value, three[place].value) for place in one)
    assert all(np.array_equal(one[place].value, two[place].value) for place in one)


def test_a_network_without_a_head_is_read(vit: Any, file: Path, tmp_path: Path) -> None:
    vit.vit.save_pretrained(tmp_path)
    bare, whole = vit_files.read(tmp_path), vit_files.read(file)
    assert bare.keys() == whole.keys()
    assert all(np.array_equal(bare[place].value, whole[place].value) for place in bare)


def test_the_factorised_vivit_sees_the_middle_frame_of_each_tubelet(vit: Any, file: Path) -> None:
    network = build("vivit", file, frames=6, tubelet_frames=3, encoder="factorised", temporal_depth=1)
    clip = np.random.default_rng(6).uniform(-1, 1, (2, 6, SIZE, SIZE, 3)).astype(np.float32)
    tokens = features(network, clip, "space_norm")[:, 0]
    middle = clip[:, [1, 4]].reshape(4, SIZE, SIZE, 3)
    assert_equal(tokens, image_tokens(vit, middle)[:, 0])


def test_mean_inflation_sees_the_mean_of_a_tubelet(vit: Any, file: Path) -> None:
    network = build("vivit", file, frames=2, inflation="mean")
    clip = np.random.default_rng(6).uniform(-1, 1, (2, 2, SIZE, SIZE, 3)).astype(np.float32)
    assert_equal(features(network, clip), image_tokens(vit, clip.mean(axis=1))[:, 0])


def test_positions_are_repeated_over_time(file: Path) -> None:
    network = build("vivit", file, frames=6)
    table = vit_files.read(file)["position/table"].value
    ours = np.array(network.get_layer("position").table)
    assert np.array_equal(ours[0], table[0])
    assert np.array_equal(ours[1:].reshape(3, 16, WIDTH), np.stack([table[1:]] * 3))


@pytest.mark.parametrize("size", [16, 24, 48])
def test_positions_of_another_grid_are_bilinear(size: int, file: Path) -> None:
    network = build("vivit", file, frames=4, size=size)
    table = vit_files.read(file)["position/table"].value
    grid = torch.from_numpy(table[1:].reshape(1, 4, 4, WIDTH)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(size // 8,) * 2, mode="bilinear")[0].permute(1, 2, 0)
    ours = np.array(network.get_layer("position").table)[1:].reshape(2, size // 8, size // 8, WIDTH)
    np.testing.assert_allclose(ours[0], expected.numpy(), atol=1e-6)
    assert np.array_equal(ours[0], ours[1])


@pytest.mark.parametrize(("how", "mode"), [("linear", "trilinear"), ("nearest", "nearest")])
@pytest.mark.parametrize("extent", [(2, 3, 4), (5, 7, 1), (3, 5, 2), (9, 2, 8)])
def test_resampling_equals_pytorchs(extent: tuple[int, int, int], how: str, mode: str) -> None:
    grid = np.random.default_rng(0).normal(size=(3, 5, 2, 4)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(grid).permute(3, 0, 1, 2)[None], size=extent, mode=mode)
    ours = position_tables.resample(grid, extent, how)
    np.testing.assert_allclose(ours, theirs[0].permute(1, 2, 3, 0).numpy(), atol=1e-6)
    assert ours.dtype == np.float32


def test_the_first_layers_of_a_deeper_file_are_taken(vit: Any, file: Path) -> None:
    options = {"frames": 4, "depth": 2, "temporal_depth": 1, "temporal_heads": 2, "subsample_after": [1]}
    network = build("rpe_stdt", file, position="absolute", **options)
    pictures = images()
    ours = features(network, repeated(pictures, 4), "space_norm").reshape(2, 4, WIDTH)
    theirs = image_tokens(vit, pictures, layers=2)[:, 0]
    for frame in range(4):
        assert_equal(ours[:, frame], theirs)


def test_rpe_stdts_own_weights_keep_their_initial_values(file: Path) -> None:
    options = {"frames": 4, "temporal_depth": 1, "temporal_heads": 2, "subsample_after": [1], "depth": 2}
    network = models.build_model("rpe_stdt", CLASSES, **{**COMMON, **options})
    before = {variable.path: np.array(variable) for variable in network.weights}
    kept = vit_weights.load(network, str(file))
    after = {variable.path: np.array(variable) for variable in network.weights}
    assert {path for path in after if np.array_equal(before[path], after[path])} <= set(kept)
    assert all(np.array_equal(before[path], after[path]) for path in kept)
    tops = {path.partition("/")[0] for path in kept}
    assert tops >= {"time_block1", "time_norm", "time_class_token", "logits"}
    own = {path.partition("/")[2] for path in kept if path.startswith("space_")}
    assert own  # the relative positions
    assert not {path for path in own if path.startswith(("attention_norm", "expand", "attention/query/"))}


def test_attention_over_time_starts_from_that_over_space(file: Path) -> None:
    network = models.build_model("timesformer", CLASSES, **{**COMMON, "frames": 2})
    for block in range(1, LAYERS + 1):
        dense = network.get_layer(f"block{block}").time_dense
        dense.kernel.assign(np.ones(dense.kernel.shape))
        dense.bias.assign(np.ones(dense.bias.shape))
    kept = vit_weights.load(network, str(file))
    assert {path.partition("/")[0] for path in kept} == {"time_position", "logits"}
    values = {variable.path: np.array(variable) for variable in network.weights}
    image = vit_files.read(file)
    for block in (f"block{number}" for number in range(1, LAYERS + 1)):
        for part in ("query", "key", "value", "output"):
            for kind in ("kernel", "bias"):
                expected = image[f"{block}/attention/{part}/{kind}"].value
                assert np.array_equal(values[f"{block}/time_attention/{part}/{kind}"], expected)
                assert np.array_equal(values[f"{block}/attention/{part}/{kind}"], expected)
        for kind in ("gamma", "beta"):
            assert np.array_equal(values[f"{block}/time_norm/{kind}"], image[f"{block}/attention_norm/{kind}"].value)
        assert not values[f"{block}/time_dense/kernel"].any()
        assert not values[f"{block}/time_dense/bias"].any()


def test_ctn_takes_linear_maps_as_point_wise_convolutions_and_keeps_its_stem(file: Path) -> None:
    network = models.build_model("ctn", CLASSES, **{**COMMON, "frames": 8, "stem_channels": 4})
    kept = vit_weights.load(network, str(file))
    image = vit_files.read(file)
    values = {variable.path: np.array(variable) for variable in network.weights}
    for path in ("block1/attention/query/kernel", "block3/attention/value/bias", "block2/expand/kernel"):
        assert np.array_equal(values[path], image[path].value)
    assert np.array_equal(values["class_token/token"], image["class_token/token"].value)
    assert {path.partition("/")[0] for path in kept} == {
        *("stem", "stem_norm", "patches", "logits"),
        *(f"block{number}" for number in range(1, LAYERS + 1)),
    }
    of_blocks = {path.split("/")[2] for path in kept if path.startswith("block")}
    assert of_blocks == {f"{part}_{kind}" for part in ("query", "key", "value") for kind in ("depthwise", "norm")}


def test_videomaes_keys_need_no_bias(vit: Any, file: Path) -> None:
    """Without class token, so the image Transformer's layers are run on the patches alone."""
    network = build("videomae", file, frames=2, position="learned")
    pictures = images()
    with torch.inference_mode():
        embeddings = vit.vit.embeddings
        x = embeddings.patch_embeddings(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        x = x + embeddings.position_embeddings[:, 1:]
        for layer in vit.vit.layers:
            x = layer(x)
        assert all(layer.attention.k_proj.bias.abs().max() > 0.1 for layer in vit.vit.layers)
        theirs = vit.vit.layernorm(x.mean(1)).numpy()
    assert_equal(features(network, repeated(pictures, 2)), theirs)


def test_depth_is_seen_as_a_grey_image(file: Path) -> None:
    """One, three and four equal channels give the same tokens."""
    grey = repeated(images(channels=1), 2)
    options = {"frames": 2}
    expected = features(build("vivit", file, **options), np.repeat(grey, 3, axis=-1))
    depth = build("vivit", file, modalities=["depth"], **options)
    assert_equal(features(depth, grey), expected)
    for order in (["rgb", "depth"], ["depth", "rgb"]):
        both = build("vivit", file, modalities=order, **options)
        part = keras.Model(both.inputs, both.get_layer("dropout").input)
        clips = {"rgb": np.repeat(grey, 3, axis=-1), "depth": grey}
        assert_equal(keras.ops.convert_to_numpy(part([clips[name] for name in order])), expected)


def test_the_channels_of_each_modality_are_where_its_kernels_are(file: Path) -> None:
    kernel = vit_files.read(file)["patches/kernel"].value
    both = build("vivit", file, modalities=["depth", "rgb"], frames=2)
    ours = np.array(both.get_layer("patches").kernel)
    assert not ours[0].any()
    np.testing.assert_allclose(ours[1][:, :, 1:], kernel * 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(ours[1][:, :, :1], kernel.mean(axis=2, keepdims=True) * 3 / 4, rtol=1e-5, atol=1e-7)


def test_a_network_like_it_is_copied_by_name(file: Path, tmp_path: Path) -> None:
    source = build("vivit", file, frames=2)
    source.save(tmp_path / "vivit.keras")
    ours = build("vivit", tmp_path / "vivit.keras", frames=2)
    pairs = zip(source.get_layer("block2").weights, ours.get_layer("block2").weights, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def changed(name: str, value: np.ndarray) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: value.astype(np.float32)}


QUERY = "vit.encoder.layer.1.attention.attention.query.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(QUERY), r"of 3 layers, have no block2/attention/query/kernel"),
        (changed(QUERY, np.ones((20, WIDTH))), rf"'{QUERY}' gives \(24, 20\), but 'block2/attention/query/kernel'"),
        (changed(QUERY, np.full((WIDTH, WIDTH), np.nan)), "not finite"),
        (changed("vit.encoder.layer.0.ls1.gamma", np.ones(WIDTH)), r"nothing is known of the tensor 'vit.*ls1.gamma'"),
        (changed("blocks.0.attn.qkv.weight", np.ones((70, WIDTH))), r"'blocks.0.attn.qkv.weight' has the shape"),
        (changed("vit.embeddings.position_embeddings", np.ones((1, 12, WIDTH))), "11 patches, which make no square"),
        (
            changed("vit.embeddings.patch_embeddings.projection.weight", np.ones((WIDTH, 1, PATCH, PATCH))),
            "no kernel over the 3 colours",
        ),
        (
            changed("vit.embeddings.patch_embeddings.projection.weight", np.ones((WIDTH, 3, 16, 16))),
            r"gives \(2, 16, 16, 3, 24\), but 'patches/kernel' is \(2, 8, 8, 3, 24\); set the options",
        ),
        (lambda tensors: {"fc.weight": tensors[QUERY]}, "nothing is known of the tensor 'fc.weight'"),
        (lambda tensors: {"classifier.weight": tensors[QUERY]}, "holds no layers of a ViT"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(
    change: Callable[[Tensors], Tensors], message: str, file: Path, tmp_path: Path
) -> None:
    path = edited(file, tmp_path / "edited.safetensors", change)
    network = models.build_model("vivit", CLASSES, **{**COMMON, "frames": 2})
    before = [np.array(variable) for variable in network.weights]
    with pytest.raises(UserError, match=message):
        vit_weights.load(network, str(path))
    assert all(np.array_equal(old, new) for old, new in zip(before, network.weights, strict=True))


def test_a_network_deeper_than_the_file_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"of 3 layers, have no block4/"):
        build("vivit", file, frames=2, depth=4)


def test_another_number_of_heads_is_refused_where_the_folder_tells(file: Path) -> None:
    with pytest.raises(UserError, match="of 3 heads, the network has 2; set heads: 3"):
        build("rpe_stdt", file.parent, frames=4, heads=2)
    build("vivit", file.parent, frames=2)
    build("vivit", file, frames=2, heads=2)  # a lone file does not tell


def test_damaged_settings_of_a_folder_are_refused(file: Path, tmp_path: Path) -> None:
    edited(file, tmp_path / "model.safetensors", dict)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json is no JSON"):
        build("vivit", tmp_path, frames=2)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*vit.safetensors; expected image weights of a ViT"):
        build("vivit", tmp_path / "vit.safetensors", frames=2)
