"""What fits on which nodes, and the sentence for what does not."""

import pytest

from keras_actrec.cluster import shares
from keras_actrec.cluster.shares import Demand, Node


def nodes(*offers: tuple[float, float]) -> list[Node]:
    return [Node(str(index), f"10.0.0.{index}", f"n{index}", *offer) for index, offer in enumerate(offers)]


@pytest.mark.parametrize(
    ("offers", "demand", "wanted"),
    [
        ([(8, 0), (4, 0)], Demand(1), 12),
        ([(8, 0), (4, 0)], Demand(3), 3),
        ([(2, 0)], Demand(0.5), 4),
        ([(16, 2), (16, 1)], Demand(1, 1), 3),
        ([(16, 2), (16, 1)], Demand(1, 0.5), 6),
        ([(16, 2)], Demand(1, 0.4), 4),
        ([(16, 1)], Demand(1, 1 / 3), 3),
        ([(16, 3), (16, 3)], Demand(1, 2), 2),
        ([(1, 8)], Demand(1, 1), 1),
        ([(16, 0)], Demand(1, 1), 0),
        ([], Demand(1), 0),
    ],
)
def test_how_many_fit(offers: list[tuple[float, float]], demand: Demand, wanted: int) -> None:
    assert shares.room(nodes(*offers), demand) == wanted


def test_a_share_of_a_gpu_comes_from_one_gpu() -> None:
    assert shares.room(nodes((16, 2)), Demand(1, 0.7)) == 2, "what is left of two GPUs is no third one"


@pytest.mark.parametrize(
    ("gpus", "count", "wanted"), [(0, 4, 0), (4, 4, 1), (8, 4, 1), (2, 4, 0.5), (3, 4, 0.5), (1, 3, 1 / 3)]
)
def test_all_fit_on_the_gpus_that_are_there(gpus: int, count: int, wanted: float) -> None:
    there = nodes((64, gpus))
    share = shares.gpu_share(there, count)
    assert share == pytest.approx(wanted)
    assert shares.room(there, Demand(1, share)) >= count


@pytest.mark.parametrize(
    ("offers", "demand", "told"),
    [
        ([(16, 1), (16, 1)], Demand(1, 1), "asked for 4 x 1 GPU; the cluster has 2, on 2 nodes"),
        ([(2, 0)], Demand(1), "asked for 4 x 1 CPU; the cluster has 2, on 1 node"),
        ([(6, 0), (2, 0)], Demand(2), None),
        ([(5, 0), (3, 0)], Demand(2), "asked for 4 x (2 CPUs); 3 fit on 2 nodes, which have 5 CPUs, 3 CPUs"),
        (
            [(8, 0), (1, 4)],
            Demand(2, 1),
            "asked for 4 x (1 GPU and 2 CPUs); 0 fit on 2 nodes, which have 8 CPUs, 4 GPUs and 1 CPU",
        ),
    ],
)
def test_what_is_lacking_is_told(offers: list[tuple[float, float]], demand: Demand, told: str | None) -> None:
    assert shares.shortage(nodes(*offers), demand, 4) == told
