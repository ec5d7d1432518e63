import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for chaos.py, pretended.py

import chaos
import chromium
import pretended
from web_server import served

from keras_actrec.swarm.dashboard import create_app, save_hiplot, save_report

pytestmark = pytest.mark.browser

READY = "document.body?.dataset.ready === 'yes'"
LENGTHS = "document.getElementById('curves').data?.map((line) => line.x.length) ?? []"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SPILLING = """[...document.querySelectorAll('main *')].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !e.closest('.scroll');
}).map((e) => e.tagName + '.' + e.getAttribute('class'))"""


@contextlib.contextmanager
def advancing(coordinator: pretended.Coordinator, every_sec: float = 0.25) -> Iterator[None]:
    ending = threading.Event()
    thread = threading.Thread(target=coordinator.run, args=(every_sec, ending))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(20)


@pytest.fixture
def look(browser: chromium.Browser) -> Iterator[Callable[..., chromium.Page]]:
    """Open pages; at the end nothing may stand on their consoles, and no other host may have been asked."""
    pages: list[tuple[chromium.Page, str]] = []

    def show(url: str, width: int = 1280, ready: str = READY) -> chromium.Page:
        page = browser.page(width, 900, mobile=width < 600)
        page.open(url, ready)
        pages.append((page, urlsplit(url).netloc))
        return page

    yield show
    for page, host in pages:
        assert page.errors() == []
        asked = {urlsplit(url).netloc for url in page.requests() if not url.startswith(("data:", "blob:"))}
        assert asked == {host}
        page.send("Page.close")


@pytest.fixture
def swarm(tmp_path: Path) -> pretended.Coordinator:
    return pretended.Coordinator(tmp_path / "runs" / "present", rounds=400)


def app_of(coordinator: pretended.Coordinator, token: str | None = None) -> object:
    return create_app(coordinator, host="127.0.0.1", token=token, output=coordinator.directory.parent)


def growth(page: chromium.Page, seconds: float = 15) -> None:
    """Wait until each of the four curves is longer than now."""
    before = page.evaluate(LENGTHS)
    assert len(before) == 4
    page.wait(f"({LENGTHS}).every((length, line) => length > {before}[line])", seconds)


def test_a_swarm_lives_is_paused_and_stopped(look: Callable, swarm: pretended.Coordinator) -> None:
    with served(app_of(swarm)) as port, advancing(swarm):
        page = look(f"http://127.0.0.1:{port}/")
        page.wait(f"({LENGTHS}).length === 4", 15)
        assert page.evaluate("document.querySelectorAll('.particle').length") == 4
        assert page.evaluate("document.getElementById('standing').textContent") == "running"
        growth(page)

        page.click("#pause")
        page.wait("document.getElementById('standing').textContent === 'paused'", 10)
        page.wait("document.getElementById('pause').textContent === 'Continue'", 10)
        page.wait(f"({LENGTHS}).every((length) => length === {swarm.round})", 10)
        paused_at = swarm.round
        page.evaluate("new Promise((done) => setTimeout(done, 2500))")
        assert page.evaluate(LENGTHS) == [paused_at] * 4

        page.wait("!document.getElementById('pause').disabled", 5)
        page.click("#pause")
        page.wait("document.getElementById('standing').textContent === 'running'", 10)
        growth(page)

        page.click("#stop")
        page.wait("document.getElementById('confirm').open", 5)
        page.click("#confirm button[value=no]")
        page.wait("!document.getElementById('confirm').open", 5)
        growth(page)
        assert swarm.calls == ["pause", "resume"]

        page.click("#stop")
        page.wait("document.getElementById('confirm').open", 5)
        page.click("#really")
        page.wait("document.getElementById('standing').textContent === 'stopped'", 10)
        page.wait("document.getElementById('buttons').hidden", 5)
        assert swarm.calls == ["pause", "resume", "stop"]


def test_a_text_is_only_text(look: Callable, swarm: pretended.Coordinator) -> None:
    swarm.store.journal.add_event("warning", pretended.NASTY, 1)
    swarm.trouble, swarm.message = 2, pretended.NASTY
    swarm.advance(3)
    with served(app_of(swarm)) as port:
        page = look(f"http://127.0.0.1:{port}/")
        assert pretended.NASTY in page.evaluate("document.getElementById('log').textContent")
        assert pretended.NASTY in page.evaluate("document.querySelector('.particle.trouble .message').textContent")
        assert pretended.NASTY in page.evaluate("document.getElementById('name').textContent")
        assert page.evaluate("document.querySelectorAll('#log img, .message img, h1 img').length") == 0
        assert page.evaluate("document.body.dataset.hacked ?? null") is None


def test_everything_is_drawn(look: Callable, swarm: pretended.Coordinator) -> None:
    swarm.advance(6)
    with served(app_of(swarm)) as port:
        page = look(f"http://127.0.0.1:{port}/")
        page.wait("document.querySelectorAll('.plot .main-svg').length > 0")
        drawn = "[...document.querySelectorAll('.plot')].map((plot) => plot.data.length)"
        assert page.evaluate(drawn) == [4, 1, 6, 5, 4, 3]
        chosen = page.evaluate("swarm.moves.get(6).get(1).chosen")
        titles = page.evaluate("[...document.querySelectorAll('#follow .pull title')].map((t) => t.textContent)")
        assert len(titles) == 4
        assert any("particle-2" in title and f"particle-{chosen + 1}" in title for title in titles)
        assert page.evaluate("document.querySelectorAll('#follow .neighbour').length") == 8
        assert page.evaluate("document.querySelectorAll('#decisions tbody tr').length") == 4

        page.evaluate(
            "(() => { const s = document.getElementById('when'); s.value = 2; s.dispatchEvent(new Event('input')); })()"
        )
        assert page.evaluate("document.getElementById('chosen-round').textContent") == "2"
        seen = page.evaluate("document.getElementById('distance-map').data[0].z[0][3]")
        assert seen == pytest.approx(swarm.store.journal.move(0, 2).distances[3])
        swarm.advance()
        page.wait(f"({LENGTHS})[0] === 7", 10)
        assert page.evaluate("document.getElementById('chosen-round').textContent") == "2", "it stays where it was put"

        page.click("#metrics button[data-key=val_loss]")
        seen = page.evaluate("document.getElementById('curves').data[2].y")
        journal = swarm.store.journal
        assert seen == pytest.approx([journal.publication(2, number).row["val_loss"] for number in range(1, 8)])
        page.click("#whose button[data-key='3']")
        seen = page.evaluate("document.getElementById('terms').data[0].y")
        assert seen == pytest.approx([journal.move(3, number).terms["own"] for number in range(1, 8)])


def test_nothing_is_counted_twice_when_the_page_comes_back(look: Callable, swarm: pretended.Coordinator) -> None:
    swarm.advance(3)
    with served(app_of(swarm)) as port:
        page = look(f"http://127.0.0.1:{port}/")
        for number in (4, 5, 6):
            swarm.advance()
            page.evaluate("for (let i = 0; i < 5; i++) document.dispatchEvent(new Event('visibilitychange'))")
            page.wait(f"({LENGTHS}).every((length) => length >= {number})", 10)
        assert page.evaluate(LENGTHS) == [6] * 4


@pytest.mark.parametrize(("width", "count", "rounds"), [(390, 4, 0), (390, 4, 5), (390, 12, 10), (1280, 12, 10)])
def test_nothing_is_wider_than_the_screen(look: Callable, tmp_path: Path, width: int, count: int, rounds: int) -> None:
    swarm = pretended.Coordinator(tmp_path / "runs" / "present", rounds=10, count=count)
    swarm.trouble = 2 if rounds < 10 else None
    swarm.store.journal.add_event("info", "x" * 500)
    swarm.advance(rounds)
    with served(app_of(swarm)) as port:
        page = look(f"http://127.0.0.1:{port}/", width)
        assert page.evaluate("document.querySelectorAll('.particle').length") == count
        assert page.evaluate("!document.getElementById('result').hidden") == (rounds == 10)
        assert page.evaluate(OVERFLOW) == 0
        assert page.evaluate(SPILLING) == []


def test_an_ended_swarm_shows_its_result(look: Callable, tmp_path: Path) -> None:
    swarm = pretended.Coordinator(tmp_path / "runs" / "present", rounds=6)
    swarm.advance(5)
    with served(app_of(swarm)) as port:
        page = look(f"http://127.0.0.1:{port}/")
        assert page.evaluate("document.getElementById('result').hidden")
        swarm.advance()
        page.wait("!document.getElementById('result').hidden", 10)
        best = page.evaluate("document.querySelector('#results tr.chosen').textContent")
        assert best.startswith(f"particle-{swarm.result['best'] + 1} \u2605")
        assert "ended" in page.evaluate("document.getElementById('status').textContent")
        assert page.evaluate("document.getElementById('buttons').hidden")


def test_a_server_that_is_gone_is_said_to_be_gone(browser: chromium.Browser, swarm: pretended.Coordinator) -> None:
    swarm.advance(3)
    app = app_of(swarm)
    page = browser.page()
    with served(app) as port:
        page.open(f"http://127.0.0.1:{port}/", READY)
        assert page.errors() == []
    page.wait("!document.getElementById('problem').hidden", 20)
    assert "Server not reachable" in page.evaluate("document.getElementById('problem').textContent")
    assert page.evaluate(LENGTHS) == [3] * 4, "what was known stays"
    swarm.advance()
    with served(app, port):
        page.wait("document.getElementById('problem').hidden", 40)
        page.wait(f"({LENGTHS})[0] === 4", 10)
    page.send("Page.close")


def test_the_token_leaves_the_address(look: Callable, swarm: pretended.Coordinator) -> None:
    swarm.advance(2)
    with served(app_of(swarm, "open sesame")) as port:
        page = look(f"http://127.0.0.1:{port}/?token=open%20sesame")
        assert page.evaluate("location.href") == f"http://127.0.0.1:{port}/"
        page.click("#pause")
        page.wait("document.getElementById('standing').textContent === 'paused'", 10)
        page.open(f"http://127.0.0.1:{port}/history", "document.querySelector('h1')?.textContent === 'Past swarms'")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_saved_report_opens_from_the_disk(look: Callable, tmp_path: Path, width: int) -> None:
    swarm = pretended.Coordinator(tmp_path, rounds=6)
    swarm.store.journal.add_event("warning", pretended.NASTY, 1)
    swarm.advance(6)
    page = look(f"file://{save_report(tmp_path, swarm.snapshot(), swarm.store.journal)}", width)
    assert page.evaluate(LENGTHS) == [6] * 4
    assert page.evaluate("document.querySelectorAll('#results tbody tr').length") == 4
    assert page.evaluate("document.getElementById('buttons').hidden")
    assert pretended.NASTY in page.evaluate("document.getElementById('log').textContent")
    assert page.evaluate("document.body.dataset.hacked ?? null") is None
    assert page.evaluate(OVERFLOW) == 0


def test_hiplot_draws_served_and_saved(look: Callable, swarm: pretended.Coordinator, tmp_path: Path) -> None:
    swarm.advance(4)
    drawn = "document.body?.textContent.includes('16/16')"
    with served(app_of(swarm)) as port:
        look(f"http://127.0.0.1:{port}/hiplot", ready=drawn)
    look(f"file://{save_hiplot(tmp_path, swarm.store.journal)}", ready=drawn)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_other_pages(look: Callable, swarm: pretended.Coordinator, width: int) -> None:
    with served(app_of(swarm)) as port:
        for path in ("history", "docs"):
            page = look(f"http://127.0.0.1:{port}/{path}", width, ready="document.querySelector('table') !== null")
            page.wait("document.readyState === 'complete'")
            assert page.evaluate(OVERFLOW) == 0


@pytest.mark.slow
def test_the_page_of_a_real_swarm(look: Callable, tiny_config: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "swarm.yaml", tmp_path / "real"
    output.mkdir()
    path.write_text(
        tiny_config.read_text().replace("ema: 0.9", "momentum: 0.9").replace("epochs: 3", "epochs: 1000")
        + "swarm: {particles: 4, learning_rates: [0.003, 0.001, 0.0003, [0.0001, 0.01]], heartbeat_sec: 0.2}\n"
    )
    server = chaos.start(path, output)
    try:
        deadline = time.monotonic() + 60
        while not (found := list(output.glob("*/server.json"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        page = look(json.loads(found[0].read_text())["url"])
        page.wait("document.querySelectorAll('.particle').length === 4", 30)
        page.wait(f"({LENGTHS}).length === 4", 180)
        growth(page, 60)
        page.click("#pause")
        page.wait("document.getElementById('standing').textContent === 'paused'", 20)
        resting_phases = "[...document.querySelectorAll('.particle .phase')].map((e) => e.textContent)"
        # One that was at the barrier already stays there.
        page.wait(f"({resting_phases}).every((phase) => ['paused', 'waiting'].includes(phase))", 60)
        page.evaluate("new Promise((done) => setTimeout(done, 2500))")
        resting = page.evaluate(LENGTHS)
        page.evaluate("new Promise((done) => setTimeout(done, 4000))")
        assert page.evaluate(LENGTHS) == resting
        page.wait("!document.getElementById('pause').disabled", 5)
        page.click("#pause")
        growth(page, 60)
        page.click("#stop")
        page.wait("document.getElementById('confirm').open", 5)
        page.click("#really")
        page.wait("document.getElementById('standing').textContent === 'stopped'", 60)
        assert server.wait(60) == 130
    finally:
        server.kill()
        server.wait()
