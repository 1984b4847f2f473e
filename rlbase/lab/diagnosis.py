"""From a wrong answer to the name of the mistake.

A learner's function runs on every case, values and gradients. When it differs from the reference, each known
mistake is run on the same cases, and the one that gives the *same wrong numbers* is the diagnosis. When none
does, a few properties are probed (flipped sign, constant factor, time reversed, ...); only then do we fall
back on "expected this, got that".
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise

STUB = "Not written yet: replace the stub by your own lines, run its cell, then check again."
SECONDS = 20.0


@dataclass(frozen=True)
class Outcome:
    """What a function did on one case: what it returned and the gradients it sent back, or its problem."""

    parts: tuple[Tensor, ...] = ()
    gradients: dict[str, Tensor] = field(default_factory=dict)
    problem: str = ""
    gradient_problem: str = ""
    changed: str = ""
    printed: bool = False


def diagnose(exercise: Exercise, answer: Any) -> tuple[str, str]:
    """The diagnosis of ``answer``, empty when it is right, and a remark that does not count against it."""
    if answer is None or answer is ...:
        return STUB, ""
    if exercise.judge is not None:
        return exercise.judge(answer) or "", ""
    if not callable(answer):
        return f"Pass the function itself, check({exercise.name!r}, your_function), not what it returned.", ""
    got: list[Outcome] = []
    with _time_limit(SECONDS) as expired:
        got = [run(exercise, answer, case) for case in exercise.cases]
    if expired:
        return f"Your function was still running after {SECONDS:.0f} s: does one of its loops never end?", ""
    for outcome in got:
        if outcome.problem:
            return outcome.problem, ""
    remark = "Your function prints; take that out before you train with it." if got[0].printed else ""
    return _compare(exercise, got), remark


def run(exercise: Exercise, function: Callable[..., Any], case: Case) -> Outcome:
    """Call ``function`` on copies of the case, once for values and, where they matter, once for gradients."""
    inside = case.args[exercise.inside] if exercise.inside else None
    args, spoken = _copies(case.args), io.StringIO()
    try:
        with contextlib.redirect_stdout(spoken):
            returned = _invoke(function, args)
    except NotImplementedError:
        return Outcome(problem=STUB)
    except Exception as error:
        return Outcome(problem=_raised(error, case))
    if returned is None or returned is ...:
        missing = "Your function returns None: is a `return` missing?"
        return Outcome(problem=STUB if _is_empty(function) else missing)
    parts = _parts(returned, len(exercise.parts))
    if isinstance(parts, str):
        return Outcome(problem=parts)
    changed = next((k for k, v in case.args.items() if not _equal(v, args[k])), "")
    gradients, problem = _gradients(exercise, function, case, inside)
    parts = tuple(_select(p.detach().double(), inside) for p in parts)
    return Outcome(parts, gradients, "", problem, changed, bool(spoken.getvalue()))


def _gradients(
    exercise: Exercise, function: Callable[..., Any], case: Case, inside: Tensor | None
) -> tuple[dict[str, Tensor], str]:
    names = exercise.gradient + exercise.constant
    if not names:
        return {}, ""
    args = {k: v.requires_grad_() if k in names else v for k, v in _copies(case.args).items()}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            parts = _parts(_invoke(function, args), len(exercise.parts))
        assert not isinstance(parts, str)
        # Unequal fixed weights, so that an error cannot cancel in a plain sum.
        total = sum(((p * _select(_weights(p), inside)).sum() for p in parts), torch.zeros(()))
        if total.requires_grad:
            total.backward()
    except Exception as error:
        if "numpy" in str(error):
            return {}, "Right values, but no gradient flows: numpy and .item() cut it, stay with torch."
        return {}, "Right values, but with gradients switched on: " + _raised(error, case)
    found = {k: args[k].grad if args[k].grad is not None else torch.zeros_like(args[k]) for k in names}
    return {k: g.detach().double() for k, g in found.items()}, ""


def _compare(exercise: Exercise, got: list[Outcome]) -> str:
    assert exercise.reference is not None
    for right in (*exercise.also, exercise.reference):
        truth = [run(exercise, right, case) for case in exercise.cases]
        if all(_all_close(g, t) for g, t in zip(got, truth, strict=True)):
            break
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
    if all(_close(got, -right) for got, right in pairs):
        return "The sign is flipped."
    ratios = torch.cat([(got / right)[right.abs() > 1e-3].flatten() for got, right in pairs])
    if len(ratios) > 2 and _close(ratios, ratios.median().expand_as(ratios)):
        return f"You are off by a constant factor of {ratios.median():.4g}."
    gaps = torch.cat([(got - right).flatten() for got, right in pairs])
    if len(gaps) > 2 and _close(gaps, gaps.median().expand_as(gaps)):
        return f"You are off by the same amount everywhere, {gaps.median():.4g}."
    if all(right.ndim and _close(got.flip(-1), right) for got, right in pairs):
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
    return f"\n  For example{of}{at} ({case}): expected {right[index]:.4g}, got {mine[index]:.4g}."


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def _all_close(a: Outcome, b: Outcome) -> bool:
    return all(_close(x, y) for x, y in zip(a.parts, b.parts, strict=True))


def _same_part(got: Outcome, theirs: Outcome, part: int) -> bool:
    return not theirs.problem and _close(got.parts[part], theirs.parts[part])


def _select(x: Tensor, inside: Tensor | None) -> Tensor:
    return x if inside is None or inside.shape != x.shape else torch.where(inside, x, 0)


def _weights(x: Tensor) -> Tensor:
    return (1 + torch.arange(x.numel(), dtype=x.dtype).remainder(7)).reshape(x.shape)


def _copies(args: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, Tensor) else copy.copy(v) for k, v in args.items()}


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, Tensor) else a == b


def _parts(returned: Any, count: int) -> tuple[Tensor, ...] | str:
    items = list(returned) if count > 1 and isinstance(returned, (tuple, list)) else [returned]
    if len(items) != count:
        return f"Return {count} results as a tuple, got {type(returned).__name__}."
    parts = tuple(_tensor(item) for item in items)
    if any(part is None for part in parts):
        kinds = " and ".join(sorted({type(i).__name__ for i in items}))
        return f"Wrong type: expected a tensor (a number or a numpy array will do), got {kinds}."
    return tuple(p.squeeze() if p.numel() == 1 and p.ndim == 1 else p for p in parts if p is not None)


def _tensor(item: Any) -> Tensor | None:
    if isinstance(item, (list, tuple)) and item and all(isinstance(x, Tensor) for x in item):
        return torch.stack(list(item)) if len({x.shape for x in item}) == 1 else None
    if isinstance(item, (Tensor, np.ndarray, np.number, float, int, list, tuple)):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            tensor = torch.as_tensor(item)
            return tensor if tensor.is_floating_point() else tensor.double()
    return None


def _invoke(function: Callable[..., Any], args: dict[str, Any]) -> Any:
    """Call by name where the names are ours, else by position, keyword-only arguments by name."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function(*args.values())
    try:
        signature.bind(**args)
    except TypeError:
        pass
    else:
        return function(**args)
    named = {k for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY} & set(args)
    positional = [v for k, v in args.items() if k not in named]
    by_name = {k: args[k] for k in named}
    try:
        signature.bind(*positional, **by_name)
    except TypeError:
        raise _WrongSignature(f"({', '.join(args)})") from None
    return function(*positional, **by_name)


def _raised(error: Exception, case: Case) -> str:
    if isinstance(error, _WrongSignature):
        return f"Your function must take {error}, in this order or by these names."
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    line = f" at `{frames[0].line}`" if frames and frames[0].line else ""
    shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in case.args.items() if isinstance(v, Tensor))
    said = str(error).strip().split("\n")[0]
    return f"Your function raised {type(error).__name__}{line}: {said}\n  ({case.label}: {shapes})"


class _WrongSignature(Exception):
    pass


def _is_empty(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and not code.co_names and len(code.co_code) <= 12


class _TooSlow(BaseException):
    pass


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[list[bool]]:
    """Stop an endless loop, where the platform can (the main thread, on systems with interval timers)."""
    expired: list[bool] = []
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield expired
        return

    def stop(*_: Any) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield expired
    except _TooSlow:
        expired.append(True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
