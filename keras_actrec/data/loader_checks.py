"""What a loader is asked for, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from keras_actrec.data import randaugment
from keras_actrec.data.manifest import Clip
from keras_actrec.data.normalization import BGR_MEANS, STANDARDISED
from keras_actrec.data.views import View
from keras_actrec.errors import UserError, did_you_mean


def check(clips: Sequence[Clip], classes: Sequence[str], views: Sequence[View], batch_size: int) -> None:
    """Raise a UserError unless these clips can be loaded so (see `Loader`)."""
    if not clips:
        raise UserError("there are no clips in this split; check the manifest and the fractions that are held out.")
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, got {batch_size}.")
    if not views or len({view.name for view in views}) < len(views):
        raise UserError(f"expected views with different names, got {[view.name for view in views]}.")
    if len({view.instances for view in views}) > 1 or views[0].instances < 1:
        given = [view.instances for view in views]
        raise UserError(f"all views of a clip make the same number of examples of it, at least 1; got {given}.")
    for view in views:
        _check_view(view)
    known = set(classes)
    for clip in clips:
        if clip.label is not None and clip.split != "unknown" and clip.label not in known:
            near = did_you_mean(clip.label, classes)
            raise UserError(f"{clip.path}: the label '{clip.label}' is none of the {len(classes)} classes.{near}")


def _check_view(view: View) -> None:
    if view.crops != 1 and view.fit != "crop":
        raise UserError(f"view '{view.name}': {view.crops} crops want fit: crop, got fit: {view.fit}.")
    if view.modality == "depth" and (view.normalization in STANDARDISED or view.normalization in BGR_MEANS):
        raise UserError(
            f"view '{view.name}': depth has one channel and no colour mean; expected the normalisation zero_one, "
            f"minus_one_one or none, got {view.normalization}."
        )
    if view.augmentation is not None and view.augmentation.rand_augment:
        randaugment.require()
