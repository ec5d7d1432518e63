"""ConvNet-Transformer, ConvNet-RNN and their baselines: what the paper and its released code say about them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec import models

TINY = {"frames": 4, "size": 16, "backbone": "tiny", "weights": "none", "widths": [6, 8], "head_units": 10}


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        # Released code: 18,321,984 (DenseNet-201) + 7,680 (positions) + 59,262,784 + 1,967,104 + 103,525.
        ("convnet_transformer", {"backbone": "densenet201", "position": "learned"}, 79_663_077),
        # Its solo notebook prints this one; the table there has five positions.
        ("convnet_transformer", {"backbone": "densenet201", "position": "learned", "frames": 5}, 79_664_997),
        # The paper's Eq. (8) has no weights.
        ("convnet_transformer", {"backbone": "densenet201"}, 79_663_077 - 4 * 1920),
        ("convnet_rnn", {"backbone": "densenet201"}, 44_915_365),
        pytest.param("convnet_rnn", {"backbone": "resnet152"}, 85_750_757, marks=pytest.mark.slow),
        pytest.param(
            "convnet_transformer",
            {"backbone": "resnet152", "position": "learned"},
            127_988_773,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_number_of_parameters(name: str, options: dict[str, object], parameters: int) -> None:
    assert models.build_model(name, num_classes=101, weights="none", size=64, **options).count_params() == parameters


def test_size_of_the_frames_does_not_change_the_number_of_parameters() -> None:
    small, large = (models.build_model("single_frame", 3, **TINY | {"size": size}) for size in (16, 48))
    assert small.count_params() == large.count_params()


def logits(name: str, clips: np.ndarray, **options: object) -> np.ndarray:
    keras.utils.set_random_seed(0)
    model = models.build_model(name, num_classes=3, **TINY | options)
    return model.predict({"rgb": clips}, verbose=0)


CLIPS = np.random.default_rng(0).normal(size=(3, 4, 16, 16, 3)).astype("float32")
ORDER = [2, 0, 3, 1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnet_transformer", {}),
        ("convnet_transformer", {"position": "learned"}),
        ("convnet_rnn", {"units": 6}),
        ("convnet_rnn", {"units": 6, "cell": "lstm", "bidirectional": True}),
    ],
)
def test_order_of_frames_matters(name: str, options: dict[str, object]) -> None:
    difference = np.abs(logits(name, CLIPS[:, ORDER], **options) - logits(name, CLIPS, **options))
    assert difference.max() > 1e-4


@pytest.mark.parametrize("average", ["logits", "features"])
def test_frame_average_cannot_see_order(average: str) -> None:
    shuffled = logits("frame_average", CLIPS[:, ORDER], average=average)
    np.testing.assert_allclose(shuffled, logits("frame_average", CLIPS, average=average), atol=1e-5)


def test_frame_average_of_logits_is_the_mean_over_single_frames() -> None:
    singles = [logits("frame_average", CLIPS[:, frame : frame + 1], frames=1) for frame in range(4)]
    np.testing.assert_allclose(logits("frame_average", CLIPS), np.mean(singles, axis=0), atol=1e-5)


def test_single_frame_sees_the_middle_frame_only() -> None:
    changed = CLIPS.copy()
    changed[:, [0, 1, 3]] = 9
    np.testing.assert_allclose(logits("single_frame", changed), logits("single_frame", CLIPS), atol=1e-6)
    changed[:, 2] = 9
    assert np.abs(logits("single_frame", changed) - logits("single_frame", CLIPS)).max() > 1e-4


def test_single_frame_learns_from_every_frame() -> None:
    """Two still clips, one of which gets brighter: its output changes from step to step, because the frame is new."""
    keras.utils.set_random_seed(0)
    model = models.build_model("single_frame", 3, **TINY | {"noise": 0.0, "head_dropout": 0.0})
    still = {"rgb": np.repeat(CLIPS[:, :1], 4, axis=1)}
    moving = {"rgb": still["rgb"] * np.array([1, 5, 10, 20], "float32")[:, None, None, None]}

    def outputs(clips: dict[str, np.ndarray]) -> set[bytes]:
        return {np.round(keras.ops.convert_to_numpy(model(clips, training=True)), 4).tobytes() for _ in range(12)}

    assert len(outputs(still)) == 1
    assert len(outputs(moving)) > 1


def test_stages_have_names() -> None:
    model = models.build_model("convnet_transformer", 3, **TINY, encoder_layers=2)
    names = [layer.name for layer in model.layers]
    stages = ["rgb", "frame_features", "position", "encoder1", "encoder2", "time_pool"]
    assert names == [*stages, "noise", "hidden", "dropout", "logits"]
    assert model.get_layer("frame_features").layer.name == "tiny"


def test_frozen_backbone_keeps_its_weights_and_statistics() -> None:
    """Transfer learning: only the head moves."""
    model = models.build_model("convnet_rnn", 3, **TINY, units=5)
    backbone = model.get_layer("frame_features")
    backbone.trainable = False
    before = backbone.get_weights()
    model.compile(keras.optimizers.SGD(0.5), keras.losses.CategoricalCrossentropy(from_logits=True))
    head = model.get_layer("logits").get_weights()
    model.train_on_batch({"rgb": CLIPS}, np.eye(3, dtype="float32"))
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True))
    assert not np.array_equal(head[0], model.get_layer("logits").get_weights()[0])
