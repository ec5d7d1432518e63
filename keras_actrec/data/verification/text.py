"""A receipt in words, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.data.manifest import SPLITS

Receipt = Mapping[str, Any]
MOST_NAMED = 10
"""Findings of a kind that are named; the receipt names all."""


def lines(receipt: Receipt) -> list[str]:
    """Return the table of counts, and what is wrong."""
    return [*table(receipt), "", headline(receipt), *_unreadable(receipt), *_duplicates(receipt), *_leaks(receipt)]


def headline(receipt: Receipt) -> str:
    """Return how many clips can be read, in one line."""
    how = "every frame decoded" if receipt["mode"] == "deep" else "index, first, middle and last frame"
    return f"{readable(receipt)} clips can be read ({how})"


def readable(receipt: Receipt) -> str:
    """Return such as "19,881 of 19,907"."""
    return f"{receipt['decodable']:,} of {receipt['official']:,}"


def table(receipt: Receipt) -> list[str]:
    """Return official, present and decodable clips per class and split; one number where all three agree."""
    splits = {name: receipt["splits"][name] for name in SPLITS if name in receipt["splits"]}
    labels = sorted({label for split in splits.values() for label in split["classes"]})
    rows = [["official/present/decodable", *splits]]
    rows += [
        [label or "no label", *(_cell(split["classes"].get(label)) for split in splits.values())] for label in labels
    ]
    rows.append(["all", *map(_cell, splits.values())])
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    return [row[0].ljust(widths[0]) + "".join(map(str.rjust, row[1:], widths[1:])) for row in rows]


def _cell(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return "-"
    numbers = [counts[name] for name in ("official", "present", "decodable")]
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(map(str, numbers))


def name(clip: Mapping[str, Any]) -> str:
    """Return a clip of the receipt's lists as its path, with the stretch behind it when there is one."""
    for start, end, unit in (("start_sec", "end_sec", " s"), ("start_frame", "end_frame", "")):
        if start in clip or end in clip:
            return (
                f"{clip['path']} [{clip.get(start, 0):g}{unit} to {f'{clip[end]:g}{unit}' if end in clip else 'end'}]"
            )
    return clip["path"]


def _unreadable(receipt: Receipt) -> list[str]:
    rows = [f"  {name(clip)} ({clip['split']}): {clip['reason']}" for clip in receipt["unreadable"]]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in receipt["reasons"].items())
    return _listed("clip cannot be read", "clips cannot be read", rows, f" ({reasons})")


def _duplicates(receipt: Receipt) -> list[str]:
    sets = receipt["exact_duplicates"]
    bad = [entry for entry in sets if entry["across_splits"] or entry["labels_differ"]]
    harmless = len(sets) - len(bad)
    rows = ["  " + " = ".join(map(_with_split, entry["clips"])) for entry in bad]
    out = _listed("set", "sets", rows, " of equal files in several splits, or with several labels")
    if harmless:
        out.append(f"{_times(harmless, 'set', 'sets')} of equal files within one split and class; see exact_duplicates")
    pairs = receipt["near_duplicates"]
    rows = [f"  {' ~ '.join(map(_with_split, pair['clips']))} (distance {pair['distance']:.3f})" for pair in pairs]
    return out + _listed(
        "pair", "pairs", rows, " of near duplicates across splits; they look alike, judge for yourself"
    )


def _leaks(receipt: Receipt) -> list[str]:
    groups = [
        f"  {entry['group']}: {', '.join(f'{split} {count}' for split, count in entry['splits'].items())}"
        for entry in receipt["straddling_groups"]
    ]
    shared = [f"  {' and '.join(map(_with_split, entry['clips']))}" for entry in receipt["overlaps"]]
    out = _listed("group", "groups", groups, " in several splits, which makes the accuracy too good")
    return out + _listed("pair", "pairs", shared, " of clips of different splits that share a part of one file")


def _with_split(clip: Mapping[str, Any]) -> str:
    return f"{name(clip)} ({', '.join(filter(None, (clip['split'], clip['label'])))})"


def _listed(one: str, several: str, rows: Sequence[str], title: str) -> list[str]:
    """Return a title with the count, and the first rows; nothing without rows."""
    if not rows:
        return []
    more = [f"  and {len(rows) - MOST_NAMED:,} more"] if len(rows) > MOST_NAMED else []
    return [f"{_times(len(rows), one, several)}{title}:", *rows[:MOST_NAMED], *more]


def _times(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
