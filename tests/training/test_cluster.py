import json
from typing import Any

import pytest

from keras_actrec.config import ClusterConfig
from keras_actrec.errors import UserError
from keras_actrec.training.cluster import Place, find_place

TWO = ["a:1", "b:2"]


def tf_config(cluster: Any, kind: Any = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_alone_without_a_word_about_others() -> None:
    for environment in ({}, {"TF_CONFIG": ""}, {"TF_CONFIG": "{}"}, {"SLURM_PROCID": "1"}):
        assert find_place(ClusterConfig(), environment) is None


def test_tf_config() -> None:
    assert find_place(ClusterConfig(), tf_config({"worker": TWO}, index=1)) == Place(("a:1", "b:2"), 1)
    assert find_place(ClusterConfig(), tf_config({"worker": TWO})).is_chief


def test_a_chief_of_its_own_kind_comes_first() -> None:
    cluster = {"chief": ["c:3"], "worker": TWO}
    assert find_place(ClusterConfig(), tf_config(cluster, "chief")) == Place(("c:3", "a:1", "b:2"), 0)
    assert find_place(ClusterConfig(), tf_config(cluster, "worker", 0)).index == 1


def test_from_the_configuration_and_slurm() -> None:
    settings = ClusterConfig(workers=tuple(TWO))
    assert find_place(settings, {"SLURM_PROCID": "1"}) == Place(("a:1", "b:2"), 1)
    settings = ClusterConfig(workers=tuple(TWO), index=0)
    assert find_place(settings, {"SLURM_PROCID": "1"}).index == 0


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TF_CONFIG": "{'cluster': 1}"}, "TF_CONFIG is no JSON.*node1:2222"),
        ({"TF_CONFIG": "[1]"}, "TF_CONFIG is not understood"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:2"]}}'}, "not understood.*'type'"),
        (tf_config({"worker": "a:1"}), "no list of addresses"),
        (tf_config({"worker": TWO}, index=2), "a task that the cluster names"),
        (tf_config({"worker": TWO}, index=-1), "a task that the cluster names"),
        (tf_config({"worker": TWO}, index="0"), "a task that the cluster names"),
        (tf_config({"worker": TWO}, kind="chief"), "a task that the cluster names"),
        (tf_config({"worker": TWO}, kind=["worker"]), "a task that the cluster names"),
        (tf_config({"worker": TWO, "ps": ["c:3"]}), "got ps; parameter servers"),
        (tf_config({"chief": TWO, "worker": TWO}), "several chiefs"),
        (tf_config({"worker": ["a:1"]}), "names one process, a:1.*none to train on this machine alone"),
        (tf_config({"worker": ["a:1", "a:1"]}), "different addresses"),
        (tf_config({"worker": ["a:1", "b"]}), "addresses such as node1:2222, got 'b'"),
        (tf_config({"worker": ["a:1", "b:99999"]}), "got 'b:99999'"),
        (tf_config({"worker": ["a:1", "::1:2222"]}), r"brackets around an IPv6 address.*got '::1:2222'"),
    ],
)
def test_mistakes_in_tf_config(environment: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_place(ClusterConfig(), environment)


@pytest.mark.parametrize(
    ("settings", "environment", "words"),
    [
        ({"workers": tuple(TWO)}, {}, "which of training.cluster.workers"),
        ({"workers": tuple(TWO), "index": 2}, {}, "expected an index below that, got 2"),
        ({"workers": ("a:1",), "index": 0}, {}, "names one process"),
        ({"index": 1}, {}, "list them there"),
        ({"workers": tuple(TWO)}, tf_config({"worker": TWO}), "remove one of the two"),
    ],
)
def test_mistakes_in_the_configuration(settings: dict[str, Any], environment: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_place(ClusterConfig(**settings), environment)
