import dataclasses
import html
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects
import pytest

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError
from keras_actrec.evaluation import folds, markup, metrics, plots, report, results, sections, thumbnails
from keras_actrec.evaluation.predict import Predictions
from keras_actrec.evaluation.provenance import Contamination

NASTY = '<script>alert("x")</script> & co'
CLASSES = ("bend", "jump", "sit / down", NASTY)


def predicted(classes: int, per_class: int, skill: float, lost: int = 0, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    logits = rng.normal(size=(len(labels), classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    kept = np.sort(rng.permutation(len(labels))[lost:])
    return Predictions(probabilities[kept].astype(np.float32), labels[kept], kept, len(labels))


def make(
    classes: tuple[str, ...] = CLASSES, lost: int = 2, contaminated: bool = False, per_class: int = 8
) -> report.Content:
    """Content of a report as a run would hand it over, with numbers from a random network."""
    splits = ("train", "validation", "test")
    rows = [
        Clip(f"{k}/{split}{i}.mp4", name, split)
        for k, name in enumerate(classes)
        for split in splits
        for i in range(per_class)
    ]
    manifest = Manifest.from_clips("sticks", "/data", 1, rows, classes)
    groups = metrics.name_pairs([classes[:2], classes[2:4]])
    test = predicted(len(classes), per_class, 1.5, lost)
    test_clips = [Clip(f"{k}/test{i}.mp4", name, "test") for k, name in enumerate(classes) for i in range(per_class)]
    quarantined = [SimpleNamespace(path=NASTY, split="test", reason="empty file") for _ in range(lost)]
    probe = {
        order: {"top1": 0.4, "coverage": 1.0, "pairs": {"mean": 0.5, "each": {}}} for order in ("shuffled", "reversed")
    }
    document = results.build(
        manifest,
        model="convnet_transformer",
        seed=7,
        params=11_700_000,
        trainable_params=2_000,
        flops=1_234_567_890,
        validation=results.headline(predicted(len(classes), per_class, 3.0, seed=1)),
        test=results.details(test, classes, clips=3, groups=groups),
        temporal=probe,
        single_frame=results.details(predicted(len(classes), per_class, 1.0, seed=2), classes, groups=groups),
        quarantined=quarantined,
        contamination=Contamination({"train": 12}, 30, ("0/test0.mp4",)) if contaminated else None,
        best_epoch=3,
    )
    names = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
    history = [
        dict(zip(names, (e, 0.1 / e, 2 / e, 1 - 0.5 / e, 2.2 / e, 0.9 - 0.4 / e), strict=True)) for e in range(1, 6)
    ]
    return report.Content(
        metrics=document,
        title=f"quick {NASTY}",
        history=history,
        counts=manifest.counts(),
        quarantined=quarantined,
        examples=thumbnails.examples(test, test_clips, classes, lambda clip: np.full((6, 24, 32, 3), 90, np.uint8)),
        config_yaml=f"name: quick\nnote: {NASTY}\n",
        environment={"sessions": [{"python": "3.11", "versions": {"keras": "3.15.1"}, "command": ["train.py", NASTY]}]},
        command="python train.py --config configs/quickstart.yaml",
        timing={"training_sec": 12.5},
    )


class Page(HTMLParser):
    """Collects scripts, visible text, ids and links of a page, and checks that its tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.sources: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given["id"]} if "id" in given else set()
        self.links |= {given["href"]} if "href" in given else set()
        self.sources += [given["src"]] if "src" in given else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    @property
    def visible(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(report.render(make()))


def test_the_page_is_whole_and_loads_nothing(page: Page) -> None:
    assert page.open == []
    assert {link.removeprefix("#") for link in page.links} <= page.anchors
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_no_text_from_outside_becomes_code(page: Page) -> None:
    assert NASTY in page.visible
    assert len([script for script in page.scripts if "alert" in script and "Plotly" not in script[:400]]) == 1
    chart = next(json.loads(script) for script in page.scripts if "alert" in script and script.startswith("{"))
    assert chart["data"][0]["y"][3] == '&lt;script&gt;alert("x")&lt;/script&gt; &amp; co', "plotly reads HTML in labels"


@pytest.mark.parametrize(
    ("tailor", "words"),
    [
        ({"boxes": {"manifest": 9, "yolov8": 0}}, "manifest 9 clips."),
        ({"boxes": {"yolov8": 9}, "whole_frame_cameras": [2]}, "yolov8 9 clips; camera 2: whole frames."),
        ({"boxes": {"manifest": 9}, "whole_frame_cameras": [1, 2]}, "manifest 9 clips; cameras 1, 2: whole frames."),
    ],
)
def test_which_cameras_are_cut_towards_the_person(tailor: dict, words: str) -> None:
    metrics = {"tailor": tailor, "manifest_hash": "0"}
    section = str(sections.data(metrics, {}, []))
    assert f"Clips are cut towards the person. Person boxes: {words}" in section


def test_the_numbers_are_the_measured_ones(page: Page) -> None:
    test = make().metrics["test"]
    shown = page.visible.replace("\xa0", " ")
    for words in (
        f"{100 * test['top1']:.1f} %",
        f"{100 * test['coverage']:.1f} %",
        "30 of 32 clips",
        "fold 1, with seed 7",
        "3 clips x 1 crops",
        "2 of 32 test clips could not be read",
        f"counting them as wrong, top-1 is {100 * test['top1_of_all']:.1f} %",
        "11.7 M",
        "1.23 G",
        "chose epoch 3",
        "empty file",
        "python train.py --config configs/quickstart.yaml",
        make().metrics["manifest_hash"],
        "keras: 3.15.1",
    ):
        assert words in shown, words
    assert "Contaminated" not in shown


def test_contamination_is_the_first_thing_said() -> None:
    shown = Page(report.render(make(contaminated=True, lost=0))).visible
    assert "12 in its train list" in shown
    assert shown.index("Contaminated") < shown.index("top-1")
    assert "could not be read" not in shown.split("Data")[0]


def test_a_report_of_bare_metrics() -> None:
    content = make()
    bare = {**content.metrics, "baseline": {}, "temporal": {}, "validation": {}, "best_epoch": None, "flops": None}
    shown = Page(report.render(report.Content(metrics=bare))).visible
    assert "Does it use time" not in shown
    assert "Training" not in shown
    assert "Example clips" not in shown


def test_a_report_of_nothing_readable() -> None:
    content = make()
    nothing = Predictions(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), 32)
    document = {**content.metrics, "test": results.details(nothing, CLASSES)}
    shown = Page(report.render(dataclasses.replace(content, metrics=document, examples=()))).visible
    assert "nothing was measured" in shown
    assert "32 of 32 test clips could not be read" in shown


def test_a_model_that_says_one_thing_is_told_apart() -> None:
    content = make(lost=0)
    probabilities = np.tile(np.array([0.4, 0.2, 0.2, 0.2], np.float32), (32, 1))
    stuck = Predictions(probabilities, np.repeat(np.arange(4), 8), np.arange(32), 32)
    shown = Page(
        report.render(
            dataclasses.replace(content, metrics={**content.metrics, "test": results.details(stuck, CLASSES)})
        )
    )
    assert "the same answer for every clip" in shown.visible
    assert "the same answer for every clip" not in Page(report.render(content)).visible


def test_another_split_is_called_by_its_name() -> None:
    content = make()
    shown = Page(
        report.render(dataclasses.replace(content, metrics={**content.metrics, "split": "validation"}))
    ).visible
    assert "validation top-1" in shown
    assert "Measured on the validation split" in shown
    assert "has no part in training" not in shown


@pytest.mark.parametrize("count", [2, 10, 40, 101])
def test_every_chart_is_one_that_plotly_accepts(count: int) -> None:
    content = make(tuple(f"Class number {index}" for index in range(count)) if count > 2 else CLASSES[2:] + CLASSES[:2])
    charts = [json.loads(script) for script in Page(report.render(content)).scripts if script.startswith("{")]
    assert len(charts) == 6
    for chart in charts:
        plotly.graph_objects.Figure(chart)


def test_each_class_of_many_has_room_for_its_name() -> None:
    classes = [f"Class number {index}" for index in range(101)]
    figure = plots.confusion(np.eye(101, dtype=int).tolist(), classes)
    rows = (figure["layout"]["height"] - 70) / 101
    assert rows >= figure["layout"]["yaxis"]["tickfont"]["size"]
    assert figure["layout"]["yaxis"]["dtick"] == 1


def test_rows_of_the_heat_map_are_shares_and_keep_their_counts() -> None:
    heat = plots.confusion([[3, 1], [0, 0]], ["a", "b"])["data"][0]
    assert heat["z"] == [[0.75, 0.25], [0, 0]]
    assert heat["customdata"] == [[3, 1], [0, 0]]


def test_the_largest_class_is_the_bar_to_beat() -> None:
    assert plots.largest_class([[3, 1], [1, 1]]) == pytest.approx(4 / 6)
    assert plots.largest_class([[0]]) is None


def test_history_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert report.read_history(path) == []
    path.write_text("epoch,learning_rate,loss\n1,0.1,2.302585092994046\n2,1e-05,0.5\n")
    assert report.read_history(path) == [
        {"epoch": 1, "learning_rate": 0.1, "loss": 2.302585092994046},
        {"epoch": 2, "learning_rate": 1e-05, "loss": 0.5},
    ]
    path.write_text("epoch,loss\n1,many\n")
    with pytest.raises(UserError, match=r"history\.csv"):
        report.read_history(path)


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    """A diverged epoch stands in the history as nan, which JSON does not have."""
    figure = plots.curves([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": float("nan")}], None)["Loss"]
    assert figure["data"][0]["y"] == [1.0, None]
    assert "null" in markup.script_json(figure)


def test_the_report_of_several_folds(tmp_path: Path) -> None:
    runs = [{**make().metrics, "fold": fold, "contaminated": fold == 2} for fold in (1, 2, 3)]
    report.write_folds(tmp_path / "report.html", folds.summarise(runs), title="all", links={1: "fold-1/report.html"})
    page = Page((tmp_path / "report.html").read_text())
    assert "fold-1/report.html" in page.links
    assert "Contaminated" in page.visible
    top1 = 100 * make().metrics["test"]["top1"]
    assert f"{top1:.1f} ± 0.0 %" in page.visible


def test_numbers_are_written_for_people() -> None:
    written = [markup.large(value) for value in (950, 12_300, 11_712_345, 7_764_219_808, 2.5e12, None)]
    assert written == ["950", "12.3&nbsp;k", "11.7&nbsp;M", "7.76&nbsp;G", "2.5&nbsp;T", "&ndash;"]
    assert [markup.points(value) for value in (0.25, -0.125, None)] == ["+25.0", "&minus;12.5", "&ndash;"]


PROBE = """
<script>
const rows = () => [...document.querySelectorAll("#classes tbody tr")];
const recalls = () => rows().map((row) => Number(row.cells[2].dataset.order));
const button = document.querySelectorAll("#classes th button")[2];
button.click();
const found = { rising: recalls() };
button.click();
found.falling = recalls();
document.querySelectorAll("#classes th button")[0].click();
found.names = rows().map((row) => row.cells[0].textContent);
setTimeout(() => {
  found.page = [document.documentElement.scrollWidth, window.innerWidth];
  found.plots = [...document.querySelectorAll(".plot")].map((place) => place.querySelectorAll(".main-svg").length);
  found.widths = [...document.querySelectorAll(".plot")].map((place) =>
    [place.clientWidth, place.querySelector(".main-svg").clientWidth]);
  found.cells = document.querySelectorAll("#confusion .heatmaplayer image").length;
  found.ticks = document.querySelectorAll("#confusion .ytick").length;
  found.bars = document.querySelectorAll("#time .bars .point").length;
  document.body.dataset.found = JSON.stringify(found);
}, 1500);
</script>
</body>"""


@pytest.fixture(scope="module")
def browse(
    tmp_path_factory: pytest.TempPathFactory, chromium_path: str
) -> Callable[[str, int], tuple[dict, list[str]]]:
    """Open a page in headless Chromium; return what the probe found in it and the errors on the console."""

    def look(page: str, width: int) -> tuple[dict, list[str]]:
        folder = tmp_path_factory.mktemp("page")
        (folder / "report.html").write_text(page.replace("</body>", PROBE))
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=10000"
        own = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom"]
        done = subprocess.run(
            [chromium_path, *flags.split(), *own, f"file://{folder / 'report.html'}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert 'data-ready="yes"' in done.stdout, errors
        found = re.search(r'data-found="([^"]*)"', done.stdout)
        return json.loads(html.unescape(found.group(1))), errors

    return look


@pytest.mark.browser
@pytest.mark.parametrize(("count", "width"), [(4, 1200), (4, 500), (101, 1200)])
def test_a_browser_draws_it_all(browse: Callable, count: int, width: int) -> None:
    content = make() if count == 4 else make(tuple(f"Class number {index}" for index in range(count)), per_class=2)
    found, errors = browse(report.render(content), width)
    assert errors == [], "nothing was blocked, nothing failed"
    assert len(found["plots"]) == 6
    assert all(found["plots"])
    assert found["page"][0] <= found["page"][1], "the page itself does not scroll sideways"
    assert all(abs(place - drawn) <= 1 for place, drawn in found["widths"])
    assert found["ticks"] == count, "each class has its name on the axis"
    assert found["bars"] == 5, "this model, two probes, baseline, largest class"
    assert found["cells"] == 1


@pytest.mark.browser
def test_a_click_on_a_heading_sorts(browse: Callable) -> None:
    found, _ = browse(report.render(make()), 1200)
    assert found["rising"] == sorted(found["rising"])
    assert found["falling"] == sorted(found["falling"], reverse=True)
    assert len(set(found["rising"])) > 1
    assert found["names"] == [NASTY, "bend", "jump", "sit / down"]
