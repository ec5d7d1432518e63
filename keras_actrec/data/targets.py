"""What a network is to tell of a clip: its label, or several things at once, each with classes of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError

PARTS = {"label": (), "verb_noun": ("verb", "noun")}
"""Value of `data.targets` -> columns of the manifest that get a head each; none: one head for the label."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One of several things that are told of a clip.

    Attributes:
        name: of the head, and of the manifest's column.
        classes: names in the order of the head's outputs.
        of_class: for each class of the data set, the number of its part among `classes`.
    """

    name: str
    classes: tuple[str, ...]
    of_class: tuple[int, ...]

    def numbers(self, clips: Sequence[Clip]) -> np.ndarray:
        """Return the class of each clip, int64 (N,); -1 for a clip that has none.

        Raises:
            UserError: a clip's name is none of the classes.
        """
        position = {name: index for index, name in enumerate(self.classes)}
        names = [clip[self.name] for clip in clips]
        for clip, name in zip(clips, names, strict=True):
            if name is not None and name not in position:
                raise UserError(f"{clip.path}: the {self.name} '{name}' is none of the {len(position)} that are known.")
        return np.array([-1 if name is None else position[name] for name in names], np.int64)


def targets_of(manifest: Manifest, kind: str) -> tuple[Target, ...]:
    """Return the heads that `data.targets` asks for; nothing where one head tells the label.

    The classes are those that the data set's own list names, or else those of its labelled clips.

    Raises:
        UserError: a clip that has a label lacks its verb or its noun, or one that its like does not have.
    """
    labelled = [clip for clip in manifest.clips if clip.label is not None and clip.split != "unknown"]
    return tuple(_target(manifest, name, labelled) for name in PARTS[kind])


def _target(manifest: Manifest, name: str, clips: Sequence[Clip]) -> Target:
    classes = _classes(manifest, name, clips)
    parts: dict[str | None, str] = {}
    for clip in clips:
        if parts.setdefault(clip.label, clip[name]) != clip[name]:
            raise UserError(
                f"{clip.path}: '{clip.label}' has the {name} '{clip[name]}' here, '{parts[clip.label]}' elsewhere; "
                "each label must have one verb and one noun."
            )
    return Target(name, classes, tuple(classes.index(parts[label]) for label in manifest.classes))


def _classes(manifest: Manifest, name: str, clips: Sequence[Clip]) -> tuple[str, ...]:
    for clip in clips:
        if not clip[name]:
            raise UserError(
                f"data.targets: verb_noun wants a verb and a noun for each clip, {clip.path} has no {name}; add the "
                "columns verb and noun to the manifest, or set data.targets: label."
            )
    found = {clip[name] for clip in clips}
    listed = {"verb": manifest.verbs, "noun": manifest.nouns}[name]
    if listed and not found <= set(listed):
        stranger = min(found - set(listed))
        raise UserError(f"the {name} '{stranger}' of a clip is not in the data set's own list of {len(listed)}.")
    return listed or tuple(sorted(found))
