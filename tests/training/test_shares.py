import numpy as np
import pytest

from keras_actrec.training.shares import Share


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (2, 4), (3, 3), (4, 8)])
@pytest.mark.parametrize("count", [1, 2, 7, 16, 24, 30, 47, 48])
def test_shares_are_those_of_the_devices_of_one_machine(count: int, processes: int, devices: int, filled: bool) -> None:
    """MirroredStrategy cuts or fills a batch to a multiple of the devices, and gives each one neighbouring rows."""
    order, size = np.arange(count), 24
    shares = [Share(index, processes, devices, filled).of_order(order, size) for index in range(processes)]
    wanted = [[] for _ in range(processes)]
    for start in range(0, count, size):
        batch = order[start : start + size]
        rows = -(-len(batch) // devices) * devices if filled else len(batch) // devices * devices
        padded = np.full(rows, -1)
        padded[: min(rows, len(batch))] = batch[:rows]
        for index, part in enumerate(np.split(padded, processes)):
            wanted[index] += [row for row in part if row >= 0]
    assert [share.tolist() for share in shares] == wanted
    if filled:
        assert sorted(np.concatenate(shares)) == order.tolist()


def test_size_of_a_share() -> None:
    assert Share(1, 2, 4, filled=False).of_batch_size(24) == 12
