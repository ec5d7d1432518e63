"""Training of codes: what is minimised, where the centres come from, and that accuracy is that of the nearest one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import toys

from keras_actrec import losses, tensor_file
from keras_actrec.config import MetricConfig, TrainingConfig, parse_config
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.evaluation import codes, repository
from keras_actrec.models.codes import encoder_of
from keras_actrec.training import distribution, metric_learning, seeding
from keras_actrec.training.learner import Learner
from keras_actrec.training.objectives import objectives, row_of
from keras_actrec.training.run_directory import RunDirectory

CLASSES = ("class_0", "class_1", "class_2")


@dataclasses.dataclass
class Loader(toys.ArrayLoader):
    """An `ArrayLoader` that can be evaluated, too."""

    classes: tuple[str, ...] = CLASSES
    split: str = "train"

    def evaluation_dataset(self) -> Iterator[Any]:
        for start in range(0, len(self.clips), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.clips)))
            yield {"rgb": self.clips[rows][:, None]}, rows


class Evaluated(Loader):
    """The same arrays as `clips` with labels, which evaluation looks up."""

    def evaluation_dataset(self) -> Iterator[Any]:
        for start in range(0, len(self.arrays), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.arrays)))
            yield {"rgb": self.arrays[rows][:, None]}, rows


def evaluated(clips: np.ndarray, targets: np.ndarray) -> Any:
    loader = Evaluated(clips, targets, shuffle=False)
    loader.arrays = clips
    rows = [Clip(f"{n}.avi", CLASSES[label], "train") for n, label in enumerate(targets.argmax(axis=1))]
    return SimpleNamespace(
        clips=rows, classes=CLASSES, evaluation_dataset=loader.evaluation_dataset, dataset=loader.dataset
    )


class Data:
    """What metric learning takes of `Inputs`."""

    def __init__(self) -> None:
        self.train, self.checked = toys.make_arrays(24), toys.make_arrays(12, seed=1)
        self.quarantine = None
        self.manifest = SimpleNamespace(classes=CLASSES)

    def training(self) -> Loader:
        return Loader(*self.train, batch_size=12)

    def plain(self, split: str) -> Any:
        assert split == "validation"
        loader = Loader(*self.checked, shuffle=False)
        rows = evaluated(*self.checked)
        loader.evaluation_dataset = rows.evaluation_dataset
        return loader

    def validation(self) -> Any:
        return evaluated(*self.checked)

    def evaluation(self, split: str) -> Any:
        assert split == "validation"
        return self.validation()

    def fragments(self) -> Any:
        return evaluated(*self.train)


def settings(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"objective": "n_pair", "batch_size": 12, "epochs": 6, **changes})


def prepared(wish: TrainingConfig) -> keras.Model:
    seeding.seed_everything(0)
    return metric_learning.prepare(toys.make_network(dropout=0.0), wish)


def one_batch() -> tuple[np.ndarray, np.ndarray]:
    clips, targets = toys.make_arrays(12)
    return clips, targets


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (settings(), lambda z, y: losses.n_pair_of_batch(z, y)),
        (settings(metric=MetricConfig(semi_hard=True)), lambda z, y: losses.n_pair_of_batch(z, y, True)),
        (settings(metric=MetricConfig(symmetric=True)), lambda z, y: losses.n_pair_of_batch(z, y, symmetric=True)),
        (
            settings(metric=MetricConfig(code_penalty=0.5)),
            lambda z, y: losses.n_pair_of_batch(z, y) + 0.5 * keras.ops.mean(keras.ops.sum(z**2, axis=1)),
        ),
        (
            settings(metric=MetricConfig(normalize=True, temperature=0.25)),
            lambda z, y: losses.n_pair_of_batch(z / 0.5, y),
        ),
        (
            settings(objective="supervised_contrastive", metric=MetricConfig(temperature=0.3)),
            lambda z, y: losses.supervised_contrastive(z, y, 0.3),
        ),
    ],
    ids=["n_pair", "semi_hard", "symmetric", "penalty", "normalized", "contrastive"],
)
def test_the_loss_is_the_one_that_is_asked_for(wish: TrainingConfig, expected: Any) -> None:
    clips, targets = one_batch()
    network = prepared(wish)
    learner = metric_learning.learner_of(network, wish)
    code = encoder_of(network)(clips)
    got = learner.compute_loss(clips, targets, learner(clips, training=False), training=True)
    np.testing.assert_allclose(float(got), float(expected(code, keras.ops.convert_to_tensor(targets))), rtol=1e-5)


@pytest.mark.parametrize("objective", ["n_pair", "supervised_contrastive"])
def test_the_helper_adds_its_cross_entropy(objective: str) -> None:
    clips, targets = one_batch()
    metric = {"normalize": True, "standardize": True, "temperature": 0.5}
    wish = settings(objective=objective, metric=MetricConfig(**metric, cross_entropy=0.25))
    network = prepared(wish)
    learner = metric_learning.learner_of(network, wish)
    helper = learner.get_layer("helper")
    helper.set_weights([np.random.default_rng(0).normal(size=(256, 3)), np.array([0.5, 0, -1])])
    outputs = learner(clips, training=False)
    alone = metric_learning.learner_of(network, settings(objective=objective, metric=MetricConfig(**metric)))
    codes_alone = float(alone.compute_loss(clips, targets, alone(clips, training=False), training=True))
    # The helper sees the codes before they are standardised and brought to length 1.
    code = keras.Model(network.input, network.get_layer("code").output)(clips, training=False)
    logits = np.asarray(code, "float64") @ np.asarray(helper.kernel) + np.asarray(helper.bias)
    of_helper = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), targets.argmax(axis=1)]
    got = float(learner.compute_loss(clips, targets, outputs, training=True))
    np.testing.assert_allclose(got, codes_alone + 0.25 * of_helper.mean(), rtol=1e-5)
    assert of_helper.mean() > 0.1


def test_without_a_share_there_is_no_helper() -> None:
    assert set(metric_learning.learner_of(prepared(settings()), settings()).output) == {"logits", "code"}


def test_the_helper_is_trained_and_leaves_no_trace(tmp_path: Path) -> None:
    config = toys.make_config(
        tmp_path / "runs",
        objective="n_pair",
        epochs=2,
        batch_size=12,
        optimizer={"name": "adam", "learning_rate": 0.02},
        metric={"code": 5, "cross_entropy": 1.0},
        repository={"fragments": 8},
    )
    data = Data()
    with RunDirectory.create(config, toys.make_manifest(tmp_path)) as run:
        network = prepared(config.training)
        fitted = metric_learning.fit(network, data, run, distribution.set_up(config.training))
        states = sorted(run.checkpoints.glob("state-*"))
        arrays, _ = tensor_file.load(states[-1])
    trained = next(array for name, array in arrays.items() if name.endswith("helper/bias"))
    assert np.abs(trained).max() > 1e-3
    assert not any("helper" in weight.path for weight in network.weights)
    # The frozen classifier still answers with the nearest centre.
    encoded = codes.encode(network, data.fragments())
    checked = codes.encode(network, data.validation())
    centres = np.stack([encoded.mean()[encoded.labels == label].mean(axis=0) for label in range(3)])
    nearest = ((checked.mean()[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(checked.logits[:, 0].argmax(axis=1), nearest)
    accuracy = (nearest == checked.labels).mean()
    assert fitted.rows[fitted.best_epoch - 1]["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_validation_measures_the_logits() -> None:
    clips, targets = one_batch()
    learner = metric_learning.learner_of(prepared(settings()), settings())
    outputs = learner(clips, training=False)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True)(targets, outputs["logits"])
    got = learner.compute_loss(clips, targets, outputs, training=False)
    np.testing.assert_allclose(float(got), float(expected), rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True], ids=["one device", "several"])
def test_the_validation_loss_is_smoothed_as_any_network_s(weighted: bool) -> None:
    """It depends neither on the regime nor on the number of devices."""

    class Minimising(Learner, keras.Model):
        def regime_loss(self, labels: Any, outputs: dict[str, Any]) -> Any:
            return keras.ops.mean(outputs["logits"])

    def row(learner: bool, weights: np.ndarray | None) -> dict[str, float]:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((3,), name="rgb")
        logits = keras.layers.Dense(4)(inputs)
        model = Minimising(inputs, {"logits": logits}) if learner else keras.Model(inputs, logits)
        model.compile("sgd", **objectives(model, 0.3, weighted=weights is not None))
        logs = model.evaluate(clips, labels, sample_weight=weights, verbose=0, return_dict=True)
        return row_of({f"val_{name}": value for name, value in logs.items()})

    clips = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    labels = np.eye(4, dtype="float32")[np.arange(8) % 4]
    expected = row(False, None)
    assert row(True, np.ones(8, "float32") if weighted else None) == pytest.approx(expected, rel=1e-6)


def test_a_regime_must_say_what_it_minimises() -> None:
    class Undecided(Learner, keras.Model):
        pass

    clip = keras.Input((3,))
    learner = Undecided(clip, {"logits": keras.layers.Dense(2)(clip)})
    with pytest.raises(NotImplementedError, match="does not say what it minimises"):
        learner.compute_loss(y=np.eye(2), y_pred=learner(np.ones((2, 3))), training=True)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("trained")
    config = toys.make_config(
        folder / "runs",
        objective="n_pair",
        epochs=6,
        batch_size=12,
        optimizer={"name": "adam", "learning_rate": 0.02},
        metric={"code": 5},
        repository={"fragments": 8, "false_accepts": 0.25},
    )
    data = Data()
    hardware = distribution.set_up(config.training)
    with RunDirectory.create(config, toys.make_manifest(folder)) as run:
        network = prepared(config.training)
        fitted = metric_learning.fit(network, data, run, hardware)
        yield SimpleNamespace(network=network, fitted=fitted, run=run)


@pytest.fixture
def trained(trained_once: Any) -> Iterator[Any]:
    """The same training for all tests; what one does to weights and data is undone."""
    weights = trained_once.network.get_weights()
    yield SimpleNamespace(**vars(trained_once), data=Data())
    trained_once.network.set_weights(weights)


def test_codes_are_learnt_and_the_nearest_centre_answers(trained: Any) -> None:
    encoded = codes.encode(trained.network, trained.data.fragments())
    checked = codes.encode(trained.network, trained.data.validation())
    centres = np.stack([encoded.mean()[encoded.labels == label].mean(axis=0) for label in range(3)])
    distances = ((checked.mean()[:, None] - centres) ** 2).sum(axis=-1)
    accuracy = (distances.argmin(axis=1) == checked.labels).mean()
    assert accuracy > 0.9
    best = trained.fitted.rows[trained.fitted.best_epoch - 1]
    # The kept classifier is that of the best epoch, and what was logged then is what the nearest centre gives.
    assert best["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    np.testing.assert_array_equal(checked.logits[:, 0].argmax(axis=1), distances.argmin(axis=1))
    assert trained.fitted.rows[-1]["loss"] < 0.5 * trained.fitted.rows[0]["loss"]
    assert set(best) == {"learning_rate", "loss", "accuracy", "top5", "val_loss", "val_accuracy", "val_top5"}


def test_the_repository_is_kept_beside_the_model(trained: Any) -> None:
    made = metric_learning.keep_repository(trained.network, trained.data, trained.run)
    kept = repository.load(trained.run.repository, repository.model_digest(trained.network), 5)
    assert kept.names == CLASSES
    assert len(kept.codes) == 24
    np.testing.assert_array_equal(kept.gammas, made.gammas)
    checked = codes.encode(trained.network, trained.data.validation())
    found, _ = kept.nearest(checked.mean())
    np.testing.assert_array_equal(found, checked.logits[:, 0].argmax(axis=1))
    calibration = kept.calibration()
    assert calibration.false_accepts <= 0.25


def test_a_run_that_is_resumed_keeps_the_actions_that_were_added(trained: Any) -> None:
    trained.run.repository.unlink(missing_ok=True)
    made = metric_learning.keep_repository(trained.network, trained.data, trained.run)
    made.add("Walk", np.zeros((1, 5)), ["walk.mp4"]).save(trained.run.repository)
    again = metric_learning.keep_repository(trained.network, trained.data, trained.run)
    assert again.names == CLASSES, "the run's own numbers know the actions of its training alone"
    assert repository.load(trained.run.repository).names == (*CLASSES, "Walk")
    layer = trained.network.get_layer("code")
    layer.set_weights([weight + 0.01 for weight in layer.get_weights()])
    metric_learning.keep_repository(trained.network, trained.data, trained.run)
    assert repository.load(trained.run.repository).names == CLASSES, "one of another model is made anew"
    trained.run.repository.unlink()


def test_gamma_is_set_on_the_views_that_evaluation_takes(trained: Any) -> None:
    """Of several clips and crops the mean code is compared with gamma, so its distances are what gamma is set on."""
    clips, targets = trained.data.checked
    loader = evaluated(clips, targets)
    loader.evaluation_dataset = lambda: iter([({"rgb": np.stack([clips, clips[:, ::-1] + 0.5], axis=1)}, range(12))])
    trained.data.evaluation = lambda split: loader
    made = metric_learning.keep_repository(trained.network, trained.data, trained.run)
    first, second = (np.asarray(encoder_of(trained.network)(part)) for part in (clips, clips[:, ::-1] + 0.5))
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(made.calibration_codes, (first + second) / 2, rtol=1e-4, atol=1e-5)


def test_a_repository_of_other_weights_is_refused(trained: Any) -> None:
    metric_learning.keep_repository(trained.network, trained.data, trained.run)
    trained.network.get_layer("code").set_weights(
        [weight + 0.01 for weight in trained.network.get_layer("code").get_weights()]
    )
    with pytest.raises(UserError, match="was made with another model"):
        repository.load(trained.run.repository, repository.model_digest(trained.network))


def test_a_class_that_cannot_be_read_lies_in_the_middle(trained: Any) -> None:
    data = trained.data
    fragments = data.fragments()
    fragments.clips = [dataclasses.replace(clip, label="class_0") for clip in fragments.clips]
    encoded = codes.encode(trained.network, fragments)
    metric_learning.place_centres(trained.network, encoded)
    kernel, bias = trained.network.get_layer("logits").get_weights()
    assert np.isfinite(kernel).all() and np.isfinite(bias).all()
    np.testing.assert_allclose(kernel[:, 1], kernel[:, 2])


def test_the_state_holds_the_centres(trained: Any) -> None:
    """They are weights of the network, so that a resumed run validates with the same ones."""
    states = sorted(trained.run.checkpoints.glob("state-*"))
    arrays, _ = tensor_file.load(states[-1])
    assert any(name.endswith("logits/kernel") for name in arrays)


def test_devices_must_not_part_pairs(tmp_path: Path) -> None:
    config = toys.make_config(tmp_path / "runs", objective="n_pair", batch_size=12)
    four = SimpleNamespace(replicas=4, scope=None)
    run = RunDirectory.create(config, toys.make_manifest(tmp_path))
    with run, pytest.raises(UserError, match="multiple of 8, at least 16"):
        metric_learning.fit(prepared(config.training), Data(), run, four)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"training": {"objective": "n_pair", "batch_size": 7}}, "batch_size must hold metric.clips_per_class"),
        ({"training": {"objective": "n_pair", "batch_size": 2}}, "clips of at least two classes"),
        ({"training": {"objective": "n_pair", "regime": "transfer"}}, "trains end to end"),
        (
            {"training": {"objective": "n_pair"}, "data": {"augmentation": {"mixup": 0.2}}},
            "compares clips of one class each",
        ),
        ({"training": {"objective": "n_pair"}, "data": {"targets": "verb_noun"}}, "knows one label per clip"),
        ({"training": {"repository": {}}, "joint": [{"root": "other"}]}, "training.repository knows one label"),
        ({"training": {"objective": "npair"}}, "training.objective"),
        ({"training": {"repository": {"false_accepts": 1}}}, "training.repository.false_accepts"),
        ({"data": {"tempos": [3, 5], "cameras": [0]}}, "expected one for each of the 2 tempos, got 1"),
        ({"data": {"tempos": [3, 5], "modalities": ["rgb", "depth"]}}, "each input shows one modality"),
        ({"data": {"tempos": [3, 5], "cameras": [0, 1], "prepared": "x"}}, "holds the first camera alone"),
        ({"data": {"tailor": {"decay": 1.5}}}, "data.tailor.decay"),
    ],
)
def test_mistakes_in_the_configuration(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config(document)
    assert message in str(error.value)
