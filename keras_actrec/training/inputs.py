"""What a run reads: the manifest, where its frames come from, and one loader for each purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.config import RepositoryConfig, RunConfig
from keras_actrec.data import fragments, wanted
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import FrameSource
from keras_actrec.data.targets import Target, targets_of
from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.training import datasets


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The data of one run.

    Attributes:
        config: of the run.
        manifest: all clips of the fold.
        source: gives the frames of a clip.
        quarantine: collects the clips that cannot be read.
        normalization: what the network's backbone expects (a `data.views.Normalization`).
        boxes: how many clips have their person boxes from where, when clips are tailored.
    """

    config: RunConfig
    manifest: Manifest
    source: FrameSource
    quarantine: Quarantine
    normalization: str
    boxes: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is told of a clip where that is more than its label."""
        return targets_of(self.manifest, self.config.data.targets)

    def views(self, **changes: Any) -> tuple[View, ...]:
        """Return the plain, deterministic views of a video, one for each modality, with changes to all of them."""
        plain = wanted.plain_views(self.config.data, self.normalization)
        return tuple(dataclasses.replace(view, **changes) for view in plain)

    def training(self) -> Loader:
        """Return shuffled, augmented batches of the training split."""
        data, augmentation, settings = self.config.data, self.config.data.augmentation, self.config.training
        views = self.views(augmentation=augmentation.draws(), instances=data.instances)
        per_class = settings.metric.clips_per_class if settings.objective != "cross_entropy" else 0
        return self.loader(
            "train",
            views,
            shuffle=True,
            mixup=augmentation.mixup,
            clips_per_class=per_class,
            examples=settings.steps_per_epoch * settings.batch_size,
        )

    def fragments(self) -> Loader:
        """Return the training videos whose codes make the repository: up to w of each class, p views of each."""
        settings = self.config.training.repository or RepositoryConfig()
        chosen = fragments.choose(self.manifest.split("train"), settings.fragments, self.config.seed)
        return self.loader("train", self.views(clips=settings.passes), clips=chosen)

    def plain(self, split: str) -> Loader:
        """Return one deterministic view of each clip of a split, for validation and for cached features."""
        return self.loader(split, self.views())

    def evaluation(self, split: str, **changes: Any) -> Loader:
        """Return the clips and crops over which the numbers of a split are averaged; `changes` go to the views."""
        evaluation = self.config.evaluation
        views = self.views(**{"clips": evaluation.clips, "crops": evaluation.crops, **changes})
        return self.loader(split, views, batch_size=evaluation.batch_size)

    def loader(
        self,
        split: str,
        views: tuple[View, ...],
        *,
        clips: Sequence[Clip] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Loader:
        """Return a loader of some views of a split's clips, or of some of them.

        Args:
            split: of the manifest.
            views: what is taken of each clip.
            clips: which of them; None: all.
            batch_size: None: that of the run.
            **options: further arguments of `Loader`.
        """
        clips = self.manifest.split(split) if clips is None else clips
        if not clips:
            raise UserError(
                f"the data set '{self.manifest.name}' has no {split} clips in fold {self.manifest.fold}; "
                "check data.fold, data.test_fraction and data.validation_fraction."
            )
        return Loader(
            clips,
            self.manifest.classes,
            views,
            self.source,
            batch_size=batch_size or self.config.training.batch_size,
            seed=self.config.seed,
            quarantine=self.quarantine,
            workers=self.config.data.workers,
            targets=self.targets,
            **{"shuffle": False, **options},
        )


def open_inputs(config: RunConfig, manifest: Manifest, quarantine: Quarantine, normalization: str) -> Inputs:
    """Open the frames of a data set; a prepared cache that is asked for and not there yet is made first.

    Raises:
        UserError: depth is asked for, and no clip has any; or person boxes that cannot be had.
    """
    if "depth" in config.data.modalities and not any(clip.depth for clip in manifest.clips):
        raise UserError(
            f"data.modalities asks for depth, but no clip of '{manifest.name}' has a depth video; check data.root, or "
            "the manifest's column depth, or set data.modalities: [rgb]."
        )
    manifest, boxes = datasets.with_boxes(config.data, manifest)
    return Inputs(config, manifest, datasets.open_source(config.data, manifest), quarantine, normalization, boxes)
