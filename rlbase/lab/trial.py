"""Run a learner's function on one case, safely: copies in, values and gradients or one clear sentence out."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise

STUB = "Not written yet: put your own lines in place of the stub, and run both cells."
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


def run(exercise: Exercise, function: Callable[..., Any], case: Case) -> Outcome:
    """Call ``function`` on copies of the case, once for values and, where they matter, once for gradients."""
    inside = case.args[exercise.inside] if exercise.inside else None
    args, spoken = _copies(case.args), io.StringIO()
    try:
        with contextlib.redirect_stdout(spoken):
            returned = _invoke(function, args)
    except NotImplementedError:
        return Outcome(problem=STUB)
    except (Exception, SystemExit) as error:
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


def _raised(error: BaseException, case: Case) -> str:
    if isinstance(error, _WrongSignature):
        return f"Your function must take {error}, in this order or by these names."
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    line = f" at `{frames[0].line}`" if frames and frames[0].line else ""
    shown = [(k, v) for k, v in case.args.items() if isinstance(v, (Tensor, int, float))]
    given = ", ".join(f"{k} {list(v.shape) if isinstance(v, Tensor) else v}" for k, v in shown)
    said = str(error).strip().split("\n")[0]
    if said.startswith("Boolean value of Tensor"):
        said += "; choose with torch.where, entry by entry."
    if "dtype" in said and "Double" in said:
        name = next((k for k, v in case.args.items() if isinstance(v, Tensor)), "x")
        said += f"; build your own tensors with dtype={name}.dtype."
    return f"Your function raised {type(error).__name__}{line}: {said}\n  ({case.label}: {given})"


class _WrongSignature(Exception):
    pass


def _is_empty(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and not code.co_names and len(code.co_code) <= 12


class _TooSlow(BaseException):
    pass


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[list[bool]]:
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


def attempt(test: Callable[[Any], str | None], answer: Any, seconds: float = 60.0) -> str | None:
    """What ``test`` says of a learner's function, which may raise, print or never end."""
    said: str | None = None
    try:
        with contextlib.redirect_stdout(io.StringIO()), time_limit(seconds) as expired:
            said = test(answer)
    except NotImplementedError:
        return STUB
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == _file_of(answer)]
        line = f" at `{frames[-1].line}`" if frames and frames[-1].line else ""
        first = (str(error).strip() or "no reason given").split("\n")[0]
        return f"With your function in it the run stopped{line}: {type(error).__name__}: {first}"
    return f"With your function in it the run had not ended after {seconds:g} s." if expired else said


def _file_of(function: Any) -> str:
    return getattr(getattr(function, "__code__", None), "co_filename", "")
