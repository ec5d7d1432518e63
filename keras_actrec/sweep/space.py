"""What may vary in a sweep: keys of the configuration, and the values or the range of each."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic import Field, model_validator

from keras_actrec.config import Section
from keras_actrec.errors import UserError, did_you_mean

Values = tuple[Any, ...]
Point = dict[str, Any]
"""Dotted key of the configuration -> value."""


class Range(Section):
    """Numbers from `low` to `high`, both included; whole ones where both bounds are whole."""

    low: int | float
    high: int | float
    log: bool = False
    """Draw evenly by the logarithm, as learning rates want it."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Distance between the values; not given: any value, or each whole number."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: the range must lie above 0, not begin at {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError(f"a range of whole numbers has a whole step, not {self.step}")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def count(self) -> int | None:
        """Number of values; None where there is no end of them."""
        if self.step is None:
            return self.high - self.low + 1 if self.whole else None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def values(self) -> Values | None:
        """Return all values; None where there is no end of them."""
        if self.count is None:
            return None
        values = (self.low + index * (self.step or 1) for index in range(self.count))
        return tuple(int(value) if self.whole else value for value in values)


Space = Mapping[str, Values | Range]


def axis_of(key: str, given: Any) -> Values | Range:
    """Read what a configuration says of one key.

    Raises:
        ValueError: it is neither a list of values nor a range; the message says what is wrong.
    """
    if isinstance(given, (list, tuple)):
        return tuple(given)
    if isinstance(given, Range):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"'{key}': expected a list of values or a range such as {{low: 1, high: 4}}, got {given!r}")
    unknown = [name for name in given if name not in Range.model_fields]
    if unknown:
        near = did_you_mean(str(unknown[0]), Range.model_fields)
        raise ValueError(f"'{key}': a range has no key '{unknown[0]}'.{near}")
    try:
        return Range(**given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        raise ValueError(
            f"'{key}': {where} {first['msg'].removeprefix('Value error, ')}".replace(":  ", ": ")
        ) from None


def size(space: Space) -> int | None:
    """Return the number of points; None where there is no end of them."""
    counts = [axis.count if isinstance(axis, Range) else len(axis) for axis in space.values()]
    return None if None in counts else math.prod(counts)


def grid(space: Space) -> Iterator[Point]:
    """Yield all points; the last key changes fastest.

    Raises:
        UserError: a range has no end of values.
    """
    axes = {key: axis.values() if isinstance(axis, Range) else axis for key, axis in space.items()}
    for key, values in axes.items():
        if values is None:
            raise UserError(
                f"search: grid needs a finite list of values for each key; give '{key}' a step, or a list of values."
            )
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def corners(space: Space) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) for each listed value and both ends of each range, to try them before anything is trained."""
    for key, axis in space.items():
        for value in (axis.low, axis.high) if isinstance(axis, Range) else axis:
            yield key, value


def insert(document: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Return a copy of a nested configuration with the values of a point in their places.

    A value that is a section is merged into the one that is there, so that one axis may set several keys.

    Raises:
        UserError: a key leads through a value that is no section.
    """
    result = json.loads(json.dumps(document))
    for key, value in point.items():
        *parts, last = key.split(".")
        section = result
        for part in parts:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                raise UserError(f"sweep.space: '{key}' leads through '{part}', which is a value, not a section.")
        section[last] = _merged(section.get(last), value)
    return result


def _merged(there: Any, value: Any) -> Any:
    if not isinstance(there, Mapping) or not isinstance(value, Mapping):
        return value
    return {**there, **{key: _merged(there.get(key), inner) for key, inner in value.items()}}


def label(value: Any) -> str:
    """Return a value as a short text: its name, where it is a section that has one."""
    if isinstance(value, Mapping):
        rest = {key: inner for key, inner in value.items() if key != "name"}
        return " ".join(filter(None, [str(value.get("name", "")), json.dumps(rest) if rest else ""]))
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return key -> the shortest end of it, in whole parts, that no other key ends in."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
        others = [other for other in keys if other != key]
        names[key] = next(end for end in ends if not any(_ends_in(other, end) for other in others) or end == key)
    return names


def _ends_in(key: str, end: str) -> bool:
    return key == end or key.endswith(f".{end}")
