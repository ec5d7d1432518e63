"""The page of a data set: its numbers worked by hand, its HTML safe and complete."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import plotly.graph_objects
import pytest

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.survey_facts import Facts, key_of
from keras_actrec.evaluation import survey_numbers, survey_page, survey_pictures, survey_plots
from keras_actrec.evaluation.survey_pictures import Strip

NASTY = '<script>alert("x")</script>'


def facts(clip: Clip, frames: int, **changes: object) -> Facts:
    values = {"frames": frames, "fps": 25.0, "width": 320, "height": 240, **changes}
    return Facts(clip.path, clip.start_sec, clip.end_sec, 1, 1, **values)


def numbers() -> dict:
    clips = [
        Clip("a.avi", "run", "train"),
        Clip("b.avi", "run", "test"),
        Clip("c.avi", "run", "test"),
        Clip("d.avi", NASTY, "train"),
        Clip("e.avi", None, "unlabelled"),
        Clip("f.avi", "swim", "unknown"),
    ]
    manifest = Manifest.from_clips("toy", "/data", 1, clips, ("run", NASTY))
    found = [
        facts(clips[0], 50, motion=2.0),
        facts(clips[1], 100, motion=4.0),
        facts(clips[2], 0, width=0, height=0, fps=0.0, reason=f"corrupt: {NASTY}"),
        facts(clips[3], 30, fps=15.0, width=176, height=144, motion=9.0),
        facts(clips[4], 75),
        facts(clips[5], 25, motion=1.0),
    ]
    return survey_numbers.build(manifest, {key_of(one): one for one in found})


def test_numbers_of_a_worked_example() -> None:
    found = numbers()
    assert (found["clips"], found["readable"]) == (6, 5)
    # Seconds: 2, 4, 2, 3, 1.
    assert found["hours"] == pytest.approx(12 / 3600)
    assert {name: found["seconds"][name] for name in ("least", "mean", "median", "most")} == {
        "least": 1.0,
        "mean": 2.4,
        "median": 2.0,
        "most": 4.0,
    }
    assert found["sizes"] == {"320 x 240": 4, "176 x 144": 1} and found["rates"] == {"25": 4, "15": 1}
    assert list(found["classes"]) == ["run", NASTY, "swim", ""]
    run = found["classes"]["run"]
    assert run["splits"] == {"train": 1, "test": 2} and run["unreadable"] == 1 and run["median_seconds"] == 3.0
    assert (run["motion"], run["motion_clips"], run["motion_deviation"]) == (3.0, 2, pytest.approx(2**0.5))
    assert found["classes"][""]["motion"] is None
    (lost,) = found["unreadable"]
    assert (lost["path"], lost["split"], lost["label"]) == ("c.avi", "test", "run")
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "values", [[3.0], [2.0, 2.0], [0.04], [1.6, 1.7, 1.6], [float(n) for n in range(1, 2000)], [1, 2, 3, 2, 900.0] * 90]
)
def test_histograms_lose_no_clip_and_have_round_edges(values: list[float]) -> None:
    found = survey_numbers.spread(values)["histogram"]
    edges, counts = found["edges"], found["clips"]
    assert sum(counts) == len(values) and len(counts) <= survey_numbers.BINS + 2
    assert edges[0] <= min(values) and edges[-1] >= max(values)
    width = edges[1] - edges[0] if len(counts) > 1 else None
    assert width is None or re.fullmatch(r"[125]e[+-]\d+", f"{width:.0e}")


def test_a_clip_lies_in_the_bar_that_begins_with_its_length() -> None:
    found = survey_numbers.spread([1.5, 1.6, 1.6, 1.7, 4.4])["histogram"]
    assert dict(zip(found["edges"], found["clips"], strict=False))[1.6] == 2


def test_charts_are_valid_for_plotly() -> None:
    found = numbers()
    figures = [
        survey_plots.clips(found["classes"]),
        survey_plots.motion(found["classes"]),
        survey_plots.histogram(found["seconds"], "length"),
        survey_plots.kinds({f"{n} x {n}": 30 - n for n in range(1, 20)}, "size"),
    ]
    for figure in figures:
        plotly.graph_objects.Figure(figure)
    stacked = {bar["name"]: bar["y"] for bar in figures[0]["data"]}
    assert stacked == {"train": [1, 1, 0, 0], "test": [2, 0, 0, 0], "unlabelled": [0, 0, 0, 1], "unknown": [0, 0, 1, 0]}
    (motion,) = figures[1]["data"]
    assert motion["y"] == [1.0, 3.0, 9.0]
    (sizes,) = figures[3]["data"]
    assert sizes["y"][0] == "7 others" and sum(sizes["x"]) == sum(30 - n for n in range(1, 20))


def test_page_is_complete_and_safe(tmp_path: Path) -> None:
    found = numbers()
    pictures = {"run": [Strip(f"{NASTY}.avi", "data:image/jpeg;base64,AAAA")], NASTY: []}
    survey_page.write(tmp_path / "page.html", found, pictures, "/data")
    page = (tmp_path / "page.html").read_text()
    own = page[: page.index("plotly.js")] if "plotly.js" in page else page
    assert NASTY not in own and 'title="&lt;script&gt;' in own
    sections = re.findall(r'<section id="([a-z]+)">', page)
    assert sections == ["overview", "clips", "lengths", "formats", "motion", "samples", "classes", "unreadable"]
    assert "at most 12 clips per class" in page and "c.avi" in page


def test_a_data_set_without_one_readable_clip_has_a_page(tmp_path: Path) -> None:
    clip = Clip("a.avi", "run", "train")
    manifest = Manifest.from_clips("toy", "/data", 1, [clip])
    found = {key_of(clip): facts(clip, 0, fps=0.0, reason="empty file")}
    document = survey_numbers.build(manifest, found)
    assert document["seconds"] is None
    survey_page.write(tmp_path / "page.html", document, {}, "/data")
    assert "empty file" in (tmp_path / "page.html").read_text()


PROBE = """
<script>
setTimeout(() => {
  const found = { page: [document.documentElement.scrollWidth, window.innerWidth] };
  found.plots = [...document.querySelectorAll(".plot")].map((place) => place.querySelectorAll(".main-svg").length);
  found.pictures = [...document.querySelectorAll("#samples img")].map((image) => image.naturalWidth);
  document.body.dataset.found = JSON.stringify(found);
}, 1500);
</script>
</body>"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_draws_the_page(tmp_path: Path, chromium_path: str, width: int) -> None:
    strip = Strip("a.avi", survey_pictures.encode(np.zeros((3, 84, 112, 3), np.uint8)))
    page = tmp_path / "page.html"
    survey_page.write(page, numbers(), {"run": [strip, strip]}, "/data")
    page.write_text(page.read_text().replace("</body>", PROBE))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=10000 --dump-dom"
    own = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", f"file://{page}"]
    done = subprocess.run(
        [chromium_path, *flags.split(), *own], capture_output=True, text=True, timeout=120, check=True
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line], "nothing was blocked, nothing failed"
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', done.stdout).group(1)))
    assert len(found["plots"]) == 6 and all(found["plots"])
    assert found["page"][0] <= found["page"][1], "the page itself does not scroll sideways"
    assert found["pictures"] == [3 * 112 + 2 * survey_pictures.GAP] * 2
