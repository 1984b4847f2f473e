"""The files of the repository, for the tests that look at files rather than run code."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rlbase"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def repository_files() -> list[Path]:
    """What is, or is about to be, committed; in a copy without git, everything but build products."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = [ROOT / line for line in listed if line]
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", ".git", ".cache", "build", "dist", "__pycache__"}
        paths = [p for p in ROOT.rglob("*") if not skipped & set(p.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())


def text_files() -> list[Path]:
    endings = {".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".txt", ".json", ".js", ".cff", ".cfg", ""}
    return [path for path in repository_files() if path.suffix in endings]
