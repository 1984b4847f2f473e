"""Student copies: ``python -m rlbase.lab student --out student``, from the one source that holds the solutions.

The convention. The lines a learner is to write stand between two marker lines in a code cell tagged ``solution``:

    def ratio(logp, old_logp):
        '''How many times likelier each choice is now, [B, T].'''
        ### BEGIN SOLUTION
        return (logp - old_logp.detach()).exp()
        ### END SOLUTION

An indented block becomes ``raise NotImplementedError("your code here")``: signature and docstring stay. Where the
learner is to *repair* code, comment lines after ``### INSTEAD`` hold what stands in the copy, a bug as it came in:

        ### BEGIN SOLUTION
        return (logp - old_logp.detach()).exp()
        ### INSTEAD
        # return logp / old_logp
        ### END SOLUTION

A block at the left margin becomes ``name = ...`` for every name it bound, which is how predictions are asked for. A
cell tagged ``reveal`` is left out. Outputs are cleared. A solution line of 24 characters or more that still stands
elsewhere in the copy is refused, so that no solution leaks.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from rlbase.lab.exercises import EXERCISES

Notebook = dict[str, Any]
BEGIN, END, INSTEAD = "### BEGIN SOLUTION", "### END SOLUTION", "### INSTEAD"
LEAK = 24  # shorter lines, such as `return loss`, say nothing


def strip_solution(source: str) -> tuple[str, list[str]]:
    """The stub of a solution cell, and the lines that were taken out.

    Raises:
        ValueError: markers are missing, nested or unpaired, or the stub is no longer Python.

    >>> strip_solution("### BEGIN SOLUTION\\nprediction = 'b'\\n### END SOLUTION")
    ('prediction = ...', ["prediction = 'b'"])
    """
    kept: list[str] = []
    removed: list[str] = []
    block: list[str] | None = None
    for line in source.split("\n"):
        if line.strip() == BEGIN:
            if block is not None:
                raise ValueError(f"a second {BEGIN!r} before {END!r}")
            block = []
        elif line.strip() == END:
            if block is None:
                raise ValueError(f"{END!r} without {BEGIN!r}")
            block, broken = _divide(block)
            kept += broken or _stub(block, line[: -len(line.lstrip())] if line[0] == " " else "")
            removed += [solved for solved in block if solved not in broken]
            block = None
        else:
            (kept if block is None else block).append(line)
    if block is not None or not any(line.strip() for line in removed):
        raise ValueError(f"it needs lines between {BEGIN!r} and {END!r}")
    stub = "\n".join(kept)
    try:
        ast.parse(stub)
    except SyntaxError as error:
        raise ValueError(
            f"without its solution the cell is not Python (line {error.lineno}: {error.msg})"
        ) from None
    return stub, [line.strip() for line in removed if line.strip()]


def _divide(block: list[str]) -> tuple[list[str], list[str]]:
    """The solution, and what stands in its place in the copy, without its comment signs."""
    places = [i for i, line in enumerate(block) if line.strip() == INSTEAD]
    if not places:
        return block, []
    solution, broken = block[: places[0]], block[places[0] + 1 :]
    if len(places) > 1 or not broken or not all(re.match(r" *#( |$)", line) for line in broken):
        raise ValueError(
            f"{INSTEAD!r} must stand once, with nothing but comment lines between it and {END!r}"
        )
    return solution, [re.sub(r"^( *)# ?", r"\1", line) for line in broken]


def _stub(block: list[str], indent: str) -> list[str]:
    if indent:
        return [indent + 'raise NotImplementedError("your code here")']
    names: list[str] = []
    for node in ast.parse(textwrap.dedent("\n".join(block))).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif not isinstance(node, (ast.Expr, ast.Import, ast.ImportFrom)):
            names += [
                n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            ]
    return [f"{name} = ..." for name in dict.fromkeys(names)] or ["# your code here"]


def student_copy(notebook: Notebook) -> Notebook:
    """The notebook without solutions, reveals and outputs, with a fingerprint that tells later whether it was edited.

    Raises:
        ValueError: a solution cell breaks the convention, markers stand in an untagged cell, or a solution leaks.
    """
    cells, secrets = [], []
    for number, cell in enumerate(notebook["cells"], 1):
        tags, source = cell.get("metadata", {}).get("tags", []), "".join(cell["source"])
        if "reveal" in tags:
            continue
        if "solution" in tags:
            try:
                source, removed = strip_solution(source)
            except (ValueError, SyntaxError) as error:
                raise ValueError(f"cell {number} is tagged 'solution', but {error}.") from None
            secrets += removed
            tags = ["exercise" if tag == "solution" else tag for tag in tags]
        elif BEGIN in source or END in source:
            raise ValueError(f"cell {number} holds solution markers without the tag 'solution'.")
        copy = {**cell, "source": source, "metadata": {"tags": tags} if tags else {}}
        if cell["cell_type"] == "code":
            copy |= {"outputs": [], "execution_count": None}
        cells.append(copy)
    for secret in secrets:
        for number, cell in enumerate(cells, 1):
            if len(secret) >= LEAK and secret in cell["source"]:
                raise ValueError(f"the solution line {secret!r} still stands in cell {number} of the copy.")
    kept = {k: v for k, v in notebook["metadata"].items() if k in ("kernelspec", "language_info")}
    return {**notebook, "cells": cells, "metadata": {**kept, "rlbase": {"fingerprint": fingerprint(cells)}}}


def fingerprint(cells: list[dict[str, Any]]) -> str:
    """A hash of what the cells say, whatever their outputs."""
    said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def problems(notebook: Notebook, stem: str) -> list[str]:
    """What is wrong with a notebook's exercises: each of its own exactly once, with its header, none of another's."""
    cells = [(cell["cell_type"], "".join(cell["source"]), cell) for cell in notebook["cells"]]
    prose = "\n".join(source for kind, source, _ in cells if kind == "markdown")
    titled = re.findall(r"^### Exercise `([\w-]+)`", prose, re.MULTILINE)
    checks = [re.findall(r"""\bcheck\(\s*["']([\w-]+)["']""", s) for kind, s, _ in cells if kind == "code"]
    checked = [name for names in checks for name in names]
    mine = {e.name: e for e in EXERCISES if e.notebook == stem}
    found = [f"{name!r} is no exercise of {stem}" for name in sorted({*titled, *checked} - set(mine))]
    for name, exercise in mine.items():
        if prose.count(exercise.header()) != 1:
            found.append(f"the text of `python -m rlbase.lab header {name}` must stand there once, as it is")
        if checked.count(name) != 1:
            found.append(f"check({name!r}, ...) must be called once, not {checked.count(name)} times")
    solutions = sum("solution" in cell.get("metadata", {}).get("tags", []) for _, _, cell in cells)
    if solutions < len(mine):
        found.append(f"{len(mine)} exercises need as many cells tagged 'solution', there are {solutions}")
    return found


def generate(source: Path, out: Path, *, force: bool = False) -> list[Path]:
    """Write a student copy of every notebook in ``source`` into ``out``; all of them or none.

    Raises:
        ValueError: there are no notebooks, one is broken, or a copy in ``out`` was edited and ``force`` is off.
    """
    if out.resolve() == source.resolve():
        raise ValueError(f"student: --out must not be the folder of the sources, {source}.")
    paths = sorted(source.glob("*.ipynb"))
    if not paths:
        raise ValueError(f"student: no notebooks (*.ipynb) in {source}.")
    copies = {}
    for path in paths:
        try:
            copies[out / path.name] = student_copy(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
            raise ValueError(f"student: {path} is not a notebook.") from None
        except ValueError as error:
            raise ValueError(f"student: {path.name}: {error}") from None
    edited = [path.name for path in copies if not force and path.exists() and _edited(path)]
    if edited:
        raise ValueError(
            f"student: edited since they were generated: {', '.join(edited)}; --force overwrites them."
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, notebook in copies.items():
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    return list(copies)


def _edited(path: Path) -> bool:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook["metadata"]["rlbase"]["fingerprint"] != fingerprint(notebook["cells"])
    except (ValueError, KeyError, TypeError):
        return True  # not one of ours: not ours to overwrite


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit status 2 and one sentence on bad input."""
    parser = argparse.ArgumentParser(
        prog="rlbase.lab student", description="Write student copies of the notebooks."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the copies, for example student")
    parser.add_argument("--source", type=Path, default=Path("notebooks"), help="folder of the notebooks")
    parser.add_argument("--force", action="store_true", help="overwrite copies that were edited")
    options = parser.parse_args(arguments)
    try:
        written = generate(options.source, options.out, force=options.force)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(written)} student notebooks in {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
