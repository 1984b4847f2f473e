"""JupyterLab in a real Chromium, for tests: a server on this machine, a page, and what one asks of a notebook."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
READY = """() => {
  const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
  const kernel = session?.session?.kernel;
  return !!(session?.isReady && kernel?.status === 'idle' && kernel?.connectionStatus === 'connected');
}"""
FINISHED = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.filter(cell => cell.model.type === 'code');
  const code = cells.filter(cell => cell.model.sharedModel.source.trim());
  const failed = code.some(cell => cell.model.outputs.toJSON().some(o => o.output_type === 'error'));
  const done = code.every(cell => cell.model.executionCount !== null);
  return (done || failed) && panel.sessionContext.session.kernel.status === 'idle';
}"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(cell => cell.model.type === 'code')
  .flatMap(cell => cell.model.outputs.toJSON().filter(o => o.output_type === 'error')
    .map(o => `${o.ename}: ${o.evalue} in cell: ${cell.model.sharedModel.source.slice(0, 80)}`))"""


def chromium() -> str | None:
    """The path of a Chromium on this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next((path for n in names if (path := shutil.which(n))), None)


@dataclass
class Lab:
    """A running server over ``root``, a folder of notebook copies."""

    url: str
    token: str
    root: Path

    def address(self, notebook: str) -> str:
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"


@contextmanager
def serve(
    notebooks: list[Path],
    folder: Path,
    *,
    theme: str = "JupyterLab Light",
    last: Mapping[str, str] | None = None,
) -> Iterator[Lab]:
    """Copy ``notebooks`` without their outputs into ``folder`` and run JupyterLab over it until the block ends.

    ``last`` maps a notebook's number to words of the cell with which its copy ends.
    """
    root = folder / "root"
    root.mkdir(parents=True)
    for path in notebooks:
        _copy_without_outputs(path, root / path.name, (last or {}).get(path.name[:2]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}",
    ]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly", "--allow-root"]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=root, env=_environment(folder, theme), stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
        yield Lab(f"http://127.0.0.1:{port}", token, root)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


@contextmanager
def browser(*, width: int = 1250, height: int = 1000) -> Iterator[BrowserContext]:
    """A headless Chromium: its pages share what it has fetched, above all JupyterLab itself."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        try:
            yield running.new_context(viewport={"width": width, "height": height})
        finally:
            running.close()


@contextmanager
def browser_page(*, width: int = 1250, height: int = 1000) -> Iterator[Page]:
    """One page of a headless Chromium."""
    with browser(width=width, height=height) as pages:
        yield pages.new_page()


def run_notebook(page: Page, lab: Lab, name: str, *, timeout: float = 240.0) -> list[str]:
    """Open a notebook, run all of its cells, and give the errors they ended in."""
    page.goto(lab.address(name))
    page.wait_for_function(READY, timeout=90_000, polling=200)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(FINISHED, timeout=timeout * 1000, polling=200)
    return page.evaluate(ERRORS)


def close_notebook(page: Page) -> None:
    """Shut the kernel of the open notebook down, so that the next one has the machine for itself."""
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")


def hero(page: Page, *preferred: str) -> tuple[Locator, Locator]:
    """A slider of the first live picture and that picture's SVG; ``preferred`` class names are tried first."""
    for css in [f".{name}" for name in preferred] + [""]:
        root = page.locator(
            f".rlbase-explorable:has({css or '.rlbase-scene'} {'[role=slider]' if css else 'svg'})"
        )
        if root.count() and (sliders := root.first.locator(f"{css} [role=slider]")).count():
            sliders.first.scroll_into_view_if_needed()
            return sliders.first, root.first.locator(".rlbase-scene svg").first
    raise AssertionError("no live picture with a slider was found in this notebook")


def press(page: Page, slider: Locator, picture: Locator, *, timeout: float = 10.0) -> tuple[str, str]:
    """Move the slider by one arrow key; wait for the picture to change; give the slider's value before and after."""

    def value() -> str:
        # Not aria-valuenow, which the toolkit rounds to one decimal: a step of 0.01 would not be seen.
        return slider.evaluate(
            "h => h.closest('.jupyter-widgets').querySelector('.widget-readout').textContent"
        )

    def changed() -> bool:
        return picture.get_attribute("data-frame") != frame and picture.inner_html() != drawn

    before, frame, drawn = value(), picture.get_attribute("data-frame"), picture.inner_html()
    slider.focus()
    for key in ("ArrowRight", "ArrowLeft"):  # one of them moves it, also at the end of its range
        page.keyboard.press(key)
        if _until(page, lambda: value() != before, 2.0):
            break
    assert _until(page, changed, timeout), f"the picture did not change within {timeout} s of a key press"
    return before, value()


def _until(page: Page, happened: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        page.wait_for_timeout(20)
    return True


def _copy_without_outputs(source: Path, target: Path, last: str | None) -> None:
    notebook: Any = nbformat.read(source, as_version=4)
    if last:
        end = next(i for i, cell in enumerate(notebook.cells) if last in cell.source)
        notebook.cells = notebook.cells[: end + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)


def _environment(folder: Path, theme: str) -> dict[str, str]:
    """Settings of its own for the server: no news, every cell rendered, this theme."""
    settings = folder / "settings"
    wanted = {
        "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
        "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/apputils-extension/themes": {"theme": theme},
    }
    for name, values in wanted.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    package = str(Path(__file__).parents[2])
    own = {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }
    return {**os.environ, **own}


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start; its log ends with:\n{log.read_text()[-2000:]}")
