"""The heat of a trained network lies on the person; random weights destroy that (Adebayo et al. 2018)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import keras
import numpy as np
import pytest
from small import clip_network

from keras_actrec.evaluation.trained import Trained, open_trained
from keras_actrec.explain import sanity

CLIPS = 24
LAYER = "conv4_block1_out"
"""6 x 6 places per frame; the last map has 3 x 3, of which a person fills several."""


def test_heat_inside_and_outside_by_hand() -> None:
    heat = np.ones((2, 4, 4))
    heat[:, 1:3, 1:3] = 5.0
    boxes = np.array([[1.0, 1.0, 3.0, 3.0]] * 2)
    found = sanity.box_heat([heat, np.zeros((2, 4, 4))], [boxes, boxes])
    assert found.ratio == pytest.approx(5)
    assert (found.inside, found.outside) == (pytest.approx(5 / 2), pytest.approx(1 / 2))
    assert (found.clips, found.cold) == (1, 1)
    # Whatever the scale of a clip's heat: it is divided by its own mean.
    assert sanity.box_heat([heat, 100 * heat], [boxes, boxes]).ratio == pytest.approx(5)
    assert sanity.box_heat([np.ones((2, 4, 4))], [boxes]).ratio == pytest.approx(1)


def test_boxes_move_with_the_clip() -> None:
    clip = np.zeros((1, 20, 20, 3))
    clip[:, 8:12, 6:10] = 1.0
    example = sanity.Example(clip, np.array([[6.0, 8.0, 10.0, 12.0]]), 0)
    places = set()
    for seed in range(8):
        moved = sanity.moved(example, np.random.default_rng(seed))
        left, top, right, bottom = moved.boxes[0].astype(int)
        assert moved.clip[0, top:bottom, left:right].all()
        assert moved.clip.sum() == clip.sum()
        places.add((left, top))
    assert len(places) > 4


def test_random_weights_are_fresh_ones() -> None:
    model = clip_network()
    random = sanity.with_random_weights(model)
    assert [weight.shape for weight in random.weights] == [weight.shape for weight in model.weights]
    assert not np.allclose(
        keras.ops.convert_to_numpy(model.get_layer("conv1").kernel),
        keras.ops.convert_to_numpy(random.get_layer("conv1").kernel),
    )


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, command: Callable[..., subprocess.CompletedProcess[str]]
) -> Trained:
    """A small 3-D ResNet that was trained for two minutes."""
    folder = tmp_path_factory.mktemp("sanity")
    (folder / "config.yaml").write_text(
        f"""
name: sanity
seed: 1
output: {folder}
data:
  root: {folder / "videos"}
  stick_actions: {{clips_per_class: 36, difficulty: easy, seed: 1}}
  prepared: {folder / "frames"}
  prepared_short_side: 48
  frames: 6
  size: 48
  augmentation: {{zoom: 0.1, shift: 0.2, flip: 0.5}}
model: {{name: r3d_18, base_width: 8, depths: [1, 1, 1, 1], temporal_strides: [1, 1, 2, 1]}}
training:
  epochs: 20
  batch_size: 8
  optimizer: {{name: adamw, learning_rate: 0.003}}
  schedule: {{name: cosine, warmup_epochs: 1}}
logging: {{tensorboard: false}}
evaluation: {{baseline: false, probes: false, throughput: false}}
"""
    )
    done = command("train.py", "--config", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    return open_trained(done.stdout.splitlines()[-1].removeprefix("run: "))


@pytest.mark.slow
def test_heat_lies_on_the_person_and_random_weights_destroy_it(trained: Trained) -> None:
    clips = sanity.examples(trained, CLIPS)
    assert len(clips) >= 20
    random = sanity.with_random_weights(trained.model)
    right = sanity.accuracy(trained.model, clips)
    print(f"top-1 of {len(clips)} moved test clips: {right:.2f}")
    assert right > 0.25, "three times chance: else there is nothing to explain"
    for method, layer in (("grad_cam", LAYER), ("guided_backprop", None)):
        own, others = sanity.measure(trained.model, clips, method, layer)
        untrained, _ = sanity.measure(random, clips, method, layer)
        print(f"{method}: {own.ratio:.2f}, boxes of others {others.ratio:.2f}, random weights {untrained.ratio:.2f}")
        assert own.ratio > 1.5
        assert own.ratio > 1.2 * others.ratio
        assert untrained.ratio < 1.3
        assert own.ratio > 1.5 * untrained.ratio
