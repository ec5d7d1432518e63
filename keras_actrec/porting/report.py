"""What an import tells: on the screen, and as JSON beside the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from keras_actrec.porting.family import Family
from keras_actrec.porting.matching import Match
from keras_actrec.porting.reading import Source

# What a run's configuration has in the section `data`.
DATA_OPTIONS = ("frames", "size")


@dataclasses.dataclass(frozen=True)
class Report:
    """One import.

    Attributes:
        source: what was read.
        family: whose names it has.
        model: name in the registry.
        options: of the model, in full.
        changed: those that are not the model's defaults.
        num_classes: of the classifier.
        normalization: how the input must be normalised.
        match: what went where.
    """

    source: Source
    family: Family
    model: str
    options: dict[str, Any]
    changed: dict[str, Any]
    num_classes: int
    normalization: str
    match: Match

    def as_json(self) -> dict[str, Any]:
        """Return the content of MODEL.import.json. Holds no paths and no times: equal imports give equal bytes."""
        strangers = [
            {"name": item.name, "shape": list(item.shape), "reason": item.reason} for item in self.match.strangers
        ]
        orphans = [
            {"path": item.path, "shape": list(item.shape), "optional": item.optional} for item in self.match.orphans
        ]
        return {
            "source": self.source.name,
            "sha256": self.source.sha256,
            "files": dict(self.source.digests),
            "family": self.family.name,
            "model": self.model,
            "options": _plain(self.options),
            "num_classes": self.num_classes,
            "normalization": self.normalization,
            "copied": len(self.match.values),
            "ignored": list(self.match.ignored),
            "unmatched": {"in_file": strangers, "in_network": orphans},
        }

    def lines(self) -> list[str]:
        """Return what is told on the screen before the model is written."""
        strangers = [f"{item.name} {item.shape}: {item.reason}" for item in self.match.strangers]
        orphans = [_orphan(item.path, item.shape, item.optional) for item in self.match.orphans]
        numbers = sum(value.size for value in self.match.values.values())
        return [
            f"source: {self.source.name} (sha256 {self.source.sha256})",
            f"family: {self.family.name} ({self.family.publisher})",
            f"model: {self.model}, {self.num_classes} classes",
            f"options: {_flow(self.changed)}",
            f"normalisation: {self.normalization}",
            f"copied: {len(self.match.values)} tensors, {numbers:,} numbers; "
            f"left out by name: {len(self.match.ignored)}",
            *_section("in the file without a place", strangers),
            *_section("in the network without a tensor", orphans),
        ]

    def usage(self, path: str) -> str:
        """Return the lines of a run's configuration that start from the model at `path`."""
        data = {name: self.options[name] for name in DATA_OPTIONS}
        section = {name: value for name, value in self.changed.items() if name not in DATA_OPTIONS}
        lines = [
            *_yaml("data", data),
            *_yaml("model", {"name": self.model, **section}),
            *_yaml("training", {"init_from": path}),
        ]
        return "\n".join(["in a run's configuration:", *lines])


def _yaml(section: str, values: dict[str, Any]) -> list[str]:
    """Return a section with a line for each key."""
    texts = {
        name: yaml.safe_dump([_plain(value)], default_flow_style=True, width=float("inf")).strip()[1:-1]
        for name, value in values.items()
    }
    return [f"{section}:", *(f"  {name}: {text}" for name, text in texts.items())]


def _orphan(path: str, shape: tuple[int, ...], optional: bool) -> str:
    return f"{path} {shape}: starts random" + (", published files may lack it" if optional else "")


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines)] if lines else [f"{title}: none"]


def _flow(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_plain(value)}" for name, value in options.items()) or "the model's defaults"


def _plain(value: Any) -> Any:
    """Turn tuples into the lists that YAML and JSON know."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
