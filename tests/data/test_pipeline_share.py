"""A loader that reads one share of each batch alone, for one of several processes that train together."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from numbered import PLAIN, FakeSource, epoch_of, loader  # noqa: E402

from keras_actrec.training.shares import Share  # noqa: E402


def own(index: int, source: FakeSource, filled: bool = False, **options: object) -> list:
    one = loader(views=(PLAIN,), source=source, **options)
    one.take_share(Share(index, 2, 2, filled))
    assert one.steps == 3
    return epoch_of(one, 3)


@pytest.mark.parametrize("filled", [False, True])
def test_shares_together_are_the_batches(filled: bool) -> None:
    """Eleven clips in batches of 4: the last batch of 3 is cut to 2, or read whole."""
    whole = epoch_of(loader(views=(PLAIN,)), 3)
    sources = FakeSource(), FakeSource()
    first, second = (own(index, source, filled) for index, source in enumerate(sources))
    assert [len(labels) for _, labels in first] == ([2, 2, 2] if filled else [2, 2, 1])
    for number, (inputs, labels) in enumerate(whole):
        joined = np.concatenate([first[number][0]["rgb"], second[number][0]["rgb"]])
        np.testing.assert_array_equal(joined, inputs["rgb"][: len(joined)])
        joined = np.concatenate([first[number][1], second[number][1]])
        np.testing.assert_array_equal(joined, labels[: len(joined)])
    read = [len(source.reads) for source in sources]
    assert sum(read) == (11 if filled else 10)
    assert max(read) <= 6


def test_mixup_draws_one_share_for_all_processes() -> None:
    """Partners are of the own share, so that each mixes what it has read; how much of them is drawn once."""
    first, second = (own(index, FakeSource(), mixup=0.4) for index in range(2))
    for (_, ours), (_, theirs) in zip(first, second, strict=True):
        values = [np.unique(labels[(labels > 1e-6) & (labels < 1 - 1e-6)].round(4)) for labels in (ours, theirs)]
        if all(map(len, values)):
            assert set(values[0]) == set(values[1])
