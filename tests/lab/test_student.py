"""Student copies hold no solution, are valid notebooks, and their checks say "not written yet" instead of crashing."""

from __future__ import annotations

import ast
import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tree import NOTEBOOKS, ROOT

from rlbase.lab import EXERCISES, find
from rlbase.lab.__main__ import main
from rlbase.lab.student import problems, strip_solution, student_copy

STEM = "04_ppo_clipping"
RATIO = '''def ratio(logp, old_logp):
    """How many times likelier each choice is now, [B, T]."""
    log_ratio = logp
    ### BEGIN SOLUTION
    log_ratio = log_ratio - old_logp.detach()
    return log_ratio.exp()
    ### END SOLUTION
'''


def cell(kind: str, source: str, *tags: str) -> dict[str, Any]:
    made = nbformat.v4.new_markdown_cell(source) if kind == "markdown" else nbformat.v4.new_code_cell(source)
    made.metadata = nbformat.from_dict({"tags": list(tags)} if tags else {})
    return made


def lesson() -> dict[str, Any]:
    cells = [
        cell("markdown", "# Clipping\n\n" + find("ppo-ratio").header() + "\n\nGo on."),
        cell("code", RATIO, "solution", "long-cell"),
        cell("code", 'from rlbase.lab import check\nresult = check("ppo-ratio", ratio)'),
        cell("code", "### BEGIN SOLUTION\nprediction, sure = 'c', True\n### END SOLUTION", "solution"),
        cell("code", 'prediction_result = check("predict-ratio", prediction)'),
        cell("markdown", "The derivation, which gives everything away.", "reveal"),
    ]
    cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="right")]
    cells[2].execution_count = 3
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=kernel)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / f"{STEM}.ipynb").write_text(json.dumps(lesson()))
    return tmp_path


def student(folder: Path, *options: str) -> int:
    return main(["student", "--source", str(folder / "notebooks"), "--out", str(folder / "out"), *options])


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / f"{STEM}.ipynb").read_text())


def test_a_copy_keeps_the_signature_and_loses_the_body(folder: Path) -> None:
    assert student(folder) == 0
    cells = written(folder)["cells"]
    assert cells[1]["source"] == (
        'def ratio(logp, old_logp):\n    """How many times likelier each choice is now, [B, T]."""\n'
        '    log_ratio = logp\n    raise NotImplementedError("your code here")\n'
    )
    assert cells[1]["metadata"]["tags"] == ["exercise", "long-cell"]
    assert cells[3]["source"] == "prediction = ...\nsure = ..."
    assert cells[2]["outputs"] == [] and cells[2]["execution_count"] is None
    assert len(cells) == 5 and "gives everything away" not in json.dumps(cells)
    nbformat.validate(nbformat.from_dict(written(folder)))


def test_checks_in_a_copy_say_that_nothing_is_written_yet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student(folder)
    space: dict[str, Any] = {}
    for made in written(folder)["cells"]:
        if made["cell_type"] == "code":
            exec(made["source"], space)
    assert not space["result"] and not space["prediction_result"]
    assert capsys.readouterr().out.count("Not written yet") == 2


def test_the_source_itself_passes(folder: Path) -> None:
    space: dict[str, Any] = {}
    for made in lesson()["cells"]:
        if made["cell_type"] == "code":
            exec("".join(made["source"]), space)
    assert space["result"] and space["prediction_result"]


def test_edited_copies_are_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert student(folder) == student(folder) == 0
    path, mine = folder / "out" / f"{STEM}.ipynb", written(folder)
    mine["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "ran"}]
    path.write_text(json.dumps(mine))
    assert student(folder) == 0  # running is not editing
    mine["cells"][1]["source"] += "\n# my own lines"
    path.write_text(json.dumps(mine))
    capsys.readouterr()
    assert student(folder) == 2
    assert "edited since they were generated: 04_ppo_clipping.ipynb" in capsys.readouterr().err
    assert "my own lines" in path.read_text()
    assert student(folder, "--force") == 0
    assert "my own lines" not in path.read_text()
    path.write_text("somebody else's file")
    assert student(folder) == 2
    assert path.read_text() == "somebody else's file"


@pytest.mark.parametrize(
    ("index", "source", "tags", "said"),
    [
        (
            1,
            "def f():\n    return 1",
            ["solution"],
            "cell 2 is tagged 'solution', but it needs lines between",
        ),
        (1, RATIO, [], "cell 2 holds solution markers without the tag"),
        (1, RATIO.replace("### END SOLUTION", ""), ["solution"], "needs lines between"),
        (1, RATIO.replace("### BEGIN SOLUTION", ""), ["solution"], "without '### BEGIN SOLUTION'"),
        (
            1,
            RATIO.replace("    return log", "    ### BEGIN SOLUTION\n    return log"),
            ["solution"],
            "a second",
        ),
        (1, "if True:\n### BEGIN SOLUTION\n    pass\n### END SOLUTION", ["solution"], "tagged 'solution'"),
        (0, "Spoiler: log_ratio = log_ratio - old_logp.detach()", [], "still stands in cell 1"),
    ],
)
def test_a_broken_convention_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], index: int, source: str, tags: list[str], said: str
) -> None:
    broken = lesson()
    broken["cells"][index]["source"] = source
    broken["cells"][index]["metadata"] = {"tags": tags}
    (folder / "notebooks" / f"{STEM}.ipynb").write_text(json.dumps(broken))
    assert student(folder) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (folder / "out").exists()


def test_bad_folders_and_files_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["student", "--source", str(folder / "nowhere"), "--out", str(folder / "out")]) == 2
    assert main(["student", "--source", str(folder / "notebooks"), "--out", str(folder / "notebooks")]) == 2
    for content in ("{", "[]", '{"cells": 3}'):
        (folder / "notebooks" / "05_torn.ipynb").write_text(content)
        assert student(folder) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5
    assert not (folder / "out").exists()


def test_a_solution_may_come_in_two_blocks() -> None:
    source = "def f(x):\n    ### BEGIN SOLUTION\n    y = x + 1\n    ### END SOLUTION\n    # then\n" + (
        "    ### BEGIN SOLUTION\n    return y\n    ### END SOLUTION"
    )
    stub, removed = strip_solution(source)
    assert removed == ["y = x + 1", "return y"]
    assert stub.count("raise NotImplementedError") == 2


def test_code_to_repair_stands_in_the_copy_as_it_came_in() -> None:
    source = (
        "def ratio(logp, old_logp):\n    ### BEGIN SOLUTION\n    return (logp - old_logp).exp()\n    ### INSTEAD\n"
        "    # if True:\n    #     return logp / old_logp\n    ### END SOLUTION"
    )
    stub, removed = strip_solution(source)
    assert stub == "def ratio(logp, old_logp):\n    if True:\n        return logp / old_logp"
    assert removed == ["return (logp - old_logp).exp()"]
    for broken in ("    return 1", "    ### INSTEAD", ""):
        with pytest.raises(ValueError, match="'### INSTEAD' must stand once"):
            cut = source.replace(
                "    # if True:\n    #     return logp / old_logp\n", f"{broken}\n" if broken else ""
            )
            strip_solution(cut)


def test_problems_names_what_is_missing_and_what_is_twice() -> None:
    complete = lesson()
    for name in ("ppo-clip", "gae"):
        text = find(name).header() + "\n\n"
        complete["cells"].insert(0, json.loads(json.dumps(cell("markdown", text))))
        complete["cells"].append(json.loads(json.dumps(cell("code", f'check("{name}", f)', "solution"))))
    complete["cells"].insert(0, json.loads(json.dumps(cell("markdown", find("predict-ratio").header()))))
    assert problems(complete, STEM) == []
    twice = copy.deepcopy(complete)
    twice["cells"].append(twice["cells"][-1])
    assert problems(twice, STEM) == ["check('gae', ...) must be called once, not 2 times"]
    edited = copy.deepcopy(complete)
    edited["cells"][0]["source"] = "".join(edited["cells"][0]["source"]).replace("minutes", "hours")
    assert problems(edited, STEM) == [
        "the text of `python -m rlbase.lab header predict-ratio` must stand there once, as it is"
    ]
    foreign = copy.deepcopy(complete)
    foreign["cells"].append(json.loads(json.dumps(cell("code", 'check("whiten", f)'))))
    assert problems(foreign, STEM) == [f"'whiten' is no exercise of {STEM}"]
    assert len(problems(lesson(), STEM)) == 6


def test_exercises_belong_to_notebooks_of_the_course() -> None:
    """That these exist is asked where the README's map is tested."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [e.name for e in EXERCISES if f"notebooks/{e.notebook}.ipynb" not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_is_used_once_in_its_notebook(path: Path) -> None:
    assert problems(json.loads(path.read_text(encoding="utf-8")), path.stem) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_real_copies_are_valid_and_hold_no_solution(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    made = student_copy(notebook)
    nbformat.validate(nbformat.from_dict(made))
    text = "\n".join("".join(c["source"]) for c in made["cells"])
    for solved in (c for c in notebook["cells"] if "solution" in c["metadata"].get("tags", [])):
        for block in re.findall(
            r"### BEGIN SOLUTION\n(.*?)\n\s*### END SOLUTION", "".join(solved["source"]), re.DOTALL
        ):
            assert block.strip() not in text
    assert "SOLUTION" not in text


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_lab_serves_the_folder_that_holds_the_copies() -> None:
    recipe = subprocess.run(
        ["make", "-n", "lab", "ARGS=--port=1"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f'--ServerApp.root_dir="{ROOT}"' in recipe and "--port=1 notebooks/00_start_here.ipynb" in recipe


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_later_cell_falls_over_an_exercise_left_open(path: Path) -> None:
    cells = [c for c in student_copy(json.loads(path.read_text()))["cells"] if c["cell_type"] == "code"]
    trees = [(c, ast.parse("".join(c["source"]).rstrip(";\n "))) for c in cells]
    stubs = {
        node.name
        for cell, tree in trees
        if "exercise" in cell["metadata"].get("tags", [])
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    for cell, tree in trees:
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        safe = {id(a) for n in calls if getattr(n.func, "id", "") in ("check", "usable") for a in n.args}
        used = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in stubs and id(n) not in safe]
        assert not used, (
            f"{cell['id']} uses {used[0].id}, which is still a stub: pass it through usable() first"
        )
