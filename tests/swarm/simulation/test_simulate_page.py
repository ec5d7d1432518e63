"""The page of `swarm-simulate` in headless Chromium: it plays, its sliders act, and it fits a phone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import chromium
import numpy as np
import pytest

from keras_actrec.swarm.simulation.rounds import Rules, play, start

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent.parent
READY = "document.body?.dataset.ready === 'yes'"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PICTURE = "document.getElementById('map').toDataURL()"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "keras_actrec", "swarm-simulate", "--port", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().split()[1]
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0, "Ctrl-C ends it without a complaint"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def look(browser: chromium.Browser, address: str) -> Iterator[Callable[..., chromium.Page]]:
    pages = []

    def show(width: int = 1280) -> chromium.Page:
        pages.append(browser.page(width, 900, mobile=width < 600))
        pages[-1].open(f"{address}/", READY)
        return pages[-1]

    yield show
    for page in pages:
        assert page.errors() == []
        assert all(url.startswith(address) for url in page.requests())
        page.send("Page.close")


def number(page: chromium.Page) -> int:
    return int(page.evaluate("document.getElementById('round').textContent"))


def step(page: chromium.Page) -> None:
    wanted = number(page) + 1
    page.click("#step")
    page.wait(f"document.getElementById('round').textContent === '{wanted}'", 20)


def slide(page: chromium.Page, name: str, value: float) -> None:
    page.evaluate(f"""(() => {{ const slider = document.getElementById('{name}'); slider.value = {value};
      slider.dispatchEvent(new Event('input')); }})()""")


def places(page: chromium.Page) -> np.ndarray:
    return np.array(page.evaluate("swarm.frames.at(-1).positions"))


@pytest.mark.parametrize("width", [390, 1280])
def test_it_steps_plays_pauses_and_begins_again(look: Callable, width: int) -> None:
    page = look(width)
    assert page.evaluate(OVERFLOW) == 0
    first = page.evaluate(PICTURE)
    step(page)
    assert page.evaluate(PICTURE) != first, "something was drawn"
    slide(page, "speed", 20)
    page.click("#play")
    page.wait("Number(document.getElementById('round').textContent) > 8", 30)
    page.click("#play")
    assert page.evaluate("document.getElementById('play').textContent") == "Play"
    resting = number(page)
    page.evaluate("new Promise((done) => setTimeout(done, 500))")
    assert number(page) == resting
    assert page.evaluate("swarm.frames.map((frame) => frame.round)") == list(range(1, resting + 1))
    page.click("#reset")
    page.wait("document.getElementById('round').textContent === '0'", 10)
    page.wait(f"{PICTURE} === {json.dumps(first)}", 10)
    assert page.evaluate(OVERFLOW) == 0


def test_what_is_drawn_is_what_the_dynamics_say(look: Callable) -> None:
    page = look()
    for name, value in (("c1", 0.2), ("c2", 1.1), ("strength", 0.7), ("beta", 2.5), ("neighbours", 2), ("rate", 0.1)):
        slide(page, name, value)
    for _ in range(3):
        step(page)
    slide(page, "c2", 0)  # in the middle of a run
    step(page)
    rules = {"particles": 12, "neighbours": 2, "c1": 0.2, "strength": 0.7, "beta": 2.5, "rate": 0.1}
    state = start(Rules(**rules))
    for c2 in (1.1, 1.1, 1.1, 0.0):
        state, _ = play(Rules(**rules, c2=c2), state)
    assert np.array_equal(places(page), state.positions)


def test_a_new_number_of_particles_begins_a_new_swarm(look: Callable) -> None:
    page = look()
    step(page)
    slide(page, "particles", 30)
    page.wait("document.getElementById('round').textContent === '0' && swarm.begin.length === 30", 10)
    step(page)
    assert places(page).shape == (30, 2)
    assert page.evaluate("document.getElementById('whose').options.length") == 31


def test_landscapes_equations_and_idle_sliders(look: Callable) -> None:
    page = look()
    chosen = """(id, value) => { const box = document.getElementById(id); box.value = value;
      box.dispatchEvent(new Event('change')); }"""
    pictures = set()
    for name in ("sphere", "rosenbrock", "rastrigin", "ackley", "himmelblau"):
        page.evaluate(f"({chosen})('landscape', '{name}')")
        page.wait(f"document.getElementById('about').textContent.toLowerCase().startsWith('{name}')", 10)
        pictures.add(page.evaluate(PICTURE))
    assert len(pictures) == 5
    page.evaluate(f"({chosen})('dynamic', 'towards_best paper')")
    assert page.evaluate("document.getElementById('equation').textContent") == (
        "next = after + c2 r2 (neighbourhood's best - after)"
    )
    idle = "[...document.querySelectorAll('.idle input')].map((input) => input.id)"
    assert page.evaluate(idle) == ["c1", "strength", "beta"]
    step(page)


def test_a_click_shows_one_particle(look: Callable) -> None:
    page = look()
    step(page)
    everything = page.evaluate(PICTURE)
    x, y = places(page)[3]
    page.evaluate(f"""(() => {{ const map = document.getElementById('map'), box = map.getBoundingClientRect();
      map.dispatchEvent(new MouseEvent('click', {{clientX: box.left + ({x} / land.reach + 1) * box.width / 2,
        clientY: box.top + (1 - {y} / land.reach) * box.height / 2}})); }})()""")
    assert page.evaluate("document.getElementById('whose').value") == "3"
    assert page.evaluate(PICTURE) != everything


def test_a_swarm_that_flies_apart_is_told(browser: chromium.Browser, address: str) -> None:
    page = browser.page()
    page.open(f"{address}/", READY)
    page.evaluate("document.getElementById('dynamic').value = 'dynamic_2 paper'")
    for name, value in (("particles", 60), ("strength", 2), ("beta", 0.1), ("neighbours", 59), ("speed", 20)):
        slide(page, name, value)
    page.wait("swarm.begin.length === 60", 10)
    page.click("#play")
    page.wait("!document.getElementById('problem').hidden", 60)
    assert "flew apart" in page.evaluate("document.getElementById('problem').textContent")
    assert page.evaluate("document.getElementById('play').textContent") == "Play"
    page.send("Page.close")
