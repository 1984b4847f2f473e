"""What a check says about answers that are no answers, and that it says the same thing every time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import rlbase.lab
from rlbase.lab import EXERCISES, CheckFailed, band, check, choice, find, header, hint, number, status, usable
from rlbase.lab.progress import progress_path


def right(rewards: torch.Tensor, gamma: float) -> list[float]:
    following, out = 0.0, []
    for r in reversed(rewards.tolist()):
        following = r + gamma * following
        out.insert(0, following)
    return out


def stub(rewards: torch.Tensor, gamma: float) -> torch.Tensor:
    """The returns, [T]."""
    raise NotImplementedError("your code here")


def forgot_return(rewards: torch.Tensor, gamma: float) -> None:
    rewards.flip(0).cumsum(0)


def prints(rewards: torch.Tensor, gamma: float) -> list[float]:
    print("here", rewards)
    return right(rewards, gamma)


def endless(rewards: torch.Tensor, gamma: float) -> None:
    while True:
        pass


def leaves(rewards: torch.Tensor, gamma: float) -> None:
    sys.exit("bye")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (stub, "Not written yet"),
        (None, "Not written yet"),
        (..., "Not written yet"),
        (lambda rewards, gamma: None, "Not written yet"),
        (lambda rewards, gamma: ..., "Not written yet"),
        (forgot_return, "is a `return` missing?"),
        (torch.zeros(3), "Pass the function itself, check('discounted-return', your_function)"),
        (lambda rewards: rewards, "must take (rewards, gamma)"),
        (lambda rewards, gamma, lam: rewards, "must take (rewards, gamma)"),
        (lambda rewards, gamma: rewards.missing, "raised AttributeError at `"),
        (leaves, "raised SystemExit"),
        (lambda rewards, gamma: rewards if rewards > 1 else 0 * rewards, "choose with torch.where"),
        (lambda rewards, gamma: torch.eye(len(rewards)).double() @ rewards, "with dtype=rewards.dtype"),
        (lambda rewards, gamma: "3, 4, 4", "Wrong type: expected a tensor"),
        (lambda rewards, gamma: {"returns": rewards}, "got dict"),
        (lambda rewards, gamma: rewards[:, None], "expected shape [3], got [3, 1]"),
        (lambda rewards, gamma: rewards * float("nan"), "NaN or infinity"),
        (lambda rewards, gamma: 0 * rewards, "nothing but zeros"),
        (lambda rewards, gamma: [3 * g for g in right(rewards, gamma)], "constant factor of 3"),
        (lambda rewards, gamma: [g + 0.5 for g in right(rewards, gamma)], "same amount everywhere, 0.5"),
        (lambda rewards, gamma: rewards**3, "not in a way this check knows by name"),
    ],
)
def test_no_answer_gets_one_clear_sentence(answer: Any, said: str) -> None:
    result = check("discounted-return", answer)
    assert not result
    assert said in result.diagnosis


def test_an_endless_loop_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbase.lab.diagnosis.SECONDS", 0.2)
    assert "still running after 0.2 s" in check("discounted-return", endless).diagnosis
    assert check("discounted-return", right).passed
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_a_function_prints_is_kept_back_and_remarked(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("discounted-return", prints)
    out = capsys.readouterr().out
    assert "here" not in out
    assert "take that out" in out


def test_a_pass_says_what_was_verified_and_a_failure_where_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check("discounted-return", right)
    assert (
        capsys.readouterr().out
        == "✔ discounted-return: right for six episodes, gamma 0 and gamma 1 among them.\n"
    )
    check("discounted-return", lambda rewards, gamma: rewards.flip(0).cumsum(0).flip(0))
    assert capsys.readouterr().out == (
        "✘ discounted-return: You forgot the discount: this is the plain sum of what follows.\n"
        "  For example at [0] (rewards 1, 2, 4 and gamma 0.5): expected 3, got 7.\n"
        '  Next: hint("discounted-return").\n'
    )


def test_numbers_that_differ_look_different(capsys: pytest.CaptureFixture[str]) -> None:
    known = find("resting-gap").reference
    assert known is not None
    check("resting-gap", lambda prob, margin: (known(prob, margin) * 1e3).round() / 1e3)
    assert "expected 1.09861, got 1.099." in capsys.readouterr().out


def test_strict_mode_raises_by_argument_and_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckFailed, match="discounted-return: Not written yet"):
        check("discounted-return", stub, strict=True)
    monkeypatch.setenv("RLBASE_STRICT", "1")
    with pytest.raises(CheckFailed):
        check("predict-horizon", 9)
    assert not check("predict-horizon", 9, strict=False)
    monkeypatch.setenv("RLBASE_STRICT", "0")
    assert not check("predict-horizon", 9)


def test_an_unknown_exercise_suggests_the_nearest() -> None:
    for ask in (lambda: check("ppo_clip", right), lambda: hint("ppo_clip"), lambda: header("ppo_clip")):
        with pytest.raises(ValueError, match="no exercise 'ppo_clip', did you mean 'ppo-clip'"):
            ask()


def test_hints_come_in_levels(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rlbase.lab, "_revealed", {})
    for start, left in (
        ("Hint 1 of 3 (concept)", "2 more hints left."),
        ("Hint 2 of 3 (formula)", "1 more hint left."),
    ):
        hint("gae")
        out = capsys.readouterr().out
        assert out.startswith(start) and out.endswith(left + "\n")
    for _ in range(2):
        hint("gae")
        assert capsys.readouterr().out.startswith("Hint 3 of 3 (line)")
    hint("gae", 1)
    assert capsys.readouterr().out.startswith("Hint 1 of 3")
    hint("gae")
    assert capsys.readouterr().out.startswith("Hint 3 of 3")
    with pytest.raises(ValueError, match="level must be 1 to 3, got 4"):
        hint("gae", 4)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_exercises_are_complete(exercise: rlbase.lab.Exercise) -> None:
    assert all(1 <= n <= 5 for n in (exercise.difficulty, exercise.importance))
    assert 1 <= exercise.minutes <= 30
    assert len(exercise.hints) == 3 and all(exercise.hints)
    assert (exercise.judge is None) == (exercise.reference is not None) == bool(exercise.cases)
    assert exercise.judge or (len(exercise.mistakes) >= 5 and len(exercise.cases) >= 2)
    assert "●" * exercise.difficulty + "○" in exercise.header() + "○"


def test_names_are_unique_and_each_notebook_has_two() -> None:
    assert len({e.name for e in EXERCISES}) == len(EXERCISES) >= 18
    notebooks = [e.notebook for e in EXERCISES]
    assert {n[:2] for n in notebooks} >= {"00", "01", "02", "03", "04", "05", "06", "07", "18"}
    assert all(notebooks.count(n) >= 2 for n in notebooks if not n.startswith("00"))


def test_judges_of_values() -> None:
    letter = choice("b", a="Not a.")
    assert (letter(" B"), letter("A"), letter("z")) == (
        None,
        "Not a.",
        "Answer with one of the letters a, b, got 'z'.",
    )
    about = number(2.0, (4.0, "You squared it."))
    assert (about(2.01), about(4), about(1)) == (None, "You squared it.", "1 is too small.")
    solved = band(475, 500, below="Not solved.", above="Impossible.")
    assert (solved(480), solved([480, 500.0])) == (None, None)
    assert solved([480, 310]) == "Not solved. Got 310, expected 475 to 500."
    assert solved(501) == "Impossible. Got 501, expected 475 to 500."
    assert "measured number" in str(solved(float("nan"))) and "measured number" in str(solved("475"))


def test_progress_survives_a_restart(home: Path) -> None:
    assert not check("predict-horizon", 9)
    assert "· predict-horizon" in repr(status())
    assert check("predict-horizon", 10)
    assert "✔ predict-horizon" in repr(status())
    restarted = [sys.executable, "-c", "from rlbase.lab import status; print(status())"]
    out = subprocess.run(restarted, capture_output=True, text=True, check=True, env={**os.environ}).stdout
    assert "✔ predict-horizon" in out and f"Passed: 1 of {len(EXERCISES)}." in out
    assert [p.name for p in home.iterdir()] == ["progress.json"]


@pytest.mark.parametrize("content", [b'{"format": "rlb', b"[1, 2]", b'{"passed": 3}', b"\xff\xfe\x00", b"", b"null",
                                     b'{"format": "rlbase-progress-1", "passed": [3]}'])  # fmt: skip
def test_a_damaged_progress_file_is_kept_aside(home: Path, content: bytes) -> None:
    home.mkdir()
    progress_path().write_bytes(content)
    (home / "progress.broken").write_text("an older one")
    assert repr(status()).startswith("The progress file was damaged: kept as ")
    assert (home / "progress.broken1").read_bytes() == content
    assert (home / "progress.broken").read_text() == "an older one"
    assert check("predict-horizon", 10) and "✔ predict-horizon" in repr(status())


def test_status_of_one_notebook() -> None:
    check("predict-beta", "b")
    lines = repr(status("02")).split("\n")
    assert (lines[0], lines[-1]) == ("02_bandits  (1 of 4)", "Passed: 1 of 4.") and len(lines) == 6
    with pytest.raises(ValueError, match="begins with '88'"):
        status("88")


def test_progress_that_cannot_be_saved_is_said_and_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RLBASE_HOME", str(tmp_path / "file"))
    assert check("predict-horizon", 10)
    assert "Progress could not be saved in" in capsys.readouterr().out


def test_an_interrupted_write_leaves_the_old_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("predict-horizon", 10)
    before = progress_path().read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert check("predict-beta", "b")
    assert progress_path().read_bytes() == before
    assert [p.name for p in home.iterdir()] == ["progress.json"]


def test_without_rlbase_home_progress_goes_to_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLBASE_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    assert progress_path() == Path("/somewhere/.local/share/rlbase/progress.json")


def test_output_does_not_depend_on_history(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for _ in range(2):
        check("predict-horizon", 10)
        check("predict-horizon", 9)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    monkeypatch.setenv("RLBASE_STRICT", "1")
    assert "✔" not in repr(status())
    check("predict-beta", "b")
    assert json.loads(progress_path().read_text())["passed"] == ["predict-horizon"]


def test_results_show_nothing_twice_in_a_notebook() -> None:
    assert check("predict-horizon", 10)._ipython_display_() is None


def test_the_header_command(capsys: pytest.CaptureFixture[str]) -> None:
    from rlbase.lab.__main__ import main

    assert main(["header", "gae"]) == 0
    assert capsys.readouterr().out == find("gae").header() + "\n"
    assert main(["header", "nonsense"]) == 2
    assert main([]) == 2
    assert main(["header"]) == 0


@pytest.mark.parametrize("answer", [stub, forgot_return, leaves, lambda rewards, gamma: rewards, ...])
def test_later_cells_run_on_with_an_exercise_left_open(
    answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    returns = usable("discounted-return", answer)(torch.tensor([1.0, 2.0, 4.0]), 0.5)
    assert returns.tolist() == [3.0, 4.0, 4.0]
    assert capsys.readouterr().out.startswith("discounted-return is still open")


def test_a_right_answer_is_used_itself_and_silently(capsys: pytest.CaptureFixture[str]) -> None:
    assert usable("discounted-return", right) is right
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="no function"):
        usable("predict-beta", right)
