"""The repository by worked numbers, what changes to it leave alone, and files that are refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec import tensor_file
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.evaluation import gamma, repository
from keras_actrec.evaluation.repository import Repository, as_classifier, build, load, model_digest
from keras_actrec.evaluation.video_names import video_name


def small(**changes: Any) -> Repository:
    """Two actions of two and four codes (w = 2, p = 1 and 2) in the plane; validation clips around both."""
    facts = {
        "names": ("bend", "jump"),
        "codes": [[0, 0], [2, 0], [10, 0], [10, 4], [14, 0], [14, 4]],
        "owners": [0, 0, 1, 1, 1, 1],
        "videos": ("b1", "b2", "j1", "j1", "j2", "j2"),
        "model": "0123456789abcdef",
        "calibration_codes": [[1, 1], [0, 0], [12, 2], [11, 2], [8, 2]],
        "calibration_names": ("bend", "bend", "jump", "jump", "jump"),
        "false_accepts": 0.2,
    }
    return build(**(facts | changes))


def random(seed: int, actions: int = 4, size: int = 7) -> Repository:
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(actions), 3)
    centres = 3 * rng.normal(size=(actions, size))
    validation = rng.integers(0, actions, 20)
    return build(
        [f"action{number}" for number in range(actions)],
        centres[owners] + rng.normal(size=(len(owners), size)),
        owners,
        [f"{seed}-{number}" for number in range(len(owners))],
        model="m",
        calibration_codes=centres[validation] + rng.normal(size=(20, size)),
        calibration_names=[f"action{number}" for number in validation],
        false_accepts=0.2,
        notes={"fragments": 3, "passes": 1},
    )


def assert_same(first: Repository, second: Repository) -> None:
    for name in ("codes", "owners", "gammas", "calibration_codes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype
    for name in ("names", "videos", "calibration_names", "model", "code_size", "rule", "false_accepts", "notes"):
        assert getattr(first, name) == getattr(second, name)


def test_centres_are_means_over_fragments_and_passes() -> None:
    """Eq. (6): (0, 0) and (2, 0) -> (1, 0); the four corners -> (12, 2), each at a distance of sqrt(8)."""
    held = small()
    assert held.centres.tolist() == [[1, 0], [12, 2]]
    np.testing.assert_allclose(held.spread, [1, np.sqrt(8)])


def test_a_class_without_codes_is_left_out() -> None:
    held = small(names=("absent", "bend", "none", "jump"), owners=[1, 1, 3, 3, 3, 3])
    assert_same(held, small())


def test_the_nearest_centre_within_gamma_decides() -> None:
    """Nearest other centres of the validation clips: sqrt(122), sqrt(148), sqrt(125), sqrt(104), sqrt(53)."""
    held = small()
    np.testing.assert_allclose(held.gammas, np.sqrt([104, 104]))
    codes = np.array([[1, 3], [12, 2], [1, 0 - 10.1], [1, -10.3], [6, 1]], np.float32)
    found, distance = held.nearest(codes)
    assert found.tolist() == [0, 1, 0, 0, 0]
    np.testing.assert_allclose(distance, [3, 0, 10.1, 10.3, np.sqrt(26)], rtol=1e-6)
    assert held.recognise(codes) == ("bend", "jump", "bend", None, "bend")
    at = dataclasses.replace(held, gammas=np.array([3.0, 1.0]))
    assert at.recognise(codes[:2]) == (None, "jump"), "a distance of gamma is not below it"


@pytest.mark.parametrize("seed", range(4))
def test_nearest_by_loops(seed: int) -> None:
    held = random(seed)
    codes = 4 * np.random.default_rng(seed + 50).normal(size=(30, 7)).astype(np.float32)
    found, distance = held.nearest(codes)
    for code, index, far in zip(codes, found, distance, strict=True):
        every = [sum((float(a) - float(b)) ** 2 for a, b in zip(code, c, strict=True)) ** 0.5 for c in held.centres]
        assert index == min(range(4), key=every.__getitem__)
        assert far == pytest.approx(min(every))


@pytest.mark.parametrize("seed", range(4))
def test_as_a_classifier_it_finds_the_nearest_centre(seed: int) -> None:
    held = random(seed)
    kernel, bias = as_classifier(held.centres, held.spread)
    assert kernel.dtype == bias.dtype == np.float32
    codes = 4 * np.random.default_rng(seed).normal(size=(40, 7))
    logits = codes @ kernel + bias
    assert logits.argmax(axis=1).tolist() == held.nearest(codes)[0].tolist()
    squares = held.distances(codes) ** 2
    scale = 1 / np.mean(held.spread**2)
    for a, b in itertools.combinations(range(4), 2):
        np.testing.assert_allclose(
            logits[:, a] - logits[:, b], -scale * (squares[:, a] - squares[:, b]), rtol=1e-3, atol=1e-4
        )


def test_a_classifier_of_single_codes_has_a_scale_too() -> None:
    """Without spread, 1 / s is the centres' mean squared distance to their mean, here 25."""
    kernel, bias = as_classifier(np.array([[0, 0], [6, 8]]), np.zeros(2))
    np.testing.assert_allclose(kernel, [[0, 12 / 25], [0, 16 / 25]], rtol=1e-6)
    np.testing.assert_allclose(bias, [0, -4])
    for one in as_classifier(np.zeros((2, 2)), np.zeros(2)):
        assert np.isfinite(one).all()


def test_adding_an_action_leaves_the_others_and_sets_gamma_anew() -> None:
    held = small()
    more = held.add("sit", np.array([[1, 8], [1, 10]]), ["s1", "s2"])
    assert more.names == ("bend", "jump", "sit")
    np.testing.assert_array_equal(more.centres[:2], held.centres)
    assert more.centres[2].tolist() == [1, 9]
    assert held.names == ("bend", "jump"), "the old one is as it was"
    # Distances to (1, 9) of the validation clips: 8, sqrt(82), sqrt(170), sqrt(149), sqrt(98); so the nearest
    # others are now 8, sqrt(82), sqrt(125), sqrt(104), sqrt(53): one in five may lie below gamma.
    np.testing.assert_allclose(more.gammas, [8] * 3)
    assert more.recognise([[1, 8.5], [1, 2], [30, 30]]) == ("sit", "bend", None)
    assert_same(more.remove("sit"), held)


def test_more_fragments_of_a_known_action() -> None:
    more = small().add("bend", np.array([[4, 3]]), ["b3"])
    assert more.names == ("bend", "jump")
    np.testing.assert_allclose(more.centres[0], [2, 1])
    again = more.add("bend", np.array([[4, 3]]), ["b3"])
    np.testing.assert_allclose(again.centres, more.centres), "the same video does not count twice"
    assert len(again.codes) == len(more.codes) == 7


def test_removing_keeps_the_rest_in_place() -> None:
    held = random(1)
    less = held.remove("action1")
    assert less.names == ("action0", "action2", "action3")
    np.testing.assert_array_equal(less.centres, held.centres[[0, 2, 3]])
    assert less.videos == tuple(v for v, o in zip(held.videos, held.owners, strict=True) if o != 1)
    assert len(less.calibration_codes) == 20, "its validation clips are unknown clips now"


@pytest.mark.parametrize("rule", gamma.RULES)
def test_gamma_is_that_of_the_validation_codes(rule: str) -> None:
    held = dataclasses.replace(random(2), rule=rule).calibrated()
    owners = [held.names.index(name) for name in held.calibration_names]
    expected = gamma.calibrate(held.distances(held.calibration_codes), np.array(owners), rule, 0.2)
    np.testing.assert_array_equal(held.gammas, expected.gammas)
    assert 0 <= held.calibration().false_accepts <= 0.2
    less = held.remove("action0")
    known = [held.names[1:].index(name) if name != "action0" else -1 for name in held.calibration_names]
    anew = gamma.calibrate(less.distances(held.calibration_codes), np.array(known), rule, 0.2)
    np.testing.assert_array_equal(less.gammas, anew.gammas)


def test_merging() -> None:
    held = small()
    other = small(names=("sit", "jump"), videos=("s1", "s2", "j3", "j3", "j2", "j2"))
    merged = held.merge(other)
    assert merged.names == ("bend", "jump", "sit")
    assert sorted(merged.videos) == ["b1", "b2", "j1", "j1", "j2", "j2", "j3", "j3", "s1", "s2"]
    assert merged.centres[2].tolist() == [1, 0]
    assert len(merged.calibration_codes) == 5, "the same validation clips count once"
    itself = held.merge(held)
    np.testing.assert_array_equal(itself.centres, held.centres)
    np.testing.assert_array_equal(itself.gammas, held.gammas)
    assert len(itself.codes) == len(held.codes)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (small(model="ffff"), r"another model \(digest ffff, this one's is 0123456789ab\)"),
        (small(codes=np.zeros((6, 3)), calibration_codes=np.zeros((5, 3))), r"codes of 3 numbers, the model gives 2"),
        (small(names=("jump", "bend")), r"in the repository as 'bend'; it cannot be 'jump' as well"),
    ],
)
def test_merging_what_does_not_fit(other: Repository, words: str) -> None:
    with pytest.raises(UserError, match=words):
        small().merge(other)


def test_a_file_and_a_stretch_of_it_are_one_video() -> None:
    """Two stretches are two videos; a "#" in the name of a file is none."""
    held = small(videos=("b.mp4#0:1", "b.mp4#2:3", "j1.mp4", "j1.mp4", "j #2.mp4", "j #2.mp4"))
    for video in ("b.mp4", "b.mp4#0:1", "j1.mp4#::4:9", "j #2.mp4"):
        with pytest.raises(UserError, match="it cannot be 'sit' as well"):
            held.add("sit", [[1, 1]], [video])
    for video in ("b.mp4#1:2", "j", "j #3.mp4"):
        assert held.add("sit", [[1, 1]], [video]).names == ("bend", "jump", "sit")
    assert held.add("bend", [[1, 1]], ["b.mp4"]).videos[-1:] == ("b.mp4",)
    assert "b.mp4#0:1" not in held.add("bend", [[1, 1]], ["b.mp4"]).videos
    assert held.add("bend", [[1, 1]], ["b.mp4#5:6"]).videos.count("b.mp4#0:1") == 1
    assert held.add("jump", [[1, 1]], ["j1.mp4#1:2"]).videos == (
        "b.mp4#0:1",
        "b.mp4#2:3",
        *["j #2.mp4"] * 2,
        "j1.mp4#1:2",
    )
    assert_same(held.merge(held), dataclasses.replace(held, videos=held.videos))


def test_mistakes() -> None:
    held = small()
    cases = [
        (lambda: held.add("  ", [[1, 1]], ["v"]), "name of an action must not be empty"),
        (lambda: held.add("sit", [[1, 1, 1]], ["v"]), "codes of 2 numbers"),
        (lambda: held.add("sit", [[1, np.nan]], ["v"]), "1 of 1 codes are NaN"),
        (lambda: held.add("sit", [[1, 1]], []), "a video for each code"),
        (lambda: held.add("sit", [[1, 1]], ["b1"]), "'bend'; it cannot be 'sit'"),
        (lambda: held.remove("bned"), "no action 'bned'. Did you mean 'bend'"),
        (lambda: held.remove("bend").remove("jump"), "the only action"),
        (lambda: held.recognise([[np.inf, 1]]), "NaN or infinite"),
        (lambda: small(names=("bend", "bend")), "the same name"),
        (lambda: dataclasses.replace(held, names=("bend", "jump", "sit")), "has no codes"),
        (lambda: small(names=("bend",)), "other actions than the 1"),
        (lambda: small(owners=[0, 0, 1, 1, 1]), "6 codes belong to 5 actions"),
        (lambda: small(videos=("b1", "j1", "j1", "j1", "j2", "j2")), "held both as 'bend' and as 'jump'"),
        (lambda: small(calibration_names=("bend",)), "5 validation codes have 1 names"),
        (lambda: small(rule="always"), "one of the rules|the rule 'always'"),
    ]
    for action, words in cases:
        with pytest.raises(UserError, match=words):
            action()


def test_one_file_holds_all(tmp_path: Path) -> None:
    held = random(3)
    held.save(tmp_path / "repository.safetensors")
    assert_same(load(tmp_path / "repository.safetensors", model="m", code_size=7), held)
    lonely = small(calibration_codes=None, calibration_names=())
    lonely.save(tmp_path / "repository.safetensors")
    back = load(tmp_path / "repository.safetensors")
    assert np.isinf(back.gammas).all()
    assert_same(back, lonely)
    assert [path.name for path in tmp_path.iterdir()] == ["repository.safetensors"]


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "repository.safetensors"
    with pytest.raises(UserError, match="no repository of actions at"):
        load(path)
    small().save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-7], whole[: len(whole) // 2], b"", b"PK\3\4 something else", whole[:-1] + b"\7"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="no repository of actions, or a damaged one"):
            load(path)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"another model \(digest 0123456789ab, this one's is feed\)"):
        load(path, model="feed")
    with pytest.raises(UserError, match="codes of 2 numbers, the model gives 256"):
        load(path, code_size=256)
    tensor_file.save(path, {"weights": np.zeros(3)}, {"step": 1})
    with pytest.raises(UserError, match="another file of arrays"):
        load(path)


@pytest.mark.parametrize(
    ("arrays", "notes", "words"),
    [
        ({"codes": np.full((6, 2), np.nan, np.float32)}, {}, "6 of 6 codes are NaN"),
        ({"owners": np.arange(6)}, {}, "other actions than the 2"),
        ({"gammas": np.array([1.0, np.nan])}, {}, "gammas"),
        ({}, {"names": ["bend", "bend"]}, "same name"),
        ({}, {"names": ["bend", 3]}, "without a name"),
        ({}, {"videos": ["b1"]}, "6 actions and 1 videos"),
        ({}, {"code_size": 5}, "codes of 5 numbers"),
        ({}, {"rule": "always"}, "rule 'always'"),
        ({}, {"version": 99}, r"another version of keras_actrec \(99"),
    ],
)
def test_files_that_contradict_themselves(
    tmp_path: Path, arrays: dict[str, np.ndarray], notes: dict[str, Any], words: str
) -> None:
    path = tmp_path / "repository.safetensors"
    small().save(path)
    whole, facts = tensor_file.load(path)
    tensor_file.save(path, whole | arrays, facts | notes)
    with pytest.raises(UserError, match=words):
        load(path)
    tensor_file.save(path, whole, {name: value for name, value in facts.items() if name != "videos"})
    with pytest.raises(UserError, match="lacks videos"):
        load(path)


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    clip = keras.Input((2, 4, 4, 3), name="rgb")
    code = layers.Dense(5, name="code")(layers.Flatten()(layers.BatchNormalization()(clip)))
    return keras.Model(clip, layers.Dense(3, name="logits")(layers.Dropout(0.5)(code)))


def test_the_digest_is_of_the_encoder_alone(tmp_path: Path) -> None:
    first = network(0)
    digest = model_digest(first)
    assert model_digest(network(1)) != digest
    assert model_digest(network(0)) == digest
    first.save(tmp_path / "model.keras")
    assert model_digest(keras.saving.load_model(tmp_path / "model.keras")) == digest
    first.get_layer("logits").set_weights([np.ones((5, 3)), np.ones(3)])
    assert model_digest(first) == digest, "the classifier may be filled with centres"
    kernel, bias = first.get_layer("code").get_weights()
    first.get_layer("code").set_weights([kernel, bias + 1e-6])
    assert model_digest(first) != digest
    with pytest.raises(UserError, match="no layer 'logits'"):
        model_digest(keras.Model(first.inputs, first.get_layer("code").output))


def test_names_of_clips() -> None:
    assert video_name(Clip("a/b.mp4", "x", "train")) == "a/b.mp4"
    whole = [Clip("a.mp4", "x", "train", start_sec=1.5, end_sec=3), Clip("a.mp4", "x", "train", start_sec=1.5)]
    assert [video_name(clip) for clip in whole] == ["a.mp4#1.5:3", "a.mp4#1.5:"]
    assert (
        len(
            {
                video_name(Clip("a.mp4", "x", "train", **k))
                for k in ({"start_sec": 3}, {"end_sec": 3}, {"start_frame": 3})
            }
        )
        == 3
    )


def test_the_file_lies_beside_the_model() -> None:
    assert repository.FILE_NAME == "repository.safetensors"
