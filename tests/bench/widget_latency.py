"""Key press to changed page, in real Chromium in JupyterLab: one table for the three hero controls.

Run from the repository's root: ``python -m tests.bench.widget_latency [--presses 50] [--theme dark]``.
The clock runs in the page, from the keydown event to the frame in which the new picture is painted, so it
holds the slider, the message to Python, the computation, the message back and the drawing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import nbformat

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser.lab_server import browser_page, run_notebook, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEROES = {
    "clip explorer, ε": ("clipping", "clip_explorer", "rlbase-clip"),
    "β explorer, β (trains a policy)": ("kl", "beta_explorer", "rlbase-beta"),
    "γ heatmap, γ (value iteration)": ("values", "gamma_explorer", "rlbase-gamma"),
}
CLOCK = """css => {
  const slider = document.querySelector(`.${css} [role=slider]`);
  const svg = slider.closest('.rlbase-explorable').querySelector('.rlbase-scene svg');
  window.latency = [];
  let pressed = null;
  slider.addEventListener('keydown', event => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (pressed === null) return;
    const start = pressed;
    pressed = null;
    requestAnimationFrame(() => setTimeout(() => window.latency.push(performance.now() - start), 0));
  }).observe(svg, { attributes: true, attributeFilter: ['data-frame'] });
  slider.focus();
  slider.scrollIntoView({ block: 'center' });
}"""


def notebook(path: Path) -> None:
    """A notebook with nothing but the three explorers."""
    cells = ["import torch\n_ = torch.set_num_threads(1)"]
    cells += [f"from rlbase.explore.{module} import {name}\n{name}()" for module, name, _ in HEROES.values()]
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(made, path)


def measure(page: Page, css: str, presses: int) -> list[float]:
    """Milliseconds of each of ``presses`` arrow keys, one after another, back and forth over the slider."""
    page.evaluate(CLOCK, css)
    for i in range(presses + 3):
        page.keyboard.press("ArrowRight" if (i // 5) % 2 == 0 else "ArrowLeft")
        page.wait_for_function("n => window.latency.length >= n", arg=i + 1, timeout=10_000, polling=20)
        page.wait_for_timeout(120)
    return page.evaluate("window.latency")[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presses", type=int, default=50)
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--screenshots", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "latency.ipynb"
        notebook(path)
        theme = f"JupyterLab {options.theme.title()}"
        with serve([path], Path(name) / "lab", theme=theme) as lab, browser_page() as page:
            errors = run_notebook(page, lab, path.name)
            assert not errors, errors
            load = os.getloadavg()[0]
            print(
                f"{'hero control':34} {'median ms':>9} {'p90 ms':>7} {'max ms':>7}   presses   (load {load:.1f})"
            )
            for label, (_, _, css) in HEROES.items():
                times = measure(page, css, options.presses)
                p90 = quantiles(times, n=10, method="inclusive")[-1]
                print(f"{label:34} {median(times):9.0f} {p90:7.0f} {max(times):7.0f}   {len(times):7}")
                if options.screenshots:
                    options.screenshots.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=options.screenshots / f"{css}-{options.theme}.png")


if __name__ == "__main__":
    main()
