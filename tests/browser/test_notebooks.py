"""Real notebooks in real JupyterLab: run everything, move a control by keyboard, see the picture change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab_server import Lab, browser, close_notebook, hero, press, run_notebook, serve

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "browser"
# Notebook number -> the classes its hero control may have, best first; any live slider will do after them.
HEROES = {
    "00": (),
    "01": ("rlbase-gamma",),
    "02": ("rlbase-beta", "rlbase-temperature"),
    "03": (),
    "04": ("rlbase-clip",),
    "05": ("rlbase-beta",),
    "10": ("rlbase-comparisons",),
    "12": ("rlbase-constant",),
    "23": ("rlbase-price",),
}
# Notebooks that compute for long after their hero: here they end with it. `make notebooks` runs all of each.
LAST = {
    "00": "explore(spring",
    "04": "clip_explorer()",
    "10": "reward_map_explorer()",
    "12": "comparison_explorer()",
    "23": "verdict_explorer()",
}
NOTEBOOKS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.name[:2] in HEROES]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(needs_chromium: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serve(NOTEBOOKS, tmp_path_factory.mktemp("lab") / "served", last=LAST) as running:
        yield running


@pytest.fixture(scope="module")
def pages(needs_chromium: None) -> Iterator[BrowserContext]:
    """One browser, a page for each notebook: JupyterLab is fetched once."""
    with browser() as running:
        yield running


def test_at_least_four_notebooks_are_driven_and_run_to_their_end() -> None:
    assert len([path for path in NOTEBOOKS if path.name[:2] not in LAST]) >= 4, NOTEBOOKS


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_a_key_press_changes_the_picture(lab: Lab, pages: BrowserContext, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with pages.new_page() as page:
        errors = run_notebook(page, lab, name)
        assert not errors, "\n".join(errors)
        slider, picture = hero(page, *HEROES[name[:2]])
        assert picture.get_attribute("role") == "img" and len(picture.get_attribute("aria-label") or "") > 20
        described = picture.get_attribute("aria-label")
        page.screenshot(path=PICTURES / f"{name[:-6]}-before.png")
        for _ in range(3):
            before, after = press(page, slider, picture)
            assert before != after, "the slider did not move"
        assert picture.get_attribute("aria-label") != described, "the description did not follow the picture"
        assert not page.locator(".rlbase-error:visible").count()
        page.screenshot(path=PICTURES / f"{name[:-6]}-after.png")
        close_notebook(page)
