"""The audit of pseudo-labels against counting by loops, in real training, on several devices, after a kill."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pseudo_program
import pytest
import toys
from pseudo_program import CLASSES, EPOCHS, ROLES, THRESHOLD, PowerCutError

from keras_actrec.evaluation import report
from keras_actrec.evaluation.pseudo_table import read_pseudo_labels
from keras_actrec.training import callbacks, loggers
from keras_actrec.training.pseudo_audit import KeepAudit, PseudoAudit
from keras_actrec.training.run_directory import RunDirectory

PROGRAM = Path(pseudo_program.__file__)
ROOT = Path(__file__).parents[2]
NAMES = ("pseudo_share", "pseudo_precision", "auxiliary_pseudo_share", "auxiliary_pseudo_precision", "agreement")


def counted(batches: list[dict[str, np.ndarray]], roles: tuple[str, ...] = ROLES) -> dict[str, Any]:
    """Return what the audit must give for {"says": (N, 2, K), "truth": (N, K)}, one clip after the other."""
    clips = agreed = 0
    rows = {
        (role, k): dict.fromkeys(("clips", "accepted_of_class", "given", "given_known", "correct"), 0)
        for role in roles
        for k in range(len(CLASSES))
    }
    for batch in batches:
        for says, truth in zip(batch["says"], batch["truth"], strict=True):
            clips += 1
            agreed += int(says[0].argmax() == says[1].argmax())
            own = int(truth.argmax()) if truth.any() else None
            for role, shares in zip(roles, says, strict=False):
                label, accepted = int(shares.argmax()), bool(shares.max() >= np.float32(THRESHOLD))
                if own is not None:
                    rows[role, own]["clips"] += 1
                    rows[role, own]["accepted_of_class"] += accepted
                if accepted:
                    rows[role, label]["given"] += 1
                    rows[role, label]["given_known"] += own is not None
                    rows[role, label]["correct"] += own == label
    numbers = {"agreement": agreed / clips} if len(roles) > 1 else {}
    for role, prefix in zip(roles, ("", "auxiliary_"), strict=False):
        mine = [row for (other, _), row in rows.items() if other == role]
        known = sum(row["given_known"] for row in mine)
        numbers[f"{prefix}pseudo_share"] = sum(row["given"] for row in mine) / clips
        numbers[f"{prefix}pseudo_precision"] = sum(row["correct"] for row in mine) / known if known else 0.0
    return {"rows": rows, "numbers": numbers}


def shown_in(epoch: int) -> list[dict[str, np.ndarray]]:
    loader = pseudo_program.training_loader()
    loader.set_epoch(epoch)
    return [inputs for inputs, _ in loader.batches()]


def update(audit: PseudoAudit, batch: dict[str, np.ndarray], **more: Any) -> None:
    says = dict(zip(audit.roles, batch["says"].transpose(1, 0, 2), strict=False))
    targets = {role: own.argmax(axis=-1).astype("int32") for role, own in says.items()}
    accepted = {role: (own.max(axis=-1) >= np.float32(THRESHOLD)).astype("float32") for role, own in says.items()}
    audit.update_state(targets, accepted, batch["truth"], **more)


def assert_rows(found: list[dict[str, Any]], expected: dict[str, Any], epoch: int) -> None:
    assert [(row["network"], row["class"]) for row in found] == [(role, CLASSES[k]) for role, k in expected]
    for row, ((_, _), counts) in zip(found, expected.items(), strict=True):
        assert row["epoch"] == epoch
        assert {name: row[name] for name in counts} == counts
        assert row["precision"] == (counts["correct"] / counts["given_known"] if counts["given_known"] else None)
        assert row["recall"] == (counts["correct"] / counts["clips"] if counts["clips"] else None)


@pytest.mark.parametrize("roles", [ROLES[:1], ROLES])
def test_every_number_is_the_one_that_loops_count(roles: tuple[str, ...]) -> None:
    rng = np.random.default_rng(3)
    batches = [pseudo_program.made_up(rng, count) for count in (7, 1, 12)]
    audit = PseudoAudit(3, roles)
    for batch in batches:
        update(audit, batch)
    expected = counted(batches, roles)
    result = audit.result()
    assert set(result) == set(audit.result_names) == set(expected["numbers"])
    for name, value in expected["numbers"].items():
        assert float(result[name]) == pytest.approx(value), name
    assert 0 < expected["numbers"]["pseudo_precision"] < 1
    assert_rows(audit.rows(4, CLASSES), expected["rows"], 4)


def test_agreement_is_about_what_networks_say_whatever_they_teach() -> None:
    """Class thresholds or a teacher may make the pseudo-labels others than the networks' own answers."""
    audit = PseudoAudit(3, ROLES)
    audit.update_state(
        targets={"primary": np.array([0, 1, 2, 0]), "auxiliary": np.array([0, 1, 2, 0])},
        accepted=dict.fromkeys(ROLES, np.zeros(4, "float32")),
        truth=np.zeros((4, 3), "float32"),
        predictions={"primary": np.array([0, 1, 2, 0]), "auxiliary": np.array([1, 1, 1, 1])},
    )
    assert {name: float(value) for name, value in audit.result().items()} == {
        **dict.fromkeys(NAMES, 0.0),
        "agreement": 0.25,
    }


def test_unknown_truth_counts_in_the_share_alone() -> None:
    audit = PseudoAudit(2)
    audit.update_state(
        targets={"primary": np.array([0, 1, 1])},
        accepted={"primary": np.ones(3, "float32")},
        truth=np.array([[1, 0], [0, 0], [1, 0]], "float32"),
    )
    result = {name: float(value) for name, value in audit.result().items()}
    assert result == {"pseudo_share": 1.0, "pseudo_precision": 0.5}
    first, second = audit.rows(1, ("a", "b"))
    assert (first["clips"], first["given"], first["correct"], first["precision"]) == (2, 1, 1, 1.0)
    assert (second["clips"], second["given"], second["given_known"], second["precision"]) == (0, 2, 1, 0.0)
    assert second["recall"] is None


def test_nothing_yet_and_nothing_again() -> None:
    audit = PseudoAudit(3, ROLES)
    for _ in range(2):
        assert {name: float(value) for name, value in audit.result().items()} == dict.fromkeys(NAMES, 0.0)
        assert all(row["precision"] is None and row["recall"] is None for row in audit.rows(1, CLASSES))
        update(audit, pseudo_program.made_up(np.random.default_rng(0), 9))
        assert float(audit.result()["pseudo_share"]) > 0
        audit.reset_state()


def test_counts_do_not_follow_the_precision_of_training() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    audit = PseudoAudit(2)
    for _ in range(3):
        audit.update_state(
            {"primary": np.zeros(1500, "int32")},
            {"primary": np.ones(1500, "float16")},
            np.tile(np.array([[1, 0]], "float16"), (1500, 1)),
        )
    assert audit.rows(1, ("a", "b"))[0]["correct"] == 4500


def test_it_can_be_made_again_from_its_config() -> None:
    again = PseudoAudit.from_config(PseudoAudit(5, ROLES, name="mine").get_config())
    assert (again.classes, again.roles, again.name) == (5, ROLES, "mine")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return pseudo_program.train(tmp_path_factory.mktemp("undisturbed"))


def assert_as_counted(folder: Path) -> None:
    rows, history = read_pseudo_labels(folder / "pseudo_labels.csv"), report.read_history(folder / "history.csv")
    assert len(history) == EPOCHS
    assert len(rows) == EPOCHS * len(ROLES) * len(CLASSES)
    for epoch in range(EPOCHS):
        expected = counted(shown_in(epoch))
        assert_rows([row for row in rows if row["epoch"] == epoch + 1], expected["rows"], epoch + 1)
        for name in NAMES:
            assert history[epoch][name] == pytest.approx(expected["numbers"][name], abs=1e-6), (epoch, name)


def test_training_counts_each_epoch_by_itself(undisturbed: RunDirectory) -> None:
    assert_as_counted(undisturbed.path)


def tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def single(value: float) -> float:
    """Return a number as an event file keeps it."""
    return float(np.float32(value))


def assert_charted(run: RunDirectory) -> None:
    found, rows = tensorboard(run.tensorboard / "pseudo_labels"), read_pseudo_labels(run.pseudo_labels)
    for role, prefix in zip(ROLES, ("", "auxiliary_"), strict=True):
        for name in CLASSES:
            mine = [row for row in rows if row["network"] == role and row["class"] == name]
            precise = [(row["epoch"], single(row["precision"])) for row in mine if row["precision"] is not None]
            above = [(row["epoch"], single(row["accepted_of_class"] / row["clips"])) for row in mine if row["clips"]]
            assert found[f"{prefix}pseudo_precision/{name}"] == precise
            assert found[f"{prefix}pseudo_share/{name}"] == above
    assert len(found) == 2 * len(ROLES) * len(CLASSES)
    history = report.read_history(run.history)
    scalars = tensorboard(run.tensorboard)
    assert scalars["train/agreement"] == [(row["epoch"], single(row["agreement"])) for row in history]


def test_tensorboard_shows_the_classes_and_the_whole(undisturbed: RunDirectory) -> None:
    assert_charted(undisturbed)


def test_a_cut_in_every_epoch_leaves_no_trace(undisturbed: RunDirectory, tmp_path: Path) -> None:
    for cut in ((0, 3), (1, 0), (2, 4)):
        with pytest.raises(Exception, match="PowerCutError"):
            pseudo_program.train(tmp_path, cut=cut)
        time.sleep(1.1)  # event files are named by the second
    run = pseudo_program.train(tmp_path)
    assert len(list(tmp_path.glob("run-*"))) == 1
    assert_same_files(undisturbed, run)
    assert_charted(run)


def test_a_cut_after_the_audit_and_before_the_state(
    undisturbed: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the lost epoch stand in the file then, and go when the epoch begins again."""
    original = callbacks.Checkpoints.save_state

    def cut(self: Any, model: Any, progress: Any) -> Any:
        if progress.epochs == 2:
            raise PowerCutError
        return original(self, model, progress)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "save_state", cut)
        with pytest.raises(PowerCutError):
            pseudo_program.train(tmp_path)
    time.sleep(1.1)
    (path,) = tmp_path.glob("run-*/pseudo_labels.csv")
    assert {row["epoch"] for row in read_pseudo_labels(path)} == {1, 2}
    with pytest.raises(Exception, match="PowerCutError"):
        pseudo_program.train(tmp_path, cut=(1, 0))
    assert {row["epoch"] for row in read_pseudo_labels(path)} == {1}
    time.sleep(1.1)
    run = pseudo_program.train(tmp_path)
    assert_same_files(undisturbed, run)
    assert_charted(run)


def test_training_in_parts_gives_the_same_file(undisturbed: RunDirectory, tmp_path: Path) -> None:
    assert_same_files(undisturbed, pseudo_program.train(tmp_path, parts=(1, 2)))


def assert_same_files(first: RunDirectory, second: RunDirectory) -> None:
    for name in ("pseudo_labels.csv", "history.csv"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name


def test_without_tensorboard_and_with_many_classes(tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(60)]
    every = np.arange(60, dtype="int32")
    for wanted in (False, True):
        audit = PseudoAudit(60)
        audit.update_state({"primary": every}, {"primary": np.ones(60, "float32")}, np.eye(60, dtype="float32"))
        config = toys.make_config(tmp_path / str(wanted), logging={"tensorboard": wanted})
        with RunDirectory.create(config, toys.make_manifest(tmp_path)) as run:
            keep = KeepAudit(audit, names, run)
            keep.on_train_begin()
            keep.on_epoch_begin(0)
            keep.on_test_begin()
            keep.on_train_end()
        assert len(read_pseudo_labels(run.pseudo_labels)) == 60
        assert run.tensorboard.exists() == wanted
    assert len(tensorboard(run.tensorboard / "pseudo_labels")) == 2 * 50


def test_a_name_with_its_group_is_a_tag_as_it_is(tmp_path: Path) -> None:
    logger = loggers.TensorBoardLogger(tmp_path, 1)
    logger.log(1, {"pseudo_share/sit / down": 0.5, "pseudo_share": 0.25})
    logger.close()
    assert tensorboard(tmp_path) == {"pseudo_share/sit / down": [(1, 0.5)], "train/pseudo_share": [(1, 0.25)]}


def start(output: Path, *arguments: str, **environment: str) -> None:
    changed = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, str(PROGRAM), str(output), *arguments]
    done = subprocess.run(command, env=changed, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_two_devices_count_together(undisturbed: RunDirectory, tmp_path: Path) -> None:
    start(tmp_path, "2", CUDA_VISIBLE_DEVICES="")
    (folder,) = tmp_path.glob("run-*")
    assert_as_counted(folder)
    assert (folder / "pseudo_labels.csv").read_bytes() == (undisturbed.path / "pseudo_labels.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_other_backends(undisturbed: RunDirectory, tmp_path: Path, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    start(tmp_path, KERAS_BACKEND=backend)
    (folder,) = tmp_path.glob("run-*")
    assert_as_counted(folder)
    assert (folder / "pseudo_labels.csv").read_bytes() == (undisturbed.path / "pseudo_labels.csv").read_bytes()
