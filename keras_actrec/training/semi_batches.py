"""Batches of labelled and unlabelled clips side by side, with weak and strong views of the unlabelled ones.

All views of a clip, for both networks, are cut from one decode. The arrays of the r unlabelled clips that go with each
labelled one have the shape (B, r, ...), so that each array of a batch has B rows and several devices can share it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_actrec.config import TrainingConfig
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.training.inputs import Inputs

LABEL, TRUTH = "label", "truth"
"""Names of what is told of a batch: the labels, and the truth about unlabelled clips, which only the audit looks at."""
INDEX = "unlabelled_index"
_UNLABELLED, _STRONG = "unlabelled_", "strong_"


def weak_name(name: str) -> str:
    """Return the name of the weak view of unlabelled clips that belongs to a view of labelled ones."""
    return _UNLABELLED + name


def strong_name(name: str) -> str:
    """Return the name of the strong view of unlabelled clips that belongs to a view of labelled ones."""
    return _UNLABELLED + _STRONG + name


class SemiBatches:
    """Training batches, with the interface of `data.pipeline.Loader`.

    Args:
        labelled: goes round its clips, B of them a batch; its last batch is whole.
        unlabelled: gives r x B clips a batch, weak views and strong ones (named "strong_..."); None where unlabelled
            clips have no part in the loss: then none is decoded.
        ratio: r.
    """

    def __init__(self, labelled: Loader, unlabelled: Loader | None, ratio: int) -> None:
        self._labelled, self._unlabelled, self._ratio = labelled, unlabelled, ratio

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self._labelled.steps

    @property
    def failure(self) -> Exception | None:
        """The first error of a worker that was not an unreadable video."""
        return self._labelled.failure or (self._unlabelled and self._unlabelled.failure)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order and random changes the next iteration shows."""
        for loader in self._loaders:
            loader.set_epoch(epoch)

    def dataset(self) -> tf.data.Dataset:
        """Return the batches.

        Returns:
            Data set of ({view: float32 (B, T, H, W, C), "unlabelled_<view>" and "unlabelled_strong_<view>": (B, r, T,
            H, W, C), "unlabelled_index": int32 (B, r)}, {"label": one-hot (B, K), "truth": one-hot or zeros (B, r,
            K)}); of ({view: ...}, {"label": ...}) alone where unlabelled clips have no part.
        """
        if self._unlabelled is None:
            return self._labelled.dataset().map(lambda inputs, labels: (inputs, {LABEL: labels}))
        both = self._labelled.dataset(drop_remainder=True), self._unlabelled.dataset(indexed=True, drop_remainder=True)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return tf.data.Dataset.zip(both).map(self._merge).with_options(options)

    @property
    def _loaders(self) -> tuple[Loader, ...]:
        return (self._labelled,) if self._unlabelled is None else (self._labelled, self._unlabelled)

    @tf.autograph.experimental.do_not_convert
    def _merge(self, labelled: tuple[Any, ...], unlabelled: tuple[Any, ...]) -> tuple[dict, dict]:
        inputs, labels = labelled
        others, truth, indices = tf.nest.map_structure(self._in_rows, unlabelled)
        others = {_UNLABELLED + name: array for name, array in others.items()}
        return {**inputs, **others, INDEX: indices}, {LABEL: labels, TRUTH: truth}

    def _in_rows(self, array: tf.Tensor) -> tf.Tensor:
        """Reshape (B r, ...) to (B, r, ...)."""
        return tf.reshape(array, (-1, self._ratio, *array.shape[1:]))


def training_batches(networks: Mapping[str, Inputs]) -> SemiBatches:
    """Return the training batches of one network or two.

    Args:
        networks: what each reads, by the prefix of its views' names: "" for the primary one.

    Raises:
        UserError: no clip has kept its label, or none is unlabelled.
    """
    data = networks[""]
    settings, semi = data.config.training, data.config.training.semi_supervised
    steps = steps_per_epoch(settings, data.manifest)
    examples, ratio = steps * settings.batch_size, semi.unlabelled_ratio
    weak = _views(networks, augmentation=data.config.data.augmentation.draws())
    labelled = data.loader("train", weak, shuffle=True, examples=examples)
    if not semi.unlabelled_used:
        return SemiBatches(labelled, None, ratio)
    strong = _views(networks, _STRONG, augmentation=semi.strong.draws())
    unlabelled = data.loader(
        "unlabelled",
        weak + strong,
        shuffle=True,
        examples=examples * ratio,
        batch_size=settings.batch_size * ratio,
    )
    return SemiBatches(labelled, unlabelled, ratio)


def validation_batches(networks: Mapping[str, Inputs]) -> Loader:
    """Return one deterministic view of each validation clip for each network."""
    return networks[""].loader("validation", _views(networks))


def steps_per_epoch(settings: TrainingConfig, manifest: Manifest) -> int:
    """Return the batches of an epoch: as configured, or as many as show each unlabelled clip once."""
    semi, clips = settings.semi_supervised, len(manifest.split("unlabelled"))
    if not clips:
        raise UserError(
            f"training.semi_supervised: '{manifest.name}' has no unlabelled clips. Keep the labels of "
            "some clips only (such as data.labels.per_class: 5), or give clips the split 'unlabelled' in the manifest."
        )
    return settings.steps_per_epoch or -(-clips // (settings.batch_size * semi.unlabelled_ratio))


def _views(networks: Mapping[str, Inputs], kind: str = "", **changes: Any) -> tuple[View, ...]:
    """Return the views of all networks, named <kind><prefix of the network><name>."""
    return tuple(
        dataclasses.replace(view, name=kind + prefix + view.name)
        for prefix, data in networks.items()
        for view in data.views(**changes)
    )
