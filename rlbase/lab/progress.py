"""Which exercises were passed: one small JSON file, written atomically, never trusted blindly."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path


def progress_path() -> Path:
    """The progress file: in ``$RLBASE_HOME``, else in the user's data folder."""
    if home := os.environ.get("RLBASE_HOME"):
        return Path(home) / "progress.json"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "rlbase" / "progress.json"


def load() -> tuple[set[str], str]:
    """Names passed so far, and one sentence if the file was unreadable (it is then kept aside)."""
    path = progress_path()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != "rlbase-progress-1" or not all(isinstance(n, str) for n in stored["passed"]):
            raise ValueError("not a progress file")
        return set(stored["passed"]), ""
    except FileNotFoundError:
        return set(), ""
    except OSError as error:
        return set(), f"The progress file {path} cannot be read ({error.strerror}); nothing is remembered."
    except (ValueError, TypeError, KeyError):  # torn, foreign, or not even text
        aside = path.with_suffix(".broken")
        while aside.exists():
            aside = aside.with_name(aside.name + "1")
        try:
            path.replace(aside)
        except OSError:
            return set(), f"The progress file {path} is damaged and cannot be moved; nothing is remembered."
        return set(), f"The progress file was damaged: kept as {aside}, starting afresh."


def record(name: str) -> str:
    """Remember that ``name`` was passed; return one sentence if something went wrong, else nothing."""
    passed, remark = load()
    if name in passed:
        return remark
    path = progress_path()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".progress-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"format": "rlbase-progress-1", "passed": sorted(passed | {name})}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        return f"Progress could not be saved in {path.parent} ({error.strerror or error})."
    return remark
