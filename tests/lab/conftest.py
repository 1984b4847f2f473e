from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's machine: no strict mode, and progress of its own."""
    monkeypatch.delenv("RLBASE_STRICT", raising=False)
    monkeypatch.setenv("RLBASE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
