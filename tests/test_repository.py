"""The promises about the source itself: small files, documented functions, links that lead somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tree import MODULES, PACKAGE, ROOT, name, repository_files, text_files

DOCUMENTS = sorted(ROOT.glob("*.md"))
modules = pytest.mark.parametrize("path", MODULES, ids=name)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring: explaining more is never punished."""
    first, *rest = function.body
    is_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    assert function.end_lineno and first.end_lineno
    docstring = first.end_lineno - first.lineno + 1 if is_docstring and rest else 0
    return function.end_lineno - function.lineno + 1 - docstring


@modules
def test_file_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@modules
def test_no_function_has_more_than_60_lines(path: Path) -> None:
    assert {f.name: code_lines(f) for f in functions(path) if code_lines(f) > 60} == {}


def test_every_folder_of_the_package_is_a_package() -> None:
    """Without `__init__.py` the import contract does not see a folder, and its doctests cannot be run."""
    folders = {path.parent for path in MODULES}
    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(("rooms", "limit"), [("methods", 10_000), ("classroom", 5500)])
def test_package_can_be_read_in_a_weekend(rooms: str, limit: int) -> None:
    """Lines of code; docstrings, comments and the text of the exercises are for reading anyway.

    The methods are every room that one has to trust; the classroom is pictures, controls and checks.
    """
    total = 0
    for path in MODULES:
        classroom = path.relative_to(PACKAGE).parts[0] in {"explore", "lab"}
        if "exercises" in path.parts or classroom != (rooms == "classroom"):
            continue
        text, prose = path.read_text(), set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
                prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        for number, line in enumerate(text.splitlines(), 1):
            total += bool(line.strip()) and not line.strip().startswith("#") and number not in prose
    assert 0 < total <= limit


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by name alone: of two alike, all others run and the second is not collected."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@modules
def test_module_says_what_it_is_for(path: Path) -> None:
    if path.read_text().strip():
        assert ast.get_docstring(ast.parse(path.read_text())), "the module has no docstring"


@modules
def test_public_names_are_documented(path: Path) -> None:
    top_level = ast.parse(path.read_text()).body
    public = [n for n in top_level if isinstance(n, Function | ast.ClassDef) and not n.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("room", [module.name for module in pkgutil.iter_modules([str(PACKAGE)])])
def test_what_a_room_offers_comes_with_an_example(room: str) -> None:
    """What one can write as `rlbase.room.function` shows how; `make unit` runs what it shows."""
    if room == "__main__":
        return
    module = importlib.import_module(f"rlbase.{room}")
    offered = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    found = {n: getattr(module, n) for n in offered if inspect.isfunction(getattr(module, n))}
    own = {n: f for n, f in found.items() if f.__module__.startswith(module.__name__)}
    assert [n for n, f in own.items() if ">>>" not in (f.__doc__ or "")] == []


@modules
def test_no_catch_all_arguments(path: Path) -> None:
    catch_all = {"kwargs", "kw", "args"}
    found = [
        a.arg for f in functions(path) for a in (f.args.kwarg, f.args.vararg) if a and a.arg in catch_all
    ]
    assert found == [], "name the arguments: a misspelt one must be an error"


@modules
def test_no_pickle_is_ever_loaded(path: Path) -> None:
    """A checkpoint may come from a stranger, and unpickling runs whatever the stranger wrote."""
    tree = ast.parse(path.read_text())
    imported = {
        part.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for part in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"torch.load", "torch.save", "eval", "exec"}
    assert "allow_pickle=True" not in path.read_text()


def test_nothing_names_somebodys_machine() -> None:
    # Joined here, so that this file does not find itself.
    local = re.compile(
        "|".join(["/wo" + "rk/", "/tmp/ba" + "sh_jobs", "/ro" + "ot/", "/Us" + "ers/", "/ho" + "me/"])
    )
    found = [
        f"{name(path)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if local.search(line)
    ]
    assert found == []


def test_no_large_files() -> None:
    assert [name(path) for path in repository_files() if path.stat().st_size > 4_000_000] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_in_documents_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [t.partition("#")[0] for t in targets if not re.match(r"https?://|mailto:", t)]
    assert [t for t in local if t and not (path.parent / t).exists()] == []


def test_paths_in_the_readme_exist() -> None:
    """The tree and the paper index name files in backticks; a rename must not leave them behind."""
    named = re.findall(r"`((?:rlbase|notebooks|tests|assets)/[\w./-]+)`", (ROOT / "README.md").read_text())
    assert sorted({path for path in named if not (ROOT / path).exists()}) == []


def test_code_in_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    # one process, but each block by itself: names of one block are unknown to the next
    code = "".join(f"exec({block!r}, {{'__name__': '__main__'}})\n" for block in blocks)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_version_is_said_once_and_the_same_everywhere() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"version: {version[1]}" in (ROOT / "CITATION.cff").read_text()
    assert f"[{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_extra_is_pinned() -> None:
    """`make` installs exactly what was tested, so everything the project asks for has a pin."""
    wanted = re.findall(r'"([A-Za-z0-9_-]+)(?:\[[\w,-]+\])?>=', (ROOT / "pyproject.toml").read_text())
    pins = re.findall(r"^([a-z0-9-]+)==[0-9.a-z]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(wanted) > 15
    assert sorted({package for package in wanted if package.lower() not in pins}) == []


def test_javascript_travels_with_the_package() -> None:
    outside = [
        name(path) for path in repository_files() if path.suffix == ".js" and PACKAGE not in path.parents
    ]
    assert outside == []
