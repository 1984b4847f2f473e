"""What an exercise is: a task, a right answer, inputs to try it on, and the mistakes people make in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Case:
    """One call of the learner's function; ``extreme`` inputs only decide once the ordinary ones are right."""

    label: str
    args: dict[str, Any]
    extreme: bool = False


# A plausible wrong answer as running code, after the sentence that it earns.
Mistake: TypeAlias = tuple[str, Callable[..., Any]]
Judge = Callable[[Any], str | None]


@dataclass(frozen=True)
class Exercise:
    """One exercise: ``reference`` and ``cases`` where the answer is a function, ``judge`` where it is a value.

    ``gradient`` names the arguments through which gradients must agree with the reference's, ``constant``
    those which must receive none, ``inside`` a boolean argument outside of which the result does not matter,
    ``also`` other functions that are right as well. ``trial``, asked last, puts the function to work in a real run
    and says what is still wrong with it there.
    """

    name: str
    notebook: str
    title: str
    difficulty: int
    importance: int
    minutes: int
    task: str
    hints: tuple[str, str, str]
    verified: str
    reference: Callable[..., Any] | None = None
    cases: tuple[Case, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    judge: Judge | None = None
    parts: tuple[str, ...] = ("result",)
    gradient: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    inside: str = ""
    also: tuple[Callable[..., Any], ...] = ()
    trial: Judge | None = None

    def header(self) -> str:
        """The Markdown that opens this exercise in its notebook; the hygiene test compares the two."""
        dots = ("●" * n + "○" * (5 - n) for n in (self.difficulty, self.importance))
        rating = "difficulty {} · importance {}".format(*dots)
        title = f"### Exercise `{self.name}`: {self.title}"
        return f"{title}\n\n*{rating} · about {self.minutes} minutes*\n\n{self.task}"


def choice(right: str, **wrong: str) -> Judge:
    """Judge a letter; ``wrong`` says of every other letter why it is wrong.

    >>> choice("b", a="No: ...")(" A) ")
    'No: ...'
    """

    def judge(answer: Any) -> str | None:
        letter = answer.strip().lower().rstrip(").") if isinstance(answer, str) else answer
        if letter == right:
            return None
        if isinstance(letter, str) and letter in wrong:
            return wrong[letter]
        return f"Answer with one of the letters {', '.join(sorted([right, *wrong]))}, got {answer!r}."

    return judge


def number(right: float, *wrong: tuple[float, str], rtol: float = 0.01) -> Judge:
    """Judge a number within ``rtol``; ``wrong`` pairs values people give with what they overlooked.

    >>> number(10.0, (9.0, "You began one step late."))(9)
    'You began one step late.'
    """

    def judge(answer: Any) -> str | None:
        value = _real(answer)
        if value is None or math.isnan(value):
            return f"Answer with a number, got {answer!r}."
        if math.isclose(value, right, rel_tol=rtol):
            return None
        known = (sentence for v, sentence in wrong if value == v or math.isclose(value, v, rel_tol=rtol))
        return next(known, f"{value:g} is too {'small' if value < right else 'large'}.")

    return judge


def band(low: float, high: float, *, below: str, above: str) -> Judge:
    """Judge a measured result, or one per seed: every one must lie in the band.

    >>> band(475, 500, below="Not solved yet.", above="More than CartPole pays.")([480, 310])
    'Not solved yet. Got 310, expected 475 to 500.'
    """

    def judge(answer: Any) -> str | None:
        for result in answer if isinstance(answer, (list, tuple)) else [answer]:
            value = _real(result)
            if value is None or math.isnan(value):
                return f"Give the measured number (or a list, one for each seed), got {result!r}."
            if not low <= value <= high:
                return f"{below if value < low else above} Got {value:g}, expected {low:g} to {high:g}."
        return None

    return judge


def _real(answer: Any) -> float | None:
    try:
        return None if isinstance(answer, (str, bool)) else float(answer)
    except (TypeError, ValueError, RuntimeError):
        return None
