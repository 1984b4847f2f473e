"""From a wrong answer to the name of the mistake.

A learner's function runs on every case, values and gradients. When it differs from the reference, each known
mistake is run on the same cases, and the one that gives the *same wrong numbers* is the diagnosis. When none
does, a few properties are probed (flipped sign, constant factor, time reversed, ...); only then do we fall
back on "expected this, got that".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Exercise
from rlbase.lab.trial import SECONDS, STUB, Outcome, attempt, run, time_limit


def diagnose(exercise: Exercise, answer: Any) -> tuple[str, str]:
    """The diagnosis of ``answer``, empty when it is right, and a remark that does not count against it."""
    if answer is None or answer is ...:
        return STUB, ""
    if exercise.judge is not None:
        return exercise.judge(answer) or "", ""
    if not callable(answer):
        return f"Pass the function itself, check({exercise.name!r}, your_function), not what it returned.", ""
    got: list[Outcome] = []
    with time_limit(SECONDS) as expired:
        got = [run(exercise, answer, case) for case in exercise.cases]
    if expired:
        return f"Your function was still running after {SECONDS:g} s: does one of its loops never end?", ""
    for outcome in got:
        if outcome.problem:
            return outcome.problem, ""
    remark = "Your function prints; take that out before you train with it." if got[0].printed else ""
    diagnosis = _compare(exercise, got)
    if not diagnosis and exercise.trial is not None:
        diagnosis = attempt(exercise.trial, answer) or ""
    return diagnosis, remark


def _compare(exercise: Exercise, got: list[Outcome]) -> str:
    assert exercise.reference is not None
    truth = [run(exercise, exercise.reference, case) for case in exercise.cases]
    for function in exercise.also:
        other = [run(exercise, function, case) for case in exercise.cases]
        if all(_all_close(g, o) for g, o in zip(got, other, strict=True)):
            truth = other
    return _mistake(exercise, got, truth)


def _mistake(exercise: Exercise, got: list[Outcome], truth: list[Outcome]) -> str:
    ordinary = [i for i, case in enumerate(exercise.cases) if not case.extreme]
    every = range(len(exercise.cases))
    for part, title in enumerate(exercise.parts):
        for cases in (ordinary, every):
            wrong = [i for i in cases if not _close(got[i].parts[part], truth[i].parts[part])]
            if not wrong:
                continue
            example = _example(exercise, wrong[0], title, got, truth, part)
            for diagnosis, function in exercise.mistakes:
                if all(_same_part(got[i], run(exercise, function, exercise.cases[i]), part) for i in cases):
                    return diagnosis + example
            return _probe([(got[i].parts[part], truth[i].parts[part]) for i in cases]) + example
    for i in every:
        if got[i].changed:
            return f"Right values, but your function changes its input `{got[i].changed}` in place: copy it."
        if got[i].gradient_problem:
            return got[i].gradient_problem
    return _gradient_mistake(exercise, got, truth)


def _gradient_mistake(exercise: Exercise, got: list[Outcome], truth: list[Outcome]) -> str:
    for name in exercise.constant + exercise.gradient:
        pairs = [(g.gradients[name], t.gradients[name]) for g, t in zip(got, truth, strict=True)]
        wrong = [i for i, (g, t) in enumerate(pairs) if not _close(g, t)]
        if not wrong:
            continue
        label = exercise.cases[wrong[0]].label
        if name in exercise.constant:
            return f"Right values, but a gradient flows into `{name}`, which is data here: detach it."
        if all(not g.any() for g, _ in pairs):
            return f"Right values, but no gradient flows through `{name}`: detached, it would never learn."
        if any(not pairs[i][0].isfinite().all() for i in wrong):
            return (
                f"Right values, but a NaN or infinite gradient in `{name}` ({label}): select, then compute."
            )
        return f"Right values, but not the gradient in `{name}` ({label}): is a part of it detached?"
    return ""


def _probe(pairs: Sequence[tuple[Tensor, Tensor]]) -> str:
    """Describe how wrong results relate to right ones when no known mistake gives the same numbers."""
    for got, right in pairs:
        if got.shape != right.shape:
            if got.numel() == 1 and any(_close(got.reshape(()), r) for r in (right.mean(), right.sum())):
                return (
                    "You reduced the result (mean or sum): return every entry and reduce where you call it."
                )
            return f"Wrong shape: expected {list(right.shape)}, got {list(got.shape)}."
    if any((~got.isfinite() & right.isfinite()).any() for got, right in pairs):
        return "NaN or infinity where the answer is finite: something overflowed or was divided by zero."
    if not any(got.any() for got, _ in pairs):
        return "You return nothing but zeros: is the result ever filled in?"
    if all(_close(got, -right) for got, right in pairs):
        return "The sign is flipped."
    ratios = torch.cat([(got / right)[right.abs() > 1e-3].flatten() for got, right in pairs])
    factor = ratios.median() if len(ratios) > 2 else ratios.new_zeros(())
    if factor != 0 and all(_close(got, factor * right) for got, right in pairs):
        return f"You are off by a constant factor of {factor:.4g}."
    gaps = torch.cat([(got - right).flatten() for got, right in pairs])
    if len(gaps) > 2 and _close(gaps, gaps.median().expand_as(gaps)):
        return f"You are off by the same amount everywhere, {gaps.median():.4g}."
    rows = [(got, right) for got, right in pairs if right.ndim]  # a single number has no order to be reversed
    if rows and all(_close(got.flip(-1), right) for got, right in rows):
        return "Your result is reversed along the last axis."
    if all(right.ndim == 2 and _close(got[:, 1:], right[:, :-1]) for got, right in pairs):
        return "Your result stands one column too far to the right."
    if all(right.ndim == 2 and _close(got[:, :-1], right[:, 1:]) for got, right in pairs):
        return "Your result stands one column too far to the left."
    return "The numbers differ, and not in a way this check knows by name."


def _example(
    exercise: Exercise, i: int, title: str, got: list[Outcome], truth: list[Outcome], part: int
) -> str:
    mine, right = got[i].parts[part], truth[i].parts[part]
    of = "" if title == "result" else f" for {title}"
    case = exercise.cases[i].label
    if mine.shape != right.shape:
        return f"\n  For example{of} ({case}): expected shape {list(right.shape)}, got {list(mine.shape)}."
    index = tuple((~torch.isclose(mine, right, rtol=1e-4, atol=1e-5)).nonzero()[0].tolist())
    at = f" at {list(index)}" if index else ""
    digits = next((d for d in (4, 6, 8) if f"{right[index]:.{d}g}" != f"{mine[index]:.{d}g}"), 8)
    return (
        f"\n  For example{of}{at} ({case}): expected {right[index]:.{digits}g}, got {mine[index]:.{digits}g}."
    )


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def _all_close(a: Outcome, b: Outcome) -> bool:
    return all(_close(x, y) for x, y in zip(a.parts, b.parts, strict=True))


def _same_part(got: Outcome, theirs: Outcome, part: int) -> bool:
    return not theirs.problem and _close(got.parts[part], theirs.parts[part])
