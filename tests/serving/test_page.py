"""The page of `serve` in headless Chromium: good and bad uploads, ten at once, examples, models, a telephone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import chromium
import made
import pytest
from serving import application_of
from web_server import served

from keras_actrec.serving.server import examples

pytestmark = pytest.mark.browser

READY = "document.body?.dataset.ready === 'yes'"
SETTLED = "[...document.querySelectorAll('.card')].every((card) => card.dataset.state !== 'working')"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SPILLING = """[...document.querySelectorAll('main *')].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1;
}).map((e) => e.tagName + '.' + e.getAttribute('class'))"""


@pytest.fixture(scope="module")
def port(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("examples")
    made.video(folder / "example.mp4", 30, seed=8)
    other = made.save_run(tmp_path_factory.mktemp("page") / "second", ("Left", "Right"), seed=4)
    app = application_of(run, other, bounds={"requests": 2}, offered=examples.in_folder(folder))
    with served(app) as number:
        yield number


@pytest.fixture
def look(browser: chromium.Browser, port: int) -> Iterator[Callable[..., chromium.Page]]:
    """Open the page; at the end nothing but refusals may stand on its console, and no other host was asked."""
    pages: list[chromium.Page] = []

    def show(width: int = 1180) -> chromium.Page:
        page = browser.page(width, 900, mobile=width < 600)
        page.open(f"http://127.0.0.1:{port}/", READY)
        pages.append(page)
        return page

    yield show
    for page in pages:
        refusals = ("status of 422", "status of 429", "status of 413")
        assert [one for one in page.errors() if not any(word in one for word in refusals)] == []
        asked = {urlsplit(url).netloc for url in page.requests() if not url.startswith(("data:", "blob:"))}
        assert asked == {f"127.0.0.1:{port}"}
        page.send("Page.close")


def upload(page: chromium.Page, *files: Path, timeout_sec: float = 90) -> None:
    """Choose files, as the file dialog does, and wait until all cards have come to rest."""
    before = page.evaluate("document.querySelectorAll('.card').length")
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    page.send("DOM.setFileInputFiles", files=list(map(str, files)), nodeId=node)
    page.wait(f"document.querySelectorAll('.card').length === {before + len(files)} && {SETTLED}", timeout_sec)


def states(page: chromium.Page) -> dict[str, str]:
    """What each card says: its verdict, or why there is none."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.card')].map((card) => ["
        "card.querySelector('.file').textContent,"
        " card.querySelector('.state').textContent || card.querySelector('.label').textContent]))"
    )


def test_a_good_video_plays_beside_its_classes(look: Callable, short_video: Path) -> None:
    page = look()
    upload(page, short_video)
    assert states(page)["short.mp4"] in made.CLASSES
    page.wait("document.querySelector('.clip').readyState >= 2 && document.querySelector('.clip').videoWidth === 64")
    bars = page.evaluate("[...document.querySelectorAll('.bars li')].map((row) => row.textContent)")
    assert len(bars) == 4
    widths = page.evaluate("[...document.querySelectorAll('.track i')].map((e) => e.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    places = page.evaluate(
        "['.clip', '.bars'].map((s) => document.querySelector(s).getBoundingClientRect()).map((r) => [r.x, r.y])"
    )
    assert places[0][0] < places[1][0], "the classes stand beside the video"
    page.click(".card .close")
    assert page.evaluate("document.querySelectorAll('.card').length") == 0


def test_a_video_with_a_long_name(look: Callable, short_video: Path, tmp_path: Path) -> None:
    video = tmp_path / f"{'n' * 240}.mp4"
    video.write_bytes(short_video.read_bytes())
    page = look()
    upload(page, video)
    assert states(page)[video.name] in made.CLASSES
    assert any(url.endswith(f"name={video.name[-200:]}") for url in page.requests())


def test_bad_uploads_are_told_and_the_next_is_answered(look: Callable, short_video: Path, tmp_path: Path) -> None:
    empty, text, large = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "large.mp4"
    empty.touch()
    text.write_text("no video <b>at all</b>")
    large.write_bytes(bytes(2_100_000))
    bad = [empty, text, large, made.two_hours(tmp_path / "two <b>hours.mp4"), made.huge(tmp_path / "huge.mp4")]
    page = look()
    upload(page, *bad)
    said = states(page)
    assert said["empty.mp4"] == "Cannot read the video: empty file."
    assert said["text.mp4"] == "Cannot read the video: not a video."
    assert said["large.mp4"] == "The upload is larger than 2 MB."
    assert said["two <b>hours.mp4"].startswith("Cannot read the video: lasts 7")
    assert said["huge.mp4"] == "Cannot read the video: frames of 6000x6000 pixels, at most 4096x4096."
    upload(page, short_video)
    assert states(page)["short.mp4"] in made.CLASSES


def test_ten_at_once_on_a_server_with_two_places(look: Callable, tmp_path: Path) -> None:
    videos = [made.video(tmp_path / f"clip{number}.mp4", 20, seed=number) for number in range(10)]
    page = look()
    upload(page, *videos, timeout_sec=180)
    said = states(page)
    assert len(said) == 10
    assert set(said.values()) <= set(made.CLASSES), said


def test_a_long_video_has_a_timeline_that_leads_through_it(look: Callable, long_video: Path) -> None:
    page = look()
    upload(page, long_video)
    page.wait("document.querySelector('.clip').readyState >= 2")
    count = page.evaluate("document.querySelectorAll('.timeline button').length")
    assert count == page.evaluate("document.querySelectorAll('.segments li').length") >= 1
    wide = page.evaluate("document.querySelector('.timeline').getBoundingClientRect().width")
    parts = page.evaluate(
        "[...document.querySelectorAll('.timeline button')].map((e) => e.getBoundingClientRect().width)"
    )
    assert sum(parts) == pytest.approx(wide, abs=1)
    page.evaluate("document.querySelector('.clip').pause()")
    page.click(".timeline button:last-of-type")
    start = page.evaluate("document.querySelector('.clip').currentTime")
    shown = page.evaluate("document.querySelector('.segments li:last-child .time').textContent")
    assert shown.startswith(f"0:{int(start):02d}")
    page.wait("document.querySelector('.segments li:last-child').classList.contains('current')")


def test_what_the_network_looks_at_is_shown_on_request(look: Callable, short_video: Path) -> None:
    page = look()
    upload(page, short_video)
    page.click(".explain")
    page.wait(
        "!document.querySelector('.explain').disabled && document.querySelector('.overlay').videoWidth === 512", 60
    )
    label = states(page)["short.mp4"]
    assert f"“{label}” (grad-cam)" in page.evaluate("document.querySelector('.explained').textContent")


def test_what_the_browser_cannot_play_comes_as_a_copy(look: Callable, tmp_path: Path) -> None:
    page = look()
    upload(page, made.video(tmp_path / "old.avi", 30, codec="mpeg4"))
    assert states(page)["old.avi"] in made.CLASSES
    page.wait("document.querySelector('.clip').readyState >= 2 && document.querySelector('.note').textContent", 60)
    assert "small copy" in page.evaluate("document.querySelector('.note').textContent")


def test_examples_and_models_are_chosen(look: Callable) -> None:
    page = look()
    page.wait("document.querySelector('.examples video').readyState >= 1")
    page.evaluate(
        "{ const m = document.getElementById('model'); m.value = 'second'; m.dispatchEvent(new Event('change')); }"
    )
    assert "Left, Right" in page.evaluate("document.getElementById('model-facts').textContent")
    page.click(".examples button")
    page.wait(f"document.querySelectorAll('.card').length === 1 && {SETTLED}", 60)
    assert states(page)["example.mp4"] in ("Left", "Right")


def test_a_drop_is_taken_and_the_page_stays(look: Callable, short_video: Path) -> None:
    page = look()
    content = list(short_video.read_bytes())
    page.evaluate(
        f"{{ const data = new DataTransfer(), bytes = new Uint8Array({json.dumps(content)});"
        " data.items.add(new File([bytes], 'dropped.mp4'));"
        " document.getElementById('drop').dispatchEvent(new DragEvent('drop', "
        "{ dataTransfer: data, bubbles: true, cancelable: true })); }"
    )
    page.wait(f"document.querySelectorAll('.card').length === 1 && {SETTLED}", 60)
    assert states(page)["dropped.mp4"] in made.CLASSES


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_spills_over_a_small_screen(look: Callable, long_video: Path, width: int) -> None:
    page = look(width)
    upload(page, long_video)
    page.wait("document.querySelector('.clip').readyState >= 2")
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(SPILLING) == []
    if width < 600:
        assert page.evaluate("document.querySelector('.explain').getBoundingClientRect().height") >= 44


def test_the_description_of_the_api_needs_no_network(look: Callable, port: int) -> None:
    page = look()
    page.open(f"http://127.0.0.1:{port}/docs", "document.querySelectorAll('tbody tr').length > 5")
    assert page.evaluate(OVERFLOW) == 0
    assert "POST /api/predict" in page.evaluate("document.body.innerText")
