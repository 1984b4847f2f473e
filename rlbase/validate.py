"""One clear sentence for bad input: what was wrong, what was expected, and where."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def instance(where: str, name: str, value: object, kind: type, *, optional: bool = False) -> None:
    """Raise ``TypeError`` unless ``value`` is an object of type ``kind``, or None where that is allowed.

    >>> instance("ppo", "generator", 0, torch.Generator, optional=True)
    Traceback (most recent call last):
    TypeError: ppo: generator must be a Generator or None, got 0.
    """
    if isinstance(value, kind) or (optional and value is None):
        return
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    wanted = f"{article} {kind.__name__}{' or None' if optional else ''}"
    said = " ".join(repr(value).split())  # a record of tensors fills many lines
    got = f"the class {value.__name__}" if isinstance(value, type) else f"{said:.60}"
    raise TypeError(f"{where}: {name} must be {wanted}, got {got}.")


def a_tensor(where: str, **named: Any) -> None:
    """Raise ``TypeError`` naming the first argument that is not a tensor.

    >>> a_tensor("reinforce", logp=[-1.0])
    Traceback (most recent call last):
    TypeError: reinforce: logp must be a tensor, got list.
    """
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{where}: {name} must be a tensor, got {type(value).__name__}.")


def boolean(where: str, mask: Tensor) -> None:
    """Raise ``TypeError`` unless ``mask`` is a boolean tensor; 0 and 1 in another dtype would index.

    >>> import torch
    >>> boolean("gae", torch.ones(1, 1))
    Traceback (most recent call last):
    TypeError: gae: mask must be a boolean tensor, got torch.float32.
    """
    a_tensor(where, mask=mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"{where}: mask must be a boolean tensor, got {mask.dtype}.")


def choices(where: str, actions: Tensor, n: int, batch_size: int) -> None:
    """Raise unless ``actions`` holds ``batch_size`` numbers of alternatives, whole and within 0 to ``n`` - 1.

    >>> import torch
    >>> choices("Bandit.step", torch.tensor([0, 3]), 3, 2)
    Traceback (most recent call last):
    ValueError: Bandit.step: actions must lie in 0..2, got 3; does the policy fit this world?
    """
    has_shape(where, "actions", actions, (batch_size,))
    if actions.is_floating_point() or actions.dtype == torch.bool:
        raise TypeError(f"{where}: actions must be whole numbers, got {actions.dtype}.")
    low, high = (int(x) for x in actions.aminmax())
    if low < 0 or high >= n:
        worst = low if low < 0 else high
        raise ValueError(
            f"{where}: actions must lie in 0..{n - 1}, got {worst}; does the policy fit this world?"
        )


def same_shape(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all tensors have one shape, so that nothing broadcasts silently.

    >>> import torch
    >>> same_shape("reinforce", logp=torch.zeros(2, 3), advantages=torch.zeros(3))
    Traceback (most recent call last):
    ValueError: reinforce: shapes must be equal, got logp [2, 3], advantages [3].
    """
    a_tensor(where, **tensors)
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"{where}: shapes must be equal, got {listed}.")


def has_shape(where: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless ``tensor`` has exactly ``shape``.

    >>> import torch
    >>> has_shape("gae", "values", torch.zeros(2, 3), (2, 4))
    Traceback (most recent call last):
    ValueError: gae: values must have shape [2, 4], got [2, 3].
    """
    a_tensor(where, **{name: tensor})
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{where}: {name} must have shape {list(shape)}, got {list(tensor.shape)}.")


def finite(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` naming the first tensor that holds a NaN or an infinity.

    >>> import torch
    >>> finite("ppo", rewards=torch.tensor([1.0, float("nan")]))
    Traceback (most recent call last):
    ValueError: ppo: rewards must be finite, got nan at [1].
    """
    a_tensor(where, **tensors)
    for name, t in tensors.items():
        bad = ~t.isfinite()
        if bad.any():
            index = bad.nonzero()[0].tolist()
            raise ValueError(f"{where}: {name} must be finite, got {t[tuple(index)].item()} at {index}.")


def in_range(
    where: str,
    name: str,
    value: float,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise ``ValueError`` unless ``value`` lies between ``low`` and ``high`` (NaN never does).

    >>> in_range("ppo_clip", "clip", 1.0, 0, 1, open_low=True, open_high=True)
    Traceback (most recent call last):
    ValueError: ppo_clip: clip must lie in (0, 1), got 1.0.
    """
    if not isinstance(value, Real):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}.")
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{where}: {name} must lie in {interval}, got {value!r}.")


def whole(where: str, name: str, value: int, low: int) -> None:
    """Raise ``ValueError`` unless ``value`` is at least ``low``, ``TypeError`` unless it is a whole number.

    >>> whole("PPOConfig", "epochs", 2.5, 1)
    Traceback (most recent call last):
    TypeError: PPOConfig: epochs must be a whole number, got 2.5.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be a whole number, got {value!r}.")
    if value < low:
        raise ValueError(f"{where}: {name} must be at least {low}, got {value}.")


def columns(where: str, steps: int | None, horizon: int | None) -> int:
    """How many columns a rollout has at most; raise ``ValueError`` where that is not said, or said twice differently.

    Rows that finish within ``horizon`` steps are paid when they finish, so fewer ``steps`` cannot be granted.

    >>> columns("rollout", None, 5), columns("rollout", 64, 5), columns("rollout", 64, None)
    (5, 5, 64)
    >>> columns("rollout", 2, 5)
    Traceback (most recent call last):
    ValueError: rollout: this world's rows finish by themselves within 5 steps and are not cut; leave out steps=2.
    """
    if steps is not None:
        whole(where, "steps", steps, 1)
    if horizon is None:
        if steps is None:
            raise ValueError(f"{where}: this world goes on by itself, say how many steps a rollout takes.")
        return steps
    if steps is not None and steps < horizon:
        raise ValueError(
            f"{where}: this world's rows finish by themselves within {horizon} steps and are not cut; "
            f"leave out steps={steps}."
        )
    return horizon


def mdp_tables(where: str, transitions: Tensor, rewards: Tensor) -> None:
    """Raise ``ValueError`` unless the tables ``[S, A, S]`` and ``[S, A]`` describe a finite Markov decision process.

    >>> mdp_tables("chain", torch.full((1, 2, 1), 0.5), torch.zeros(1, 2))
    Traceback (most recent call last):
    ValueError: chain: every transitions[s, a] must be a distribution over next states.
    """
    a_tensor(where, transitions=transitions, rewards=rewards)
    if rewards.ndim != 2:
        raise ValueError(f"{where}: rewards must be [S, A], got shape {list(rewards.shape)}.")
    states, actions = rewards.shape
    has_shape(where, "transitions", transitions, (states, actions, states))
    finite(where, transitions=transitions, rewards=rewards)
    if ((transitions.sum(-1) - 1).abs() > 1e-5).any() or (transitions < 0).any():
        raise ValueError(f"{where}: every transitions[s, a] must be a distribution over next states.")


def one_of(where: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``.

    >>> one_of("masked_mean", "reduce", "row", ("token", "sequence"))
    Traceback (most recent call last):
    ValueError: masked_mean: reduce must be one of 'token', 'sequence', got 'row'.
    """
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{where}: {name} must be one of {listed}, got {value!r}.")


def same_settings(where: str, mine: dict[str, Any], stored: dict[str, Any]) -> None:
    """Raise ``ValueError`` naming the first setting of a world that a saved state knows differently.

    >>> same_settings("Bandit", {"noise": 0.0}, {"noise": 0.5, "returns": []})
    Traceback (most recent call last):
    ValueError: Bandit: the saved state belongs to another world, its noise was 0.5 and is 0.0 here.
    """
    for name, value in mine.items():
        other = stored.get(name)
        if not isinstance(value, Tensor):
            if value != other:
                told = f"its {name} was {other!r} and is {value!r} here"
                raise ValueError(f"{where}: the saved state belongs to another world, {told}.")
        elif not isinstance(other, Tensor) or value.shape != other.shape or (value != other).any():
            raise ValueError(f"{where}: the saved state belongs to another world, its {name} are not these.")
