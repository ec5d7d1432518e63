"""The registry: names, options, and what is said about mistakes in them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import keras_actrec
from keras_actrec import models
from keras_actrec.errors import UserError

TINY = {"frames": 2, "size": 16, "backbone": "tiny", "weights": "none", "widths": [4], "head_units": 5}


def test_front_door() -> None:
    assert keras_actrec.list_models() == models.list_models() == sorted(models.REGISTRY)
    assert keras_actrec.build_model("single_frame", 3, **TINY).output_shape == (None, 3)
    assert keras_actrec.build_model("single_frame", num_classes=3, **TINY).name == "single_frame"


def test_names_are_listed_without_keras() -> None:
    program = "import sys, keras_actrec; keras_actrec.list_models(); sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_paper_values_are_the_defaults() -> None:
    """Table 2 of the PSO-ConvNet Transformer."""
    config = models.make_config("convnet_transformer", num_classes=101)
    table = {"frames": 4, "size": 224, "dense_dim": 64, "heads": 4, "noise": 0.1, "head_units": 1024}
    assert {name: getattr(config, name) for name in table} == table
    assert config.head_dropout == 0.4
    assert config.normalization == "imagenet"
    assert models.make_config("convnet_rnn", num_classes=101).units == 2048


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": 2}, "no option 'head'. Did you mean 'heads'?"),
        ({"zzz": 2}, "no option 'zzz'. Valid: attention_dropout, backbone"),
        ({"heads": "4"}, "heads: input should be a valid integer (got '4')"),
        ({"heads": True}, "heads: input should be a valid integer (got True)"),
        ({"heads": 0}, "heads: input should be greater than or equal to 1 (got 0)"),
        ({"key_dim": 2.5}, "key_dim: input should be a valid integer (got 2.5)"),
        ({"noise": float("inf")}, "noise: input should be a finite number"),
        ({"noise": float("nan")}, "noise: "),
        ({"noise": -1.0}, "noise: input should be greater than or equal to 0"),
        ({"noise": None}, "noise: input should be a valid number (got None)"),
        ({"head_dropout": 1}, "head_dropout: input should be less than 1"),
        ({"position": "relative"}, "position: input should be 'sinusoidal' or 'learned' (got 'relative')"),
        ({"weights": 3}, "weights: input should be a valid string (got 3)"),
        ({"widths": [4, 0]}, "widths: input should be greater than or equal to 1 (got 0)"),
        ({"widths": 4}, "widths: input should be a valid array (got 4)"),
        ({"backbone": "densenet121"}, "only the backbone 'tiny' takes widths"),
        ({"widths": [4, 4, 4, 4, 4]}, "halves 16 pixels"),
        ({"backbone": "inception_v3", "widths": None, "size": 64}, "at least 75 pixels, got size 64"),
        ({"heads": 0, "position": 1}, "position: input should be 'sinusoidal' or 'learned' (got 1); heads: input"),
    ],
)
def test_mistakes_in_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        models.make_config("convnet_transformer", num_classes=3, **TINY | options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_number_of_classes_is_checked() -> None:
    with pytest.raises(UserError, match="num_classes"):
        models.make_config("single_frame", num_classes=0)


def test_numpy_numbers_and_lists_are_taken() -> None:
    config = models.make_config("single_frame", num_classes=np.int64(3), **TINY | {"widths": (4, np.int32(5))})
    assert config.num_classes == 3
    assert config.widths == (4, 5)
    assert isinstance(config.widths, tuple)
    assert type(config.num_classes) is int


def test_unknown_name_gives_the_nearest() -> None:
    for ask in (models.describe, models.summary, lambda name: models.build_model(name, 3)):
        with pytest.raises(UserError, match="Did you mean 'convnet_transformer'"):
            ask("convnet_transfomer")


@pytest.mark.parametrize("name", models.list_models())
def test_every_field_is_described(name: str) -> None:
    options = models.describe(name)
    assert next(option for option in options if option.required).name == "num_classes"
    assert all(option.doc.endswith(".") and option.type for option in options)
    assert models.summary(name).endswith(".")
    config = models.make_config(name, num_classes=3)
    assert all(getattr(config, option.name) == option.default for option in options if not option.required)


def test_description_says_what_is_allowed() -> None:
    options = {option.name: option for option in models.describe("convnet_transformer")}
    assert options["position"].type == "sinusoidal | learned"
    assert options["key_dim"].type == "int | none"
    assert options["widths"].type == "list of int | none"
    assert options["noise"].type == "float"
    assert "Eq. (8)" in options["position"].doc


def test_a_baseline_takes_over_what_it_shares() -> None:
    config = models.make_config("convnet_transformer", num_classes=3, **TINY, noise=0.3, heads=2)
    baseline = models.make_config_like("single_frame", config)
    assert type(baseline).__name__ == "SingleFrameConfig"
    assert (baseline.num_classes, baseline.widths, baseline.noise, baseline.frames) == (3, (4,), 0.3, 2)
    assert models.build_from_config("single_frame", baseline).output_shape == (None, 3)


def test_a_model_without_frame_features_cannot_be_split() -> None:
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(UserError, match="'plain' has no frame features"):
        models.split_at_features(model)
