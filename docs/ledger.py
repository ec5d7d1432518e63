"""The ledger of the papers: what they claim, our configuration of it, and what we measured, or why not.

    python docs/ledger.py --count    # count the operations of networks that are not yet in results/ledger-flops.json
    python docs/ledger.py --write    # write ledger.md

Everything on the page comes from the configurations in configs/papers: the claim and what a run needs from their first
comments, the rest from their fields. A comment that begins with "# Measured:" is what we measured. GPU hours are
estimated, by the rules that the page states.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config import DataConfig, RunConfig, parse_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "papers"
PAGE = ROOT / "docs" / "ledger.md"
COUNTS = ROOT / "docs" / "results" / "ledger-flops.json"

OPERATIONS_PER_SEC = 20e12
"""Sustained, of one GPU."""
TRAINING_PASSES = 3
"""Forward, and backward for inputs and for weights."""
CLASSES = 100
"""For which networks are counted: the classifier is a small part of any of them."""
WITHOUT_COST = r"weights$|dropout|noise|theta|residual|batch_norm|^position$|heads_share"
"""Options that do not change the number of operations, or hardly."""
PAPERS = {
    "pso_convnet_transformer": "PSO-ConvNet Transformer",
    "five_models": "Five models",
    "actnetformer": "ActNetFormer",
    "thesis_rpe_stdt": "Thesis, chapter 3: RPE-STDT",
    "thesis_ctn": "Thesis, chapter 4: CTN",
    "thesis_mfst": "Thesis, chapter 2: MFST",
    "ms3d": "MS3D",
}
"""Folder of a paper -> heading."""


@dataclasses.dataclass(frozen=True)
class Collection:
    """A published data set.

    Attributes:
        name: as its authors call it.
        train: clips in the training list (of the first split).
        test: in the list that is tested on.
    """

    name: str
    train: int
    test: int


# As the collections' own papers or lists count them.
COLLECTIONS = {
    "ucf101": Collection("UCF-101", 9537, 3783),
    "hmdb51": Collection("HMDB-51", 3570, 1530),
    "kinetics": Collection("Kinetics-400", 240436, 19796),
    "diving48": Collection("Diving48 (version 2)", 15027, 1970),
    "epic_kitchens_100": Collection("EPIC-Kitchens-100", 67217, 9668),
    "isogd": Collection("ChaLearn IsoGD", 35878, 5784),
    "ntu_rgbd cross_subject": Collection("NTU RGB+D (cross-subject)", 40320, 16560),
    "ntu_rgbd cross_view": Collection("NTU RGB+D (cross-view)", 37920, 18960),
    # What the paper says of its 20 classes.
    "datasets/kinetics400-top20": Collection("20 classes of Kinetics-400", 7114, 773),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        paper: its folder.
        path: of the configuration, relative to the repository.
        what: which table or section, and which row.
        claimed: the paper's numbers.
        needs: what a run needs that is not here; empty where it was run.
        measured: our numbers; empty where it was not run.
        config: the configuration.
        swarm: its section `swarm`; empty for an ordinary run.
    """

    paper: str
    path: str
    what: str
    claimed: str
    needs: str
    measured: str
    config: RunConfig
    swarm: Mapping[str, Any]


def read(path: Path) -> Row:
    """Read a configuration with its comments.

    Raises:
        ValueError: a comment is missing.
    """
    import yaml

    text = path.read_text(encoding="utf-8")
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    run = next((number for number, line in enumerate(comments) if line.startswith("Run: ")), None)
    if run is None:
        raise ValueError(f"{path} has no comment 'Run: ...'")
    document = yaml.safe_load(text)
    swarm = document.pop("swarm", {})
    needs, measured = (_sentence(comments, word) for word in ("Not run here: needs ", "Measured: "))
    if not needs and not measured:
        raise ValueError(f"{path} says neither 'Not run here: needs ...' nor 'Measured: ...'")
    return Row(
        paper=path.parent.name,
        path=path.relative_to(ROOT).as_posix(),
        what=" ".join(comments[1:run]).rstrip("."),
        claimed=_claimed(comments),
        needs=needs,
        measured=measured,
        config=parse_config(document),
        swarm=swarm,
    )


def _sentence(comments: Sequence[str], word: str) -> str:
    line = next((line for line in comments if line.startswith(word)), "")
    return line.removeprefix(word).rstrip(".")


def _claimed(comments: Sequence[str]) -> str:
    """Return the sentence that begins with "Claimed", over the lines that it takes."""
    start = next((number for number, line in enumerate(comments) if line.startswith("Claimed")), None)
    if start is None:
        return "nothing"
    said = ""
    for line in comments[start:]:
        said = f"{said} {line}".strip()
        sentence = re.match(r"(.*?)\.(?= [A-Z]|$)", said)
        if sentence:
            said = sentence.group(1)
            break
    return re.sub(r"^Claimed:? ?(, )?", "", said)


def rows() -> list[Row]:
    """Return all configurations of papers, in the order of `PAPERS` and of their names."""
    return [read(path) for paper in PAPERS for path in sorted((CONFIGS / paper).glob("*.yaml"))]


# --- Networks ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Network:
    """What decides how many operations a clip takes.

    Attributes:
        name: in the registry.
        data: section of the configuration that says frames and sizes.
        options: of the architecture.
    """

    name: str
    data: DataConfig
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name, and a digest of what changes the number of operations."""
        seen = [self.data.frames, self.data.size, self.data.modalities, self.data.tempos]
        counted = {name: value for name, value in self.options.items() if not re.search(WITHOUT_COST, name)}
        text = json.dumps([seen, counted], sort_keys=True, default=list)
        return f"{self.name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def networks(row: Row) -> list[Network]:
    """Return the networks that a run trains: one, or two that learn together."""
    config = row.config
    found = [Network(config.model.name, config.data, config.model.options)]
    semi = config.training.semi_supervised
    if semi is not None and semi.auxiliary is not None:
        data = config.data.model_copy(update=semi.auxiliary.data_changes)
        found.append(Network(semi.auxiliary.model.name, data, semi.auxiliary.model.options))
    return found


def collection(data: DataConfig) -> Collection:
    """Return the data set of a section `data`; one that was never published has the size of none."""
    keys = {"ntu_rgbd": f"{data.source} {data.protocol}", "manifest": data.root}
    return COLLECTIONS.get(keys.get(data.source, data.source), Collection("a data set like the authors'", 0, 0))


def count(network: Network) -> int:
    """Build a network, without weights, and count the operations of one forward pass of one clip."""
    import keras

    from keras_actrec import models
    from keras_actrec.evaluation import flops

    options = dict(network.options)
    if "weights" in [option.name for option in models.describe(network.name)]:
        options["weights"] = "none"
    config = models.make_config_for(network.name, CLASSES, network.data, options)
    total = flops.count(models.build_from_config(network.name, config)).total
    keras.backend.clear_session()
    return total


def update_counts() -> None:
    """Count what is missing in `COUNTS`, and drop what no configuration uses."""
    known = files.read_json(COUNTS) if COUNTS.exists() else {}
    wanted = {network.key: network for row in rows() for network in networks(row)}
    for key, network in wanted.items():
        if key not in known:
            known[key] = count(network)
            print(f"{key}: {known[key] / 1e9:.1f} GFLOP", flush=True)
            files.write_json(COUNTS, known)
    files.write_json(COUNTS, {key: known[key] for key in wanted})


# --- The estimate -----------------------------------------------------------------------------------------------------


def gpu_hours(row: Row, counts: Mapping[str, int]) -> float | None:
    """Estimate the hours of one GPU by the rules on the page.

    None where nobody knows how large the data set is, or where the network has not been counted.
    """
    config = row.config
    found = collection(config.data)
    if not found.train or any(network.key not in counts for network in networks(row)):
        return None
    costs = [counts[network.key] for network in networks(row)]
    training = _training(config, found, costs)
    if config.joint:  # the longest data set sets the length of an epoch, and each step has a batch of every one
        training *= 1 + len(config.joint)
    views = config.evaluation.clips * config.evaluation.crops
    total = training + found.test * views * costs[0]
    total *= row.swarm.get("particles", 1) * (3 if config.folds == "all" else 1)
    return total / OPERATIONS_PER_SEC / 3600


def _training(config: RunConfig, found: Collection, costs: Sequence[float]) -> float:
    """Return the operations of training and validation."""
    training = config.training
    fitted = found.train * (1 - config.data.validation_fraction)
    validated = found.train - fitted
    if training.regime == "transfer":
        return found.train * costs[0]
    if training.semi_supervised is None:
        clips = fitted * config.data.instances
        return training.epochs * (clips * TRAINING_PASSES + validated) * costs[0]
    # An epoch takes each unlabelled clip once: a weak view forward, a strong one there and back; beside them come
    # labelled clips, one to so many.
    labelled = 1 / training.semi_supervised.unlabelled_ratio
    passes = 1 + TRAINING_PASSES + labelled * TRAINING_PASSES
    return training.epochs * (fitted * passes + validated) * sum(costs)


# --- The page ---------------------------------------------------------------------------------------------------------

HEAD = f"""# The papers' numbers: a ledger

Made by `python docs/ledger.py --write` from the configurations in `configs/papers`, one row for each; a test compares
this page with what the script makes. "Claimed" is the papers' number, as the configuration quotes it. What we have not
run says what is missing. What was measured on the data set that ships is in [architectures.md](architectures.md),
[semi-supervised.md](semi-supervised.md) and [open-set.md](open-set.md); it is no stand-in for these rows.

GPU hours are an estimate, good for the order of magnitude: operations of one forward pass of one clip
(`keras_actrec.evaluation.flops`; a multiplication and an addition are two), times

- {TRAINING_PASSES} for a training step (forward, backward for inputs and for weights), 1 for validation and test;
- clips of the training list less what is held out for validation, once an epoch; validation clips once an epoch; test
  clips once, times clips and crops of `evaluation`;
- with a frozen backbone (`regime: transfer`) every clip of the training list once, as features are cached;
- with few labels: for each unlabelled clip a weak view forward and a strong one there and back, and
  1 / `unlabelled_ratio` labelled clips, through both networks;
- the data sets of a joint run (an epoch is as long as the longest), the folds of `folds: all`, a swarm's particles;

divided by {OPERATIONS_PER_SEC / 1e12:.0f} TFLOP/s, about an eighth of the peak of an NVIDIA A100 in TF32, as which
TensorFlow computes float32 there. Networks of many small layers, such as DenseNets, reach less. Networks are counted
for {CLASSES} classes. Decoding, baselines, other seeds and searches are not in it.

Sizes of the data sets: {{sizes}}.
"""


def page(found: Sequence[Row], counts: Mapping[str, int]) -> str:
    """Return the ledger as Markdown."""
    sizes = dict.fromkeys(
        f"{one.name} {one.train:,} training and {one.test:,} test clips" for one in COLLECTIONS.values()
    )
    parts = [HEAD.replace("{sizes}", "; ".join(sizes))]
    for paper, title in PAPERS.items():
        parts.append(
            "\n".join([f"## {title}", "", *_table([row for row in found if row.paper == paper], counts)]) + "\n"
        )
    return "\n".join(parts)


def _table(found: Sequence[Row], counts: Mapping[str, int]) -> Iterator[str]:
    yield "| row | claimed | configuration | ours |"
    yield "|---|---|---|---|"
    for row in found:
        name = Path(row.path).stem
        yield f"| {_cell(row.what)} | {_cell(row.claimed)} | [{name}](../{row.path}) | {_cell(_ours(row, counts))} |"


def _ours(row: Row, counts: Mapping[str, int]) -> str:
    if row.measured:
        return row.measured
    hours = gpu_hours(row, counts)
    names = " and ".join(dict.fromkeys(collection(data).name for data in (row.config.data, *row.config.joint)))
    needs = re.sub(r"such a data set|the data sets?", names, row.needs, count=1)
    estimate = "GPU hours not estimated" if hours is None else _rounded(hours)
    return f"not run: needs {needs}; {estimate}"


def _rounded(hours: float) -> str:
    """Say it with two significant digits: the estimate is no better."""
    return f"about {float(f'{hours:.2g}'):,g} GPU hours" if hours >= 0.1 else "less than 0.1 GPU hours"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(argv: Sequence[str] | None = None) -> int:
    """Count, write, or both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    if options.count:
        update_counts()
    if options.write:
        files.write_text(PAGE, page(rows(), files.read_json(COUNTS)))
        print(f"page: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
