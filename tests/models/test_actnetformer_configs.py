"""The configs of ActNetFormer: a file for each cell of its Tables 1 and 2 that this code can run, with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keras_actrec import models
from keras_actrec.config import RunConfig, load_config

ROOT = Path(__file__).parent.parent.parent
PAPER = ROOT / "configs" / "papers" / "actnetformer"
TABLE_1 = {
    # row: UCF-101 1 %, 10 %, Kinetics-400 1 %, 10 %
    "fixmatch": (14.8, 49.8, 8.6, 46.9),
    "cmpl": (25.1, 79.1, 17.6, 58.4),
    "without_contrastive": (26.1, 80.0, 18.3, 59.2),
    "actnetformer": (27.6, 80.6, 19.1, 59.8),
}
TABLE_2 = {
    # row: UCF-101 1 %, Kinetics-400 1 %; cmpl and without_contrastive stand in both tables
    "vit_b_vit_s": (19.2, 13.1),
    "vit_b_resnet_b": (20.9, 13.9),
    "vit_b_resnet_s": (21.1, 14.6),
    "resnet_b_vit_b": (23.7, 16.9),
    "cmpl": (25.1, 17.6),
    "without_contrastive": (26.1, 18.3),
}
SETTINGS = ("ucf101_1", "ucf101_10", "kinetics_1", "kinetics_10")
TABLES = ((SETTINGS, TABLE_1), (SETTINGS[::2], TABLE_2))
CELLS = {
    f"{setting}_{row}": claim
    for settings, table in TABLES
    for row, claims in table.items()
    for setting, claim in zip(settings, claims, strict=True)
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet_b": ("r3d_50", {}),
    "resnet_s": ("r3d_18", {}),
    "vit_b": ("timesformer", {}),
    "vit_s": ("timesformer", {"width": 384, "heads": 6}),
}
PAIRS = {
    **{"fixmatch": ("resnet_b", None), "cmpl": ("resnet_b", "resnet_s"), "actnetformer": ("resnet_b", "vit_s")},
    **{"without_contrastive": ("resnet_b", "vit_s"), "resnet_b_vit_b": ("resnet_b", "vit_b")},
    **{f"vit_b_{name}": ("vit_b", name) for name in ("vit_s", "resnet_b", "resnet_s")},
}
every_cell = pytest.mark.parametrize("stem", sorted(CELLS))


def load(stem: str) -> RunConfig:
    return load_config(PAPER / f"{stem}.yaml")


def row_of(stem: str) -> str:
    return stem.split("_", 2)[2]


def test_there_is_a_file_for_each_cell() -> None:
    assert sorted(path.stem for path in PAPER.glob("*.yaml")) == sorted(CELLS)
    assert len(CELLS) == 4 * 4 + 2 * 4


@every_cell
def test_the_header_states_the_published_number(stem: str) -> None:
    text = (PAPER / f"{stem}.yaml").read_text()
    assert f"(paper: {CELLS[stem]} %)" in text
    assert "# Table 2" in text if row_of(stem) not in TABLE_1 else "# Table 1" in text
    shared = row_of(stem) in ("cmpl", "without_contrastive") and "_1_" in stem
    assert ("(Table 2, too" in text) == shared


@every_cell
def test_both_networks_are_the_rows(stem: str) -> None:
    config = load(stem)
    primary, second = PAIRS[row_of(stem)]
    assert (config.model.name, config.model.options) == NETWORKS[primary]
    auxiliary = config.training.semi_supervised.auxiliary
    if second is None:
        assert auxiliary is None
        return
    assert (auxiliary.model.name, auxiliary.model.options) == NETWORKS[second]
    shape = {"frames": auxiliary.frames, "size": auxiliary.size or config.data.size}
    made = models.make_config(auxiliary.model.name, 400, **shape, **auxiliary.model.options)
    assert (made.frames, made.size) == (16, 224)
    assert getattr(made, "attention", "divided") == "divided"
    assert getattr(made, "depth", 12) == 12
    assert getattr(made, "weights", "none") == "none", "trained from scratch"


@every_cell
def test_the_auxiliary_network_sees_the_same_stretch_at_a_higher_rate(stem: str) -> None:
    config = load(stem)
    auxiliary = config.training.semi_supervised.auxiliary
    if auxiliary is not None:
        assert auxiliary.stride < config.data.stride
        assert auxiliary.frames * auxiliary.stride == config.data.frames * config.data.stride == 64


@every_cell
def test_settings_of_the_paper(stem: str) -> None:
    config = load(stem)
    training, semi, row = config.training, config.training.semi_supervised, row_of(stem)
    assert (semi.unlabelled_ratio, semi.threshold, semi.pseudo_weight) == (5, 0.8, 2)
    assert (semi.contrastive_weight, semi.temperature) == (2 if row == "actnetformer" else 0, 0.5)
    assert (semi.teacher, semi.alignment, semi.class_thresholds) == (0, False, False)
    assert training.epochs == (200 if row in ("cmpl", "fixmatch") else 250)
    assert (training.optimizer.name, training.optimizer.momentum, training.select_by) == ("sgd", 0.9, "last")
    evaluation = config.evaluation
    assert (evaluation.clips, evaluation.crops, evaluation.baseline, evaluation.ensemble) == (5, 3, False, False)
    assert (config.data.frames, config.data.size) == (8, 224)
    labels = {"ucf101_1": 1, "ucf101_10": 10, "kinetics_1": 6, "kinetics_10": 60}
    assert config.data.labels.per_class == labels["_".join(stem.split("_")[:2])]
    assert config.name == f"actnetformer-{stem.replace('_', '-')}"


@every_cell
def test_strong_views_begin_with_the_weak_ones(stem: str) -> None:
    config = load(stem)
    weak, strong = config.data.augmentation, config.training.semi_supervised.strong
    assert (weak.flip, weak.resized_crop, weak.auto_augment, weak.patch_dropout) == (0.5, 0.49, False, 0)
    more = {"auto_augment": True, "patch_dropout": 0.2, "rand_augment": 0}
    assert strong == weak.model_copy(update=more)


@pytest.mark.parametrize("setting", SETTINGS)
def test_contrastive_learning_is_compared_with_nothing_else_changed(setting: str) -> None:
    ours, plain = (load(f"{setting}_{row}").model_dump() for row in ("actnetformer", "without_contrastive"))
    semi = ours["training"]["semi_supervised"], plain["training"]["semi_supervised"]
    assert [part.pop("contrastive_weight") for part in semi] == [2, 0]
    assert ours.pop("name") != plain.pop("name")
    assert ours == plain


@pytest.mark.parametrize("setting", SETTINGS[::2])
def test_pairs_differ_in_their_networks_alone(setting: str) -> None:
    documents = []
    for row in [name for name in TABLE_2 if name != "cmpl"]:
        document = load(f"{setting}_{row}").model_dump(exclude={"name", "model"})
        document["training"]["semi_supervised"]["auxiliary"].pop("model")
        documents.append(document)
    assert all(document == documents[0] for document in documents[1:])


@pytest.mark.parametrize("stem", [stem for stem in sorted(CELLS) if stem.endswith("actnetformer")])
def test_a_published_list_takes_the_place_of_the_draw(stem: str) -> None:
    """As the header says."""
    words = "data.labels.per_class=null data.labels.list=FILE"
    path = PAPER / f"{stem}.yaml"
    assert words in " ".join(line.removeprefix("# ") for line in path.read_text().splitlines())
    labels = load_config(path, words.split()).data.labels
    assert (labels.per_class, labels.list) == (None, "FILE")


def test_the_small_transformer_has_a_quarter_of_the_large_ones_weights() -> None:
    """Of TimeSformer-B's 121.6 M with 400 classes: weights go with the square of the width."""
    name, options = NETWORKS["vit_s"]
    weights = models.build_model(name, 400, frames=16, size=224, **options).count_params()
    assert 121.6 / 4 < weights / 1e6 < 121.6 / 4 + 1
