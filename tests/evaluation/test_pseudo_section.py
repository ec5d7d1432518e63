"""The report about semi-supervised training: what is shown, what is left out, and that plotly takes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

from keras_actrec.errors import UserError
from keras_actrec.evaluation import ensemble, pseudo_section, pseudo_table, report, results
from keras_actrec.evaluation.predict import Predictions

NASTY = "<i>run</i> & co"
CLASSES = ("bend", "jump", NASTY)
EPOCHS = 4
TERMS = ("supervised_loss", "auxiliary_supervised_loss", "pseudo_loss", "auxiliary_pseudo_loss", "contrastive_loss")


def history(two: bool = True, terms: tuple[str, ...] = TERMS) -> list[dict[str, float]]:
    rows = []
    for epoch in range(1, EPOCHS + 1):
        row = {"epoch": epoch, "loss": 3 / epoch, "val_loss": 2 / epoch, "accuracy": 0.5, "val_accuracy": 0.2 * epoch}
        row |= {"pseudo_share": 0.2 * epoch, "pseudo_precision": 0.5 + 0.1 * epoch}
        if two:
            row |= {"auxiliary_pseudo_share": 0.1 * epoch, "auxiliary_pseudo_precision": 0.9, "agreement": 0.15 * epoch}
        rows.append(row | {name: (index + 1) / epoch for index, name in enumerate(terms)})
    return rows


def table_rows(networks: tuple[str, ...] = ("primary", "auxiliary"), known: bool = True) -> list[dict[str, Any]]:
    found = []
    for epoch in range(1, EPOCHS + 1):
        for network in networks:
            for k, name in enumerate(CLASSES):
                given = 5 * epoch * k
                counts = {"given_known": given, "correct": 3 * epoch * k} if known else {"given_known": 0, "correct": 0}
                shown = (
                    {"clips": 40, "accepted_of_class": 4 * epoch * k} if known else {"clips": 0, "accepted_of_class": 0}
                )
                found.append(pseudo_table.make_row(epoch, network, name, given=given, **counts, **shown))
    return found


def charts(html: str) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    for figure in found:
        plotly.graph_objects.Figure(figure)
    return found


def lines(figure: dict[str, Any]) -> dict[str, list[float | None]]:
    return {line["name"]: line["y"] for line in figure["data"]}


def test_nothing_of_a_run_without_pseudo_labels() -> None:
    assert pseudo_section.pseudo_labels([]) == ""
    assert pseudo_section.pseudo_labels([{"epoch": 1, "loss": 1.0}]) == ""
    assert pseudo_section.networks({}) == ""


def test_the_charts_show_the_columns_of_the_history() -> None:
    html = pseudo_section.pseudo_labels(history(), table_rows(), best_epoch=2)
    shares, terms = charts(html)
    assert lines(shares) == {
        "primary: precision": [row["pseudo_precision"] for row in history()],
        "primary: above the threshold": [row["pseudo_share"] for row in history()],
        "auxiliary: precision": [row["auxiliary_pseudo_precision"] for row in history()],
        "auxiliary: above the threshold": [row["auxiliary_pseudo_share"] for row in history()],
        "agreement of the two": [row["agreement"] for row in history()],
    }
    assert list(lines(terms).values()) == [[row[name] for row in history()] for name in TERMS]
    for figure in (shares, terms):
        assert {tuple(line["x"]) for line in figure["data"]} == {(1, 2, 3, 4)}
        assert figure["layout"]["shapes"][0]["x0"] == 2
        assert len({(line["line"]["color"], line["line"]["dash"]) for line in figure["data"]}) == 5, (
            "all look different"
        )
    assert html.count('aria-label="') == 2
    assert "training never sees it" in html
    assert "weighted sum of these terms" in html


def test_a_network_that_teaches_itself_has_fewer_lines() -> None:
    html = pseudo_section.pseudo_labels(history(two=False, terms=TERMS[::2][:2]), table_rows(("primary",)))
    shares, terms = charts(html)
    assert list(lines(shares)) == ["primary: precision", "primary: above the threshold"]
    assert list(lines(terms)) == ["labelled clips", "pseudo-labels"]
    assert "shapes" not in shares["layout"]
    assert "auxiliary" not in html
    without = pseudo_section.pseudo_labels(history(terms=()))
    (alone,) = charts(without)
    assert len(alone["data"]) == 5
    assert "weighted sum" not in without


def test_precision_has_a_gap_where_nothing_was_accepted() -> None:
    rows = history()
    rows[0] |= {"pseudo_share": 0.0, "pseudo_precision": 0.0, "contrastive_loss": float("nan")}
    shares, terms = charts(pseudo_section.pseudo_labels(rows))
    assert lines(shares)["primary: precision"] == [None, *(row["pseudo_precision"] for row in rows[1:])]
    assert lines(shares)["primary: above the threshold"][0] == 0.0
    assert lines(terms)["contrastive"][0] is None


def test_precision_of_unknown_truth_is_not_shown_as_zero() -> None:
    rows = [row | {"pseudo_precision": 0.0, "auxiliary_pseudo_precision": 0.0} for row in history()]
    shares, _ = charts(pseudo_section.pseudo_labels(rows, table_rows(known=False)))
    assert lines(shares)["primary: precision"] == [None] * EPOCHS
    assert lines(shares)["auxiliary: precision"] == [None] * EPOCHS


def cells_of(html: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr><td>.*?</tr>", html)]


def test_the_table_is_of_the_last_epoch() -> None:
    html = pseudo_section.pseudo_labels(history(), table_rows())
    numbers = {
        "bend": ["40", "0", "0", "&ndash;", "0.0&nbsp;%"],
        "jump": ["40", "16", "20", "60.0&nbsp;%", "30.0&nbsp;%"],
        "&lt;i&gt;run&lt;/i&gt; &amp; co": ["40", "32", "40", "60.0&nbsp;%", "60.0&nbsp;%"],
    }
    assert cells_of(html) == [
        [name, network, *row] for name, row in numbers.items() for network in ("primary", "auxiliary")
    ]
    alone = pseudo_section.pseudo_labels(history(two=False), table_rows(("primary",)))
    assert cells_of(alone) == [[name, *row] for name, row in numbers.items()]
    for text in (html, alone):
        assert len(re.findall("<th>", text)) == len(cells_of(text)[0])
        assert "Epoch 4: clips shown" in text
        assert "<details open" in text


def test_many_classes_are_folded_away() -> None:
    rows = [
        pseudo_table.make_row(1, "primary", f"c{k}", clips=1, accepted_of_class=1, given=1, given_known=1, correct=1)
        for k in range(26)
    ]
    html = pseudo_section.pseudo_labels(history(two=False), rows)
    assert "<details>" in html and "<details open" not in html


def predictions(skill: float, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 8)
    shares = rng.dirichlet((1, 1, 1), 24) + skill * np.eye(3)[labels]
    return Predictions((shares / shares.sum(1, keepdims=True)).astype("float32"), labels, np.arange(24), 24)


def document(labelled: int = 6) -> dict[str, Any]:
    primary, auxiliary = predictions(0.3, 0), predictions(0.2, 1)
    found = ensemble.document(primary, auxiliary, labelled=labelled, unlabelled=1234)
    return {"test": results.details(primary, CLASSES), "semi_supervised": found}


def test_the_networks_stand_side_by_side() -> None:
    html, found = pseudo_section.networks(document()), document()
    assert [cells[0] for cells in cells_of(html)] == ["primary only", "auxiliary", "ensemble"]
    numbers = (found["test"], found["semi_supervised"]["auxiliary"], found["semi_supervised"]["ensemble"])
    for cells, expected in zip(cells_of(html), numbers, strict=True):
        low, high = expected["top1_interval"]
        assert cells[1:] == [
            f"{100 * expected['top1']:.1f}&nbsp;%",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{100 * expected['top5']:.1f}&nbsp;%",
            f"{expected['loss']:.3f}",
            "24 of 24",
        ]
    assert len({entry["top1"] for entry in numbers}) > 1
    assert "6 clips with their labels and 1,234 without" in html


def test_one_network_has_nothing_beside_it() -> None:
    found = ensemble.document(predictions(0.3, 0), None, labelled=6, unlabelled=18)
    assert found == {"labelled": 6, "unlabelled": 18}
    html = pseudo_section.networks({"semi_supervised": found})
    assert "6 clips with their labels and 18 without" in html
    assert "<table" not in html


def test_the_report_has_both_sections_in_its_navigation() -> None:
    content = report.Content(
        metrics=whole_document(), history=history(), pseudo_labels=table_rows(), title="semi-supervised"
    )
    page = report.render(content)
    assert '<a href="#pseudo">Pseudo-labels</a>' in page
    assert '<a href="#semi">Semi-supervised training</a>' in page
    training = page[page.index('<section id="training">') : page.index('<section id="pseudo">')]
    assert [list(lines(figure)) for figure in charts(training)] == [["training", "validation"]] * 2


def whole_document() -> dict[str, Any]:
    about = {"dataset": "sticks", "fold": 1, "manifest_hash": "0" * 64, "model": "c3d", "seed": 0}
    sizes = {"params": 1, "trainable_params": 1, "flops": None, "best_epoch": 3, "temporal": {}, "baseline": {}}
    return about | sizes | {"classes": list(CLASSES), "validation": {}} | document()


def test_the_last_epoch_is_not_called_the_choice_of_validation() -> None:
    chosen = report.Content(metrics=whole_document() | {"validation": {"top1": 0.5}}, history=history())
    last = report.Content(metrics=chosen.metrics | {"select_by": "last"}, history=history())
    assert "chose epoch 3" in report.render(chosen)
    page = report.render(last)
    assert "of the last epoch" in page and "validation had no part in the choice" in page
    assert "chose epoch" not in page and "validation chose" not in page


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "pseudo_labels.csv"
    assert pseudo_table.read_pseudo_labels(path) == []
    rows = [*table_rows(), *table_rows(known=False)]
    rows.append(
        pseudo_table.make_row(9, "primary", 'a, "b"', clips=3, accepted_of_class=1, given=7, given_known=7, correct=1)
    )
    pseudo_table.write_pseudo_labels(path, rows)
    assert pseudo_table.read_pseudo_labels(path) == rows
    assert path.read_text().splitlines()[-1] == '9,primary,"a, ""b""",3,1,7,7,1,0.14285714285714285,0.3333333333333333'
    once = path.read_bytes()
    pseudo_table.write_pseudo_labels(path, pseudo_table.read_pseudo_labels(path))
    assert path.read_bytes() == once
    pseudo_table.write_pseudo_labels(path, [])
    assert path.read_text() == ",".join(pseudo_table.COLUMNS) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        "epoch,network\n1,primary\n",
        ",".join(pseudo_table.COLUMNS) + "\n1,primary,bend,many,1,1,1,1,,\n",
        ",".join(pseudo_table.COLUMNS) + "\n1,primary,bend\n",
        "",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pseudo_labels.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=r"pseudo_labels\.csv is damaged"):
        pseudo_table.read_pseudo_labels(path)
