"""How the App shows a dataset: groups of the sidebar, colours, media, and saved views."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from keras_actrec.data.fiftyone_sets import fields
from keras_actrec.inspection import names, samples

SURE = 0.7
"""Confidence from which on a wrong answer is called confident."""
MOST_CONFUSIONS = 12
MAP_SPACE = "map of features"
GREEN, RED, GREY, ORANGE = "#2e9e5b", "#d64545", "#8a8f98", "#e08a1e"
POOL = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948"),
    *("#ff9da7", "#9c755f", "#86bcb6", "#d37295", "#a0cbe8", "#8cd17d"),
)
"""Of Tableau's palette, without its red, which says that an answer is wrong."""


@dataclasses.dataclass(frozen=True)
class View:
    """A view that is saved with a dataset.

    Attributes:
        name: as the App lists it.
        about: one sentence.
        view: the FiftyOne view.
        colour: of its dot in the list.
    """

    name: str
    about: str
    view: Any
    colour: str = GREY


def arrange(dataset: Any, classes: Sequence[str], views_from: Any) -> None:
    """Set sidebar, colours and media of a dataset, and save its views.

    Args:
        dataset: the FiftyOne dataset.
        classes: of the data set, for the colours.
        views_from: `fiftyone.ViewField`.
    """
    import fiftyone as fo

    config = dataset.app_config
    config.media_fields = _media(dataset)
    config.grid_media_field = config.modal_media_field = samples.MEDIA
    config.media_fallback = True
    config.sidebar_groups = [
        fo.SidebarGroupDocument(name=name, paths=paths, expanded=expanded) for name, expanded, paths in _groups(dataset)
    ]
    config.active_fields = fo.ActiveFields(exclude=False, paths=_active(dataset))
    config.color_scheme = _colours(fo, classes)
    dataset.save()
    if samples.MAP in dataset.list_brain_runs():
        dataset.save_workspace(MAP_SPACE, _map(fo), description="the map of features beside the clips", overwrite=True)
    slugs: set[str | None] = set()
    for view in views(dataset, views_from):
        name = names.distinct(view.name, slugs)
        slugs.add(names.slug_of(name))
        dataset.save_view(name, view.view, description=view.about, color=view.colour, overwrite=True)


def _map(fo: Any) -> Any:
    """Return the workspace that shows clips and the map of their features side by side; the App opens no map itself."""
    panels = (fo.Panel(type="Samples", pinned=True), fo.Panel(type="Embeddings"))
    spaces = [fo.Space(children=[panel], active_child=panel.component_id) for panel in panels]
    return fo.Space(children=spaces, orientation="horizontal")


def _media(dataset: Any) -> list[str]:
    wanted = [samples.MEDIA]
    if any(depth != shown for depth, shown in zip(*dataset.values([samples.DEPTH, samples.MEDIA]), strict=True)):
        wanted.append(samples.DEPTH)
    if dataset.match_tags(samples.EXPLAINED).count():
        wanted.append(samples.EXPLANATION)
    return [*wanted, "filepath"]


def _has(dataset: Any, path: str) -> bool:
    return path in dataset.get_field_schema()


def _groups(dataset: Any) -> Iterator[tuple[str, bool, list[str]]]:
    """Yield name, whether it is open, and fields of each group of the sidebar."""
    schema = list(dataset.get_field_schema())
    folds = [name for name in schema if name.startswith(f"{fields.SPLIT}_")]
    run = [name for name in schema if name.startswith(samples.PREDICTION) and name != samples.PREDICTION]
    groups = (
        (
            "run",
            True,
            [
                samples.PREDICTION,
                samples.CORRECT,
                samples.CONFIDENCE,
                samples.TRUTH,
                samples.RANK,
                *run,
                samples.TOP,
                samples.VIEWS,
                "explained_by",
                "explained_class",
            ],
        ),
        ("clip", True, [fields.LABEL, fields.SPLIT, "clip_group", "verb", "noun", samples.REASON, samples.DUPLICATES]),
        ("folds", False, folds if len(folds) > 1 else []),
        ("file", False, [name for name in fields.COLUMNS.values() if name not in ("clip_group", "verb", "noun")]),
    )
    yield "tags", True, ["tags", "_label_tags"]
    taken = {"tags"}
    for name, is_open, paths in groups:
        found = [path for path in paths if path in schema]
        taken.update(found)
        if found:
            yield name, is_open, found
    if dataset.count(f"frames.{samples.PERSON}"):
        yield "frames", True, [f"frames.{samples.PERSON}"]
    yield "other", False, [name for name in schema if name not in taken]


def _active(dataset: Any) -> list[str]:
    """Return the fields whose values are shown on the pictures at first."""
    wanted = [fields.LABEL, samples.PREDICTION, samples.CORRECT, samples.REASON]
    found = [path for path in wanted if _has(dataset, path)]
    return [*found, f"frames.{samples.PERSON}"]


def _colours(fo: Any, classes: Sequence[str]) -> Any:
    by_class = [{"value": name, "color": POOL[number % len(POOL)]} for number, name in enumerate(classes)]
    labels = [
        {"path": path, "colorByAttribute": "label", "valueColors": by_class}
        for path in (fields.LABEL, samples.PREDICTION)
    ]
    right = {
        "path": samples.CORRECT,
        "colorByAttribute": samples.CORRECT,
        "valueColors": [{"value": "true", "color": GREEN}, {"value": "false", "color": RED}],
    }
    reason = {"path": samples.REASON, "fieldColor": RED}
    person = {"path": f"frames.{samples.PERSON}", "fieldColor": ORANGE}
    return fo.ColorScheme(color_by="value", color_pool=list(POOL), opacity=0.7, fields=[*labels, right, reason, person])


def views(dataset: Any, field: Any) -> Iterator[View]:
    """Yield the views that are saved: splits, what went wrong, who is taken for whom."""
    for name, count in dataset.count_values(fields.SPLIT).items():
        if name:
            yield View(f"split: {name}", f"{count} clips", dataset.match(field(fields.SPLIT) == name))
    if samples.QUARANTINED in dataset.distinct("tags"):
        found = dataset.match_tags(samples.QUARANTINED).sort_by(samples.REASON)
        yield View("quarantined", "clips that cannot be read, by reason", found, ORANGE)
    if _has(dataset, samples.DUPLICATES):
        found = dataset.match(field(samples.DUPLICATES) != None).sort_by(samples.DUPLICATES)  # noqa: E711
        yield View("near duplicates", "files that look alike, group by group", found, ORANGE)
    if samples.EXPLAINED in dataset.distinct("tags"):
        about = "clips with an explanation: set the media field to 'explanation'"
        yield View("explained", about, dataset.match_tags(samples.EXPLAINED))
    if _has(dataset, samples.PREDICTION):
        yield from _of_answers(dataset, field)


def _of_answers(dataset: Any, field: Any) -> Iterator[View]:
    wrong = dataset.match(field(samples.CORRECT) == False)  # noqa: E712 (an expression for MongoDB)
    right = dataset.match(field(samples.CORRECT) == True)  # noqa: E712
    about = f"wrong answers with a confidence of {SURE:g} or more, the surest first"
    surest = wrong.sort_by(samples.CONFIDENCE, reverse=True)
    yield View("right, least sure first", "right answers", right.sort_by(samples.CONFIDENCE), GREEN)
    yield View("wrong, surest first", "wrong answers", surest, RED)
    yield View("wrong and confident", about, surest.match(field(samples.CONFIDENCE) >= SURE), RED)
    pairs = Counter(zip(*wrong.values([f"{fields.LABEL}.label", f"{samples.PREDICTION}.label"]), strict=True))
    for (truth, answer), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]:
        found = wrong.match(
            (field(f"{fields.LABEL}.label") == truth) & (field(f"{samples.PREDICTION}.label") == answer)
        )
        yield View(f"{truth} taken for {answer}", f"{count} clips", found, RED)
