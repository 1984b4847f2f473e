"""What nbval cannot see: that a notebook was run at all, and that it teaches as the others do.

nbval skips the comparison of a cell that was never executed, so a stripped notebook would pass.
CONTRIBUTING.md describes the shape of a notebook that these tests enforce.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tree import NOTEBOOKS, name

Notebook = dict[str, Any]
MAX_CELL_LINES = 15
LONG_CELL_TAG = "long-cell"
# What a control bound to computation leaves in the output (see `rlbase.explore`).
LIVE = re.compile(r"\b(?:Explorable|LiveRun)\(")
# Every opening cell says these, in these words (upper or lower case).
OPENING = {
    "what one can do afterwards": r"will be able to",
    "the picture": r"picture|play with",
    "how long it takes": r"\d+\s*(?:min\b|minutes)",
    "what it builds on": r"builds on",
    "where it leads": r"leads? to|leads on",
}


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def prose(notebook: Notebook) -> str:
    return "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def outputs(notebook: Notebook) -> list[dict[str, Any]]:
    return [output for cell in code(notebook) for output in cell["outputs"]]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> Notebook:
    return json.loads(path.read_text(encoding="utf-8"))


def test_name_is_numbered(path: Path) -> None:
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)


def test_is_small(path: Path) -> None:
    assert path.stat().st_size < 1_000_000


def test_every_code_cell_was_executed_in_order(notebook: Notebook) -> None:
    counts = [cell["execution_count"] for cell in code(notebook) if source(cell).strip()]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks-refresh`"


def test_has_compared_text_output(notebook: Notebook) -> None:
    compared = [
        output
        for cell in code(notebook)
        if not {"nbval-ignore-output", "nbval-skip"} & set(cell["metadata"].get("tags", []))
        for output in cell["outputs"]
        if output.get("text") or "text/plain" in output.get("data", {})
    ]
    assert compared, "no output of this notebook is compared with anything"


def test_has_no_errors(notebook: Notebook) -> None:
    expected = [c for c in code(notebook) if "raises-exception" in c["metadata"].get("tags", [])]
    failed = [c["id"] for c in code(notebook) if any(o["output_type"] == "error" for o in c["outputs"])]
    assert failed == [cell["id"] for cell in expected]


def test_prints_nothing_to_stderr(notebook: Notebook) -> None:
    assert [output["text"] for output in outputs(notebook) if output.get("name") == "stderr"] == []


def test_carries_no_widget_state(notebook: Notebook) -> None:
    assert "widgets" not in notebook["metadata"]


def test_uses_the_projects_kernel(notebook: Notebook) -> None:
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_cell_ids_are_there_and_unique(notebook: Notebook) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_names_no_absolute_path(notebook: Notebook) -> None:
    text = json.dumps([notebook["cells"]])
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"(?<![\w.:/<])/(?:home|root|Users|tmp|work|opt|usr)/", without_pictures)


def test_runs_wherever_its_copy_lies(notebook: Notebook) -> None:
    looks_around = [cell["id"] for cell in notebook["cells"] if "cwd()" in source(cell)]
    assert not looks_around, (
        "find logs beside the package, not above the folder that the notebook was copied to"
    )


def test_cells_are_short(notebook: Notebook) -> None:
    lengths = {
        cell["id"]: len(source(cell).strip().splitlines())
        for cell in code(notebook)
        if LONG_CELL_TAG not in cell["metadata"].get("tags", [])
    }
    assert {cell: lines for cell, lines in lengths.items() if lines > MAX_CELL_LINES} == {}


def test_opens_with_what_a_learner_wants_to_know(notebook: Notebook) -> None:
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert [what for what, how in OPENING.items() if not re.search(how, source(first), re.IGNORECASE)] == []


def test_has_a_live_control(notebook: Notebook) -> None:
    live = [cell["id"] for cell in code(notebook) if LIVE.search(json.dumps(cell["outputs"]))]
    assert live, "no output of this notebook is an Explorable or a LiveRun"


def test_widgets_left_a_picture_behind(notebook: Notebook) -> None:
    """A page without a kernel cannot show a widget and says so instead of showing the picture beside it."""
    widgets = [c["id"] for c in code(notebook) if "widget-view+json" in json.dumps(c["outputs"])]
    assert widgets == [], "`make notebooks-refresh` drops a widget that comes with a picture; these do not"


def test_pictures_have_alt_text(notebook: Notebook) -> None:
    assert re.findall(r"!\[\s*\]\(", prose(notebook)) == []
    pictures = [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    without = [o for o in pictures if not o["metadata"].get("image/png", {}).get("alt", "").strip(" :.")]
    assert len(without) == 0, (
        f"{len(without)} of {len(pictures)} pictures have no words for those who cannot see"
    )
    tags = re.findall(r"<img\b[^>]*>", json.dumps(notebook["cells"]).replace('\\"', '"'))
    assert [tag[:80] for tag in tags if not re.search(r"alt\s*=\s*['\"]\s*\S", tag)] == []


def test_links_lead_somewhere(path: Path, notebook: Notebook) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`|\$[^$]*\$", "", prose(notebook), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [t.partition("#")[0] for t in targets if not re.match(r"https?://|mailto:|attachment:|data:", t)]
    assert [t for t in local if t and not (path.parent / t).exists()] == []


def test_has_a_known_answer_and_a_wrong_variant(path: Path, notebook: Notebook) -> None:
    if path.stem.startswith("00"):
        return
    everything = prose(notebook) + "\n".join(map(source, code(notebook)))
    for part in ("known answer", "wrong variant", "where this goes at scale", "predict"):
        assert re.search(part, everything, re.IGNORECASE), f"nothing is called {part!r}"


def test_has_two_exercises_with_their_headers(path: Path, notebook: Notebook) -> None:
    if path.stem.startswith("00"):
        return
    names = re.findall(r"""\bcheck\(\s*["']([\w-]+)["']""", "\n".join(map(source, code(notebook))))
    assert len(set(names)) >= 2
    for part in ("difficulty", "importance", "minutes"):
        assert len(re.findall(part, prose(notebook), re.IGNORECASE)) >= len(set(names)), (
            f"an exercise without {part}"
        )


def test_an_answer_goes_where_its_exercise_says(notebook: Notebook) -> None:
    """The name that an exercise asks its answer to be put into is the one that its check looks at."""
    checks = re.findall(r"""\bcheck\(\s*["']([\w-]+)["'],\s*(\w+)""", "\n".join(map(source, code(notebook))))
    cells = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    for exercise, task in re.findall(r"### Exercise `([\w-]+)`([^\0]*?)\0", "\0".join([*cells, ""])):
        asked = re.search(r"(?:into|Set|method in) `(\w+)`", task)
        assert asked is None or asked[1] == dict(checks)[exercise], f"{exercise} asks for {asked[1]}"


def test_the_course_is_complete() -> None:
    """Each notebook that the README lists is there, and the README lists each that is there."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\((notebooks/\w+\.ipynb)\)", readme))
    assert {name(path) for path in NOTEBOOKS} == listed
