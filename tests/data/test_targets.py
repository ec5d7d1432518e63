"""Verb and noun of a clip as heads of their own."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.targets import targets_of
from keras_actrec.errors import UserError

tf = pytest.importorskip("tensorflow")

from numbered import FakeSource, epoch_of, loader  # noqa: E402

CLIPS = (
    Clip("a.mp4", "open door", "train", verb="open", noun="door"),
    Clip("b.mp4", "close door", "train", verb="close", noun="door"),
    Clip("c.mp4", "open box", "test", verb="open", noun="box"),
)


def manifest(*clips: Clip, **lists: tuple[str, ...]) -> Manifest:
    return Manifest.from_clips("kitchen", ".", 1, clips or CLIPS, **lists)


def test_classes_are_those_of_the_labelled_clips_and_know_their_actions() -> None:
    verb, noun = targets_of(manifest(), "verb_noun")
    assert (verb.name, verb.classes, noun.name, noun.classes) == ("verb", ("close", "open"), "noun", ("box", "door"))
    # Actions are sorted by name: close door, open box, open door.
    assert (verb.of_class, noun.of_class) == ((0, 1, 1), (1, 0, 1))
    assert verb.numbers(CLIPS).tolist() == [1, 0, 1] and noun.numbers(CLIPS).tolist() == [1, 1, 0]
    assert targets_of(manifest(), "label") == ()


def test_official_lists_decide_order_and_width() -> None:
    verb, noun = targets_of(manifest(verbs=("open", "close", "wash"), nouns=("door", "box", "pan", "cup")), "verb_noun")
    assert (verb.classes, len(noun.classes)) == (("open", "close", "wash"), 4)
    assert verb.numbers(CLIPS).tolist() == [0, 1, 0] and verb.of_class == (1, 0, 0)


@pytest.mark.parametrize(
    ("changes", "lists", "message"),
    [
        ({"verb": None}, {}, "a.mp4 has no verb"),
        ({"label": "close door"}, {}, "b.mp4: 'close door' has the verb 'close' here, 'open' elsewhere"),
        ({}, {"verbs": ("open",)}, "the verb 'close' of a clip is not in the data set's own list of 1"),
    ],
)
def test_mistakes(changes: dict[str, str | None], lists: dict[str, tuple[str, ...]], message: str) -> None:
    other = dataclasses.replace(CLIPS[0], **changes)
    with pytest.raises(UserError, match=message):
        targets_of(manifest(other, *CLIPS[1:], **lists), "verb_noun")


def test_lists_are_kept_and_hashed_but_change_no_hash_where_there_are_none() -> None:
    with_lists = manifest(verbs=("open", "close"), nouns=("door", "box"))
    again = Manifest.from_json(with_lists.to_json(), Path())
    assert again == dataclasses.replace(with_lists, root=Path()) and again.hash == with_lists.hash
    assert with_lists.hash != manifest().hash and "verbs" not in manifest().to_json()


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_batches_have_a_label_for_each_head(mixup: float) -> None:
    """The noun of a clip is its label, so that the noun's head must get what a single head gets."""
    clips = [
        dataclasses.replace(clip, verb=f"v{index % 2}", noun=clip.label) for index, clip in enumerate(loader().clips)
    ]
    named = [dataclasses.replace(clip, label=f"{clip.verb} {clip.noun}") for clip in clips]
    targets = targets_of(Manifest.from_clips("x", ".", 1, named), "verb_noun")
    two = loader(clips, source=FakeSource(), targets=targets, mixup=mixup)
    spec = two.dataset().element_spec[1]
    assert {name: part.shape.as_list() for name, part in spec.items()} == {"verb": [None, 2], "noun": [None, 3]}
    one = loader(source=FakeSource(), mixup=mixup)
    for (inputs, labels), (same, both) in zip(epoch_of(one, 1), epoch_of(two, 1), strict=True):
        assert all((inputs[name] == same[name]).all() for name in inputs)
        np.testing.assert_allclose(both["noun"], labels)
        np.testing.assert_allclose(both["verb"].sum(axis=1), 1, rtol=1e-6)
