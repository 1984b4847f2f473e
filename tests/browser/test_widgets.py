"""The widgets themselves in a real page: names for the blind, errors in sight, training that can be stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.lab_server import Lab, browser_page, hero, press, run_notebook, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """from rlbase.explore import Line, LiveRun, Panel, Scene, explore, slider, watch
import time""",
    """def picture(top):
    if top > 1.4:
        raise ValueError("top must stay below 1.4")
    return Scene([Panel([Line([0, 1], [0, top], label="line")], "Picture")], caption=f"top is {top:.1f}")

explore(picture, {"top": slider(1.0, 0.0, 2.0, step=0.1, label="height of the top")})""",
    """def train(count=100_000, rate=1.0):
    for i in range(count):
        time.sleep(0.005)
        yield {"update": i + 1, "return_mean": rate * i}

LiveRun(train, ["return_mean"], controls={"rate": slider(1.0, 0.5, 3.0, step=0.5, label="rate")})""",
    """records = watch(train(60), ["return_mean"])
len(records)""",
    """from rlbase.explore import presses

def heard(answers):
    return Scene([Panel([Line([0, 1], [0, 1], label="line")])], caption="Heard: " + " ".join(answers))

explore(heard, {"answers": presses(["left", "right", "skip"], label="Better:")})""",
    """from rlbase.explore.rating import RaterPanel

RaterPanel()""",
]


@pytest.fixture(scope="module")
def page(needs_chromium: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder: Path = tmp_path_factory.mktemp("widgets")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, folder / "widgets.ipynb")
    with (
        serve([folder / "widgets.ipynb"], folder / "served", theme="JupyterLab Dark") as lab,
        browser_page() as page,
    ):
        assert isinstance(lab, Lab) and run_notebook(page, lab, "widgets.ipynb") == []
        yield page


def test_slider_and_picture_have_spoken_names(page: Page) -> None:
    slider, picture = hero(page, "rlbase-top")
    page.wait_for_function(
        "() => document.querySelector('.rlbase-top [role=slider]').ariaLabel", timeout=5000
    )
    assert slider.get_attribute("aria-label") == "height of the top"
    assert picture.get_attribute("aria-label") == "top is 1.0 Picture: line goes from 0 to 1."


def test_nodes_are_kept_and_the_caption_follows(page: Page) -> None:
    slider, picture = hero(page, "rlbase-top")
    page.evaluate("() => { window.kept = [...document.querySelector('.rlbase-scene svg').children]; }")
    press(page, slider, picture)
    assert slider.get_attribute("aria-valuetext") == "1.10"  # what is shown, not 1.1000000000000001
    assert page.locator(".rlbase-scene figcaption").first.inner_text() == "top is 1.1"
    same = "() => window.kept.filter(node => node.isConnected).length / window.kept.length"
    assert page.evaluate(same) > 0.8


def test_a_fault_is_shown_beside_the_picture_and_goes_away(page: Page) -> None:
    slider, picture = hero(page, "rlbase-top")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
    alert = page.locator(".rlbase-explorable [role=alert]")
    alert.wait_for(state="visible", timeout=5000)
    assert alert.inner_text() == "top must stay below 1.4"
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(100)
    alert.wait_for(state="hidden", timeout=5000)
    assert picture.is_visible()


def test_a_letter_beside_a_slider_does_nothing_to_the_cell(page: Page) -> None:
    slider, _ = hero(page, "rlbase-top")
    count = page.locator(".jp-Cell").count()
    slider.focus()
    for key in ("x", "d", "d", "m", "1"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.locator(".jp-Cell").count() == count
    assert slider.is_visible() and page.locator(".jp-MarkdownCell").count() == 0


def test_text_takes_the_colour_of_the_dark_page(page: Page) -> None:
    color = page.evaluate("() => getComputedStyle(document.querySelector('.rlbase-scene text')).fill")
    assert [int(v) for v in re.findall(r"\d+", color)[:3]] > [200, 200, 200], color


def test_training_starts_within_a_second_and_stop_is_heard(page: Page) -> None:
    root = page.locator(".rlbase-explorable:has(.rlbase-start)")
    picture = root.locator(".rlbase-scene svg")
    root.locator(".rlbase-start").scroll_into_view_if_needed()
    waiting = """([css, frame]) => new Promise(done => {
      const svg = document.querySelector(css).closest('.rlbase-explorable').querySelector('.rlbase-scene svg');
      const began = performance.now();
      const tick = () => svg.dataset.frame !== frame ? done(performance.now() - began) : setTimeout(tick, 5);
      tick();
    })"""
    frame = picture.get_attribute("data-frame")
    root.locator(".rlbase-start").click()
    assert page.evaluate(waiting, [".rlbase-start", frame]) < 1000
    page.wait_for_timeout(500)
    root.locator(".rlbase-stop").click()
    page.wait_for_timeout(500)
    stopped = picture.get_attribute("data-frame")
    page.wait_for_timeout(500)
    assert picture.get_attribute("data-frame") == stopped and int(stopped or 0) >= 3
    # A moved control retrains, and shows it, within a second; then the run is put to rest.
    root.locator(".rlbase-rate [role=slider]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(waiting, [".rlbase-start", stopped]) < 1000
    page.wait_for_timeout(300)
    root.locator(".rlbase-reset").click()
    page.get_by_text("Ready.").wait_for(timeout=5000)


def test_watch_leaves_one_picture_of_the_final_curves(page: Page) -> None:
    outputs = page.locator(".jp-Cell").nth(3).locator(".rlbase-scene svg:visible")
    assert outputs.count() == 1
    assert "return_mean goes from 0 to 59" in (outputs.first.get_attribute("aria-label") or "")


def test_questions_are_answered_by_key(page: Page) -> None:
    """Two buttons and their keys; JupyterLab, which knows these keys too, must not take them for its own."""
    root = page.locator(".rlbase-explorable:has(.rlbase-presses):not(.rlbase-rater)")
    buttons = root.locator(".rlbase-presses button")
    buttons.first.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.rlbase-presses[data-lm-suppress-shortcuts]')")
    buttons.first.click()
    # x would cut the cell, 5 make a heading of it, dd delete it, an arrow upwards leave it: nothing of that happens.
    for key in ("ArrowRight", "3", "9", "x", "5", "d", "d", "ArrowUp", "1", "ArrowLeft", "2"):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    caption = root.locator("figcaption")
    caption.get_by_text("Heard: left right skip left left right").wait_for(timeout=5000)
    assert page.locator(".rlbase-error:visible").count() == 0


def test_twenty_pairs_are_rated_by_key_tab_and_mouse(page: Page) -> None:
    """Pair after pair; the result comes after the last one, or when asked for."""
    root = page.locator(".rlbase-rater")
    buttons, picture = root.locator(".rlbase-presses button"), root.locator(".rlbase-scene")
    buttons.first.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.rlbase-rater [data-lm-suppress-shortcuts]')")
    first_pair = root.locator(".rlbase-cards").inner_text()
    root.locator(".rlbase-cards").click()  # at a review, not at a button: the keys are heard all the same
    for key in ("1", "3"):
        page.keyboard.press(key)
        page.wait_for_timeout(300)
    assert root.locator(".rlbase-cards").inner_text() == first_pair and root.count() == 1
    assert len(first_pair.split()) > 24 and not picture.is_visible()
    buttons.first.focus()
    for i in range(20):
        root.get_by_text(f"Pair {i + 1} of 20").wait_for(timeout=5000)
        if i == 3:  # one back, and once more; the focus stays in the row
            page.keyboard.press("3")
            root.get_by_text("Pair 3 of 20").wait_for(timeout=5000)
            page.keyboard.press("1")
            root.get_by_text("Pair 4 of 20").wait_for(timeout=5000)
        if i == 5:
            buttons.first.click()
        elif i == 6:  # with the tab key to the next button, and pressed as any button is
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
        else:
            page.keyboard.press(("ArrowLeft", "ArrowRight", "1", "2")[i % 4])
    root.locator("figcaption").get_by_text("20 of 20 answered").wait_for(timeout=5000)
    assert picture.is_visible() and root.get_by_text("Its favourites").is_visible()
    assert "What 20 answers paid for" in (root.locator("svg").get_attribute("aria-label") or "")
