import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.errors import UserError
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.space import Range


def test_the_last_key_of_a_grid_changes_fastest() -> None:
    found = list(spaces.grid({"a": (1, 2), "b": Range(low=1, high=5, step=2)}))
    assert [(point["a"], point["b"]) for point in found] == [(1, 1), (1, 3), (1, 5), (2, 1), (2, 3), (2, 5)]
    assert spaces.size({"a": (1, 2), "b": Range(low=1, high=5, step=2)}) == 6


def test_a_range_without_a_step_is_whole_numbers_or_endless() -> None:
    assert Range(low=2, high=4).values() == (2, 3, 4)
    assert Range(low=0.5, high=4).values() is None
    assert spaces.size({"a": (1, 2), "b": Range(low=0.5, high=4)}) is None
    with pytest.raises(UserError, match="give 'b' a step"):
        list(spaces.grid({"b": Range(low=0.5, high=4)}))


def test_steps_do_not_lose_the_last_value_to_rounding() -> None:
    assert Range(low=0.1, high=0.7, step=0.2).values() == pytest.approx((0.1, 0.3, 0.5, 0.7))


@pytest.mark.parametrize(
    ("axis", "told"),
    [
        (7, "expected a list of values or a range"),
        ({"low": 1, "high": 2, "lag": True}, "no key 'lag'. Did you mean 'log'"),
        ({"low": 2, "high": 1}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "must lie above 0"),
        ({"low": 1.0, "high": 2, "log": True, "step": 0.1}, "exclude each other"),
        ({"low": 1, "high": 9, "step": 0.5}, "whole step"),
        ({"low": 1}, "high Field required"),
        ({"low": "a", "high": 2}, "low Input should be"),
    ],
)
def test_what_is_no_axis_is_told_in_a_sentence(axis: object, told: str) -> None:
    with pytest.raises(ValueError, match=r"'training\.epochs': ") as caught:
        spaces.axis_of("training.epochs", axis)
    assert told in str(caught.value)


def test_values_are_put_in_their_places_in_a_copy() -> None:
    document = {"training": {"epochs": 3}, "model": {"name": "a", "heads": 2}, "data": None}
    point = {"training.epochs": 5, "training.optimizer.learning_rate": 0.1, "model": {"name": "b"}, "data.frames": 4}
    assert spaces.insert(document, point) == {
        "training": {"epochs": 5, "optimizer": {"learning_rate": 0.1}},
        "model": {"name": "b", "heads": 2},
        "data": {"frames": 4},
    }
    assert document == {"training": {"epochs": 3}, "model": {"name": "a", "heads": 2}, "data": None}
    with pytest.raises(UserError, match="leads through 'epochs'"):
        spaces.insert(document, {"training.epochs.more": 1})


KEYS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), unique=True, min_size=1)


@given(KEYS)
def test_short_names_are_ends_of_their_keys_and_all_differ(keys: list[str]) -> None:
    names = spaces.short_names(keys)
    assert len(set(names.values())) == len(keys)
    assert all(key == name or key.endswith(f".{name}") for key, name in names.items())


def test_short_names_are_as_short_as_they_can_be() -> None:
    keys = ["training.optimizer.learning_rate", "model.heads", "training.semi_supervised.auxiliary.model.heads"]
    assert spaces.short_names(keys) == {
        keys[0]: "learning_rate",
        keys[1]: "model.heads",
        keys[2]: "auxiliary.model.heads",
    }
