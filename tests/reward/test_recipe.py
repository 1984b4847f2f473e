"""A recipe's files: all of them at the end or none, whatever an earlier run left behind, and without a sound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rlbase.policies import load_policy, random_policy
from rlbase.train.recipe import all_at_the_end, save_in_half

KILLED = """
import os, signal, sys
from pathlib import Path
from rlbase.train.recipe import all_at_the_end
with all_at_the_end(Path(sys.argv[1])) as folder:
    (folder / "half.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_a_killed_recipe_is_swept_up_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL and names(tmp_path) == [".unfinished/half.txt", "old.txt"]
    with all_at_the_end(tmp_path) as folder:
        assert not list(folder.iterdir())
        (folder / "a").mkdir()
        (folder / "a" / "new.txt").write_text("new")
        assert names(tmp_path) == [".unfinished/a/new.txt", "old.txt"], "nothing appears before the end"
    assert names(tmp_path) == ["a/new.txt", "old.txt"] and not (tmp_path / ".unfinished").exists()
    assert (tmp_path / "a" / "new.txt").stat().st_mode & 0o777 == 0o644


def test_a_failed_recipe_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("old")
    with pytest.raises(KeyboardInterrupt), all_at_the_end(tmp_path) as folder:
        (folder / "card.md").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["card.md"] and (tmp_path / "card.md").read_text() == "old"
    assert os.listdir(tmp_path) == ["card.md"]


def test_a_place_that_cannot_be_written_shows_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), all_at_the_end(tmp_path / "file"):
        pytest.fail("it began to work")


def test_saving_is_silent_and_in_half(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_in_half(random_policy("gpt2", vocab_size=8), tmp_path)
    assert "".join(capfd.readouterr()) == ""
    with pytest.raises(FileNotFoundError, match="has no tokenizer"):  # weights and config are there
        load_policy(tmp_path)
