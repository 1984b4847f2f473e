"""Exercises that say which mistake you made: `check`, `hint`, `status`, `usable`.

>>> from rlbase.lab import check
>>> result = check("predict-horizon", 9, strict=False)
✘ predict-horizon: 0.9 + 0.81 + ... = 9 leaves out the first reward, which is not discounted.
  Next: hint("predict-horizon").
>>> result.passed
False
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlbase.lab import progress
from rlbase.lab.diagnosis import diagnose
from rlbase.lab.exercise import Case, Exercise, Mistake, band, choice, number
from rlbase.lab.exercises import EXERCISES

__all__ = [
    "Case",
    "CheckFailed",
    "EXERCISES",
    "Exercise",
    "Mistake",
    "Result",
    "Status",
    "band",
    "check",
    "choice",
    "find",
    "header",
    "hint",
    "number",
    "status",
    "usable",
]

_revealed: dict[str, int] = {}  # hint levels shown in this session: a fresh kernel starts again at the first


class CheckFailed(AssertionError):
    """A failed check in strict mode, as continuous integration uses it."""


@dataclass(frozen=True)
class Result:
    """What a check found; true when it passed. `check` has already printed it."""

    name: str
    passed: bool
    diagnosis: str

    def __bool__(self) -> bool:
        return self.passed

    def _ipython_display_(self) -> None:
        """Show nothing: the sentence stands above already."""


@dataclass(frozen=True)
class Status:
    """A table of exercises and what is passed; its text is its repr."""

    text: str

    def __repr__(self) -> str:
        return self.text


def find(name: str) -> Exercise:
    """The exercise called ``name``.

    Raises:
        ValueError: there is none; the nearest name is suggested.

    >>> find("gae").minutes
    20
    """
    for exercise in EXERCISES:
        if exercise.name == name:
            return exercise
    near = difflib.get_close_matches(str(name), [e.name for e in EXERCISES], n=1)
    raise ValueError(f"There is no exercise {name!r}{f', did you mean {near[0]!r}?' if near else '.'}")


def check(name: str, answer: Any, *, strict: bool | None = None) -> Result:
    """Compare ``answer`` (a function, or a prediction) with the truth and say what is wrong with it.

    Never raises because of the answer, so that the notebook runs on, unless ``strict`` is true
    (default: the environment variable ``RLBASE_STRICT``), which is how CI runs worked solutions.

    Raises:
        ValueError: no exercise has this name.
        CheckFailed: the answer is wrong and ``strict`` is on.

    >>> result = check("ppo-ratio", lambda logp, old_logp: logp / old_logp, strict=False)  # doctest: +ELLIPSIS
    ✘ ppo-ratio: You divided log-probabilities: subtract them, then exponentiate.
      For example at [0, 0] (policies apart): expected ..., got ...
      Next: hint("ppo-ratio").
    """
    exercise = find(name)
    diagnosis, remark = diagnose(exercise, answer)
    if diagnosis:
        message = f'✘ {name}: {diagnosis}\n  Next: hint("{name}").'
    else:
        message = f"✔ {name}: {exercise.verified}"
        if not _strict():
            remark = " ".join(filter(None, (remark, progress.record(name))))
    print(message + (f"\n  {remark}" if remark else ""))
    if diagnosis and (_strict() if strict is None else strict):
        raise CheckFailed(f"{name}: {diagnosis}")
    return Result(name, not diagnosis, diagnosis)


def hint(name: str, level: int | None = None) -> None:
    """Print the next hint: first the concept, then the formula, then the line.

    Raises:
        ValueError: no exercise has this name, or ``level`` is not 1, 2 or 3.

    >>> hint("ppo-ratio", 2)
    Hint 2 of 3 (formula): ratio = pi(a) / pi_old(a) = exp(log pi(a) - log pi_old(a)).
    1 more hint left.
    """
    exercise = find(name)
    last = len(exercise.hints)
    shown = min(_revealed.get(name, 0) + 1, last) if level is None else level
    if shown not in range(1, last + 1):
        raise ValueError(f"hint: level must be 1 to {last}, got {level!r}.")
    _revealed[name] = max(shown, _revealed.get(name, 0))
    kind = ("concept", "formula", "line")[shown - 1]
    left = last - shown
    more = f"{left} more hint{'s' if left > 1 else ''} left." if left else "That was the last one."
    print(f"Hint {shown} of {last} ({kind}): {exercise.hints[shown - 1]}\n{more}")


def status(notebook: str = "") -> Status:
    """The exercises by notebook and which are passed; a blank table in strict mode, whatever was passed.

    ``notebook`` picks those whose name begins so.

    Raises:
        ValueError: no notebook that begins so has exercises.

    >>> status("00")  # doctest: +ELLIPSIS
    00_start_here ...
    """
    passed, remark = (set(), "") if _strict() else progress.load()
    lines = [remark] if remark else []
    chosen = [e for e in EXERCISES if e.notebook.startswith(notebook)]
    if not chosen:
        raise ValueError(f"status: no notebook that begins with {notebook!r} has exercises.")
    for name in sorted({e.notebook for e in chosen}):
        group = [e for e in chosen if e.notebook == name]
        lines.append(f"{name}  ({sum(e.name in passed for e in group)} of {len(group)})")
        marks = ["✔" if e.name in passed else "·" for e in group]
        lines += [
            f"  {m} {e.name:<20} {e.minutes:>2} min  {e.title}" for m, e in zip(marks, group, strict=True)
        ]
    lines.append(f"Passed: {sum(e.name in passed for e in chosen)} of {len(chosen)}.")
    return Status("\n".join(lines))


def usable(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """``answer`` when it passes its check, else the course's own function, and one line that says so.

    Later cells build on it, so that a notebook runs to its end with an exercise left open.

    Raises:
        ValueError: no exercise has this name, or its answer is no function.

    >>> import torch
    >>> usable("warm-up", lambda rewards, mask: ...)(torch.tensor([1.0, 5.0]), torch.tensor([True, False]))
    warm-up is still open: from here on the course's own function stands in.
    Run this cell again when yours is right.
    tensor(1.)
    """
    exercise = find(name)
    if exercise.reference is None:
        raise ValueError(f"usable: the answer to {name!r} is no function.")
    if not diagnose(exercise, answer)[0]:
        return answer
    print(
        f"{name} is still open: from here on the course's own function stands in.\n"
        "Run this cell again when yours is right."
    )
    return exercise.reference


def header(name: str) -> str:
    """The Markdown with which a notebook introduces the exercise; copy it into a Markdown cell as it is.

    >>> print(header("ppo-ratio").split("\\n")[2])
    *difficulty ●○○○○ · importance ●●●●● · about 4 minutes*
    """
    return find(name).header()


def _strict() -> bool:
    return os.environ.get("RLBASE_STRICT", "0") not in ("", "0")
