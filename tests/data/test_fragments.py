"""Which videos stand for their class in a repository."""

from __future__ import annotations

from collections import Counter

from keras_actrec.data.fragments import choose
from keras_actrec.data.manifest import Clip


def clips(**counts: int) -> list[Clip]:
    return [Clip(f"{label}/{number}.avi", label, "train") for label, count in counts.items() for number in range(count)]


def test_so_many_of_each_class_or_all() -> None:
    chosen = choose(clips(a=9, b=3, c=2), 3, seed=0)
    assert Counter(clip.label for clip in chosen) == {"a": 3, "b": 3, "c": 2}
    assert len(set(chosen)) == 8
    assert list(chosen) == sorted(chosen, key=clips(a=9, b=3, c=2).index)


def test_seeded() -> None:
    assert choose(clips(a=50), 5, seed=1) == choose(clips(a=50), 5, seed=1)
    assert choose(clips(a=50), 5, seed=1) != choose(clips(a=50), 5, seed=2)


def test_other_classes_change_nothing() -> None:
    alone = choose(clips(b=20), 4, seed=3)
    assert tuple(clip for clip in choose(clips(a=7, b=20, c=9), 4, seed=3) if clip.label == "b") == alone


def test_a_clip_without_a_label_stands_for_nothing() -> None:
    assert choose([Clip("x.avi", None, "train")], 3, seed=0) == ()
