"""Features in a plane: worked neighbourhoods, the right layer, choices that a seed decides, and files that say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.evaluation import embedding, embedding_plot
from keras_actrec.models.joint import with_heads

CLASSES = ("Bow", "Clap", "Wave")


# --- Neighbourhoods ---------------------------------------------------------------------------------------------------


def test_a_worked_neighbourhood() -> None:
    """On a line, A at 0, 1 and 10, B at 2 and 11: the nearest of each in turn are 1 (A), 0 (A; 2 is as far, but comes
    later), 11 (B), 1 (A), 10 (A)."""
    values = np.array([[0.0], [1], [10], [2], [11]])
    labels = np.array([0, 0, 0, 1, 1])
    found = embedding.neighbourhood(values, labels, k=1)
    assert found.share == pytest.approx(2 / 5)
    assert found.per_class == {0: pytest.approx(2 / 3), 1: 0}
    assert found.chance == pytest.approx((3 * 2 + 2 * 1) / (5 * 4))
    two = embedding.neighbourhood(values, labels, k=2)
    # 0: {1, 2} A B; 1: {0, 2} A B; 10: {11, 2} B B; 2: {1, 0} A A; 11: {10, 2} A B.
    assert two.share == pytest.approx((1 / 2 + 1 / 2 + 0 + 0 + 1 / 2) / 5)


def test_neighbourhood_equals_a_search_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(700, 4)), rng.integers(0, 3, 700)
    shares = []
    for row, value in enumerate(values):
        distances = ((values - value) ** 2).sum(axis=1)
        distances[row] = np.inf
        shares.append((labels[np.argsort(distances)[:7]] == labels[row]).mean())
    assert embedding.neighbourhood(values, labels, k=7).share == pytest.approx(np.mean(shares))


def test_groups_far_apart_have_neighbours_of_their_own_only_and_shuffled_labels_are_near_chance() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    values = rng.normal(size=(120, 5)) + 50 * labels[:, None]
    assert embedding.neighbourhood(values, labels).share == 1
    shuffled = embedding.neighbourhood(values, rng.permutation(labels))
    assert shuffled.share == pytest.approx(shuffled.chance, abs=0.08)


def test_no_more_neighbours_than_there_are_clips() -> None:
    found = embedding.neighbourhood(np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1]), k=10)
    assert found.k == 5
    assert found.share == pytest.approx(2 / 5) == found.chance


# --- The layout -------------------------------------------------------------------------------------------------------


def groups(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], 20)
    values = np.random.default_rng(1).normal(size=(60, dimensions)).astype("float32")
    values[:, 0] += 30 * labels
    return values, labels


@pytest.mark.parametrize("dimensions", [1, 70])
def test_groups_stay_together_in_the_plane_and_the_seed_decides(dimensions: int) -> None:
    values, labels = groups(dimensions)
    points = embedding.to_plane(values, seed=3, perplexity=10)
    assert points.shape == (60, 2)
    assert embedding.neighbourhood(points, labels, k=5).share > 0.95
    np.testing.assert_array_equal(embedding.to_plane(values, seed=3, perplexity=10), points)


def test_few_clips_and_equal_ones_can_be_laid_out() -> None:
    for values in (np.random.default_rng(0).normal(size=(5, 3)), np.ones((6, 3))):
        assert np.isfinite(embedding.to_plane(values, seed=0)).all()


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        embedding.to_plane(np.eye(6), seed=0)


# --- Which clips ------------------------------------------------------------------------------------------------------

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def test_named_classes_are_drawn() -> None:
    chosen = embedding.choose(LABELS, CLASSES, ["Wave", "Bow"], 20, 1000, seed=0)
    assert chosen.tolist() == [0, 1, 2, 6, 7, 8, 9]


def test_classes_and_clips_beyond_the_most_are_drawn_by_the_seed() -> None:
    def draws(seed: int) -> list[int]:
        return embedding.choose(LABELS, CLASSES, None, 2, 5, seed).tolist()

    assert draws(1) == draws(1)
    assert len({tuple(draws(seed)) for seed in range(6)}) > 1
    for seed in range(6):
        assert len(draws(seed)) == 5
        assert draws(seed) == sorted(draws(seed))
        assert len(set(LABELS[draws(seed)])) <= 2


def test_mistakes_in_the_choice() -> None:
    with pytest.raises(UserError, match=r"no class 'Wve'\. Did you mean 'Wave'"):
        embedding.choose(LABELS, CLASSES, ["Wve"], 20, 1000, seed=0)
    with pytest.raises(UserError, match="at least 5 clips to draw, got 3"):
        embedding.choose(LABELS, CLASSES, ["Bow"], 20, 1000, seed=0)


# --- The features -----------------------------------------------------------------------------------------------------


def network(modalities: tuple[str, ...] = ("rgb",)) -> keras.Model:
    """Features are the mean of a clip over time and space, through a dense layer; a dropout lies before the logits."""
    inputs = [keras.Input((2, 3, 3, 3 if name == "rgb" else 1), name=name) for name in modalities]
    clip = layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    x = layers.GlobalAveragePooling3D(name="mean")(clip)
    x = layers.Dropout(0.9)(layers.Dense(4, activation="tanh", name="code")(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


@dataclasses.dataclass
class Videos:
    """Five clips of two views each, given in an order of its own; the third cannot be read."""

    modalities: tuple[str, ...] = ("rgb",)
    classes: tuple[str, ...] = CLASSES
    clips: tuple[Clip, ...] = tuple(
        Clip(f"{number}.mp4", CLASSES[label], "test") for number, label in enumerate([0, 1, 1, 2, 0])
    )

    def views(self, clip: int, name: str) -> np.ndarray:
        channels = 3 if name == "rgb" else 1
        return np.random.default_rng([clip, channels]).normal(size=(2, 2, 3, 3, channels)).astype("float32")

    def evaluation_dataset(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for batch in ([4, 0], [3, 1]):
            yield {name: np.stack([self.views(clip, name) for clip in batch]) for name in self.modalities}, batch


@pytest.mark.parametrize("modalities", [("rgb",), ("rgb", "depth")])
@pytest.mark.parametrize("most", [1, 3, 32])
def test_features_are_what_the_classifier_sees_averaged_over_views(modalities: tuple[str, ...], most: int) -> None:
    model, videos = network(modalities), Videos(modalities)
    found = embedding.extract(model, videos, max_clips_per_pass=most)
    kernel, bias = model.get_layer("code").get_weights()
    assert found.indices.tolist() == [0, 1, 3, 4]
    assert found.labels.tolist() == [0, 1, 2, 0]
    for row, clip in enumerate(found.indices):
        seen = np.concatenate([videos.views(clip, name).mean(axis=(1, 2, 3)) for name in modalities], axis=-1)
        expected = np.tanh(seen @ kernel + bias).mean(axis=0)
        np.testing.assert_allclose(found.values[row], expected, rtol=1e-5, atol=1e-6)


def test_of_several_heads_the_features_are_those_that_all_of_them_see() -> None:
    single = network()
    several = with_heads(single, {"verb": 3, "noun": 5})
    plain, shared = (embedding.extract(model, Videos()).values for model in (single, several))
    np.testing.assert_allclose(shared, plain, rtol=1e-6)


def test_a_network_without_logits_is_refused() -> None:
    clip = keras.Input((2, 3, 3, 3), name="rgb")
    other = keras.Model(clip, layers.Dense(3, name="output")(layers.Flatten()(clip)))
    with pytest.raises(UserError, match="no layer 'logits'"):
        embedding.extract(other, Videos())


def test_a_network_that_diverged_is_refused() -> None:
    model = network()
    kernel = model.get_layer("code").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(UserError, match="NaN or infinite"):
        embedding.extract(model, Videos())


# --- Pictures ---------------------------------------------------------------------------------------------------------


def drawn() -> tuple[np.ndarray, np.ndarray]:
    return np.array([[0.0, 0], [1, 0], [1, 2], [0.5, 1]]), np.array([0, 0, 2, 2])


def test_the_chart_has_a_trace_for_each_class() -> None:
    points, labels = drawn()
    chart = embedding_plot.figure(points, labels, ["a<b>.mp4", "b.mp4", "c.mp4", "d.mp4"], CLASSES)
    bow, wave = chart["data"]
    assert (bow["name"], wave["name"]) == ("Bow", "Wave")
    assert (bow["x"], bow["y"]) == ([0, 1], [0, 0])
    assert bow["text"] == ["a&lt;b&gt;.mp4", "b.mp4"]
    assert bow["marker"]["color"] != wave["marker"]["color"]
    assert chart["layout"]["yaxis"]["scaleanchor"] == "x"


def test_the_png_has_a_dot_of_the_colour_of_its_class_at_each_point() -> None:
    points, labels = drawn()
    image = embedding_plot.picture(points, labels, CLASSES)
    side = embedding_plot.PNG_SIDE
    # The square's height is that of the points, 2; x is centred.
    scale = (side - 60) / 2
    colours = {0: (0x25, 0x63, 0xEB), 2: (0xD9, 0x77, 0x06)}
    for (x, y), label in zip(points, labels, strict=True):
        column, row = side / 2 + (x - 0.5) * scale, side / 2 - (y - 1) * scale
        assert tuple(image[round(row), round(column), ::-1]) == colours[label]
    assert image.shape == (side, side + embedding_plot.PNG_LEGEND, 3)


def document(**changes: Any) -> dict[str, Any]:
    near = {"share": 0.75, "chance": 0.25, "k": 3}
    rows = {name: {"clips": 2, "neighbours": 0.5, "chance": 1 / 3} for name in ("Bow", "Wave")}
    head = {"model": "ctn", "dataset": "stick-actions", "fold": 1, "split": "test", "contaminated": False, "clips": 4}
    rest = {"clips_of_split": 9, "dimensions": 4, "perplexity": 30.0, "seed": 0, "classes_of_run": 3, "classes": rows}
    return {**head, **rest, "neighbours": near, "neighbours_in_plane": near} | changes


def test_the_page_says_the_numbers_and_what_is_left_out(tmp_path: Path) -> None:
    points, labels = drawn()
    chart = embedding_plot.figure(points, labels, ["a", "b", "c", "d"], CLASSES)
    path = tmp_path / "embedding.html"
    embedding_plot.write_page(path, "my run", document(), chart)
    page = path.read_text()
    for said in ("75.0&nbsp;%", "25.0&nbsp;%", "1 of the run's 3 classes", "of the 3 nearest", "seed 0"):
        assert said in page or said.replace("'", "&#x27;") in page
    assert "Contaminated" not in page
    embedding_plot.write_page(path, "my run", document(contaminated=True), chart)
    assert "Contaminated" in path.read_text()
