"""Execute notebooks in place, so that their committed outputs are what the code gives today.

``python tests/refresh_notebooks.py [part of a name ...]`` takes the notebooks whose names contain
one of the arguments, or all of them. Widgets are dropped where a picture stands beside them: without a
kernel they show an error, and their state is large and differs from run to run. A notebook that
fails is left as it was.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

os.environ["RLBASE_STRICT"] = "1"  # kernels inherit it: a solution that fails its check stops the notebook
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
STILL = {"image/png", "image/svg+xml", "text/html"}


def refresh(path: Path) -> str | None:
    """Execute one notebook and write it back; return what went wrong, if anything did."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if STILL & set(output.get("data", {})):
                output.data.pop(WIDGET, None)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    nbformat.write(notebook, path)
    return None


def main(names: list[str]) -> int:
    failed = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if names and not any(name in path.name for name in names):
            continue
        start = time.perf_counter()
        error = refresh(path)
        print(
            f"{path.name:40} {'failed' if error else 'ok':6} {time.perf_counter() - start:6.1f} s", flush=True
        )
        if error:
            failed.append(path.name)
            print(error)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
