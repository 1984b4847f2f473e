"""One clear sentence for bad input: what was wrong, what was expected, and where."""

from __future__ import annotations

from torch import Tensor


def same_shape(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all tensors have one shape, so that nothing broadcasts silently.

    >>> import torch
    >>> same_shape("reinforce", logp=torch.zeros(2, 3), advantages=torch.zeros(3))
    Traceback (most recent call last):
    ValueError: reinforce: shapes must be equal, got logp [2, 3], advantages [3].
    """
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
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{where}: {name} must have shape {list(shape)}, got {list(tensor.shape)}.")


def finite(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` naming the first tensor that holds a NaN or an infinity.

    >>> import torch
    >>> finite("ppo", rewards=torch.tensor([1.0, float("nan")]))
    Traceback (most recent call last):
    ValueError: ppo: rewards must be finite, got nan at [1].
    """
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
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{where}: {name} must lie in {interval}, got {value!r}.")


def one_of(where: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``.

    >>> one_of("masked_mean", "reduce", "row", ("token", "sequence"))
    Traceback (most recent call last):
    ValueError: masked_mean: reduce must be one of 'token', 'sequence', got 'row'.
    """
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{where}: {name} must be one of {listed}, got {value!r}.")
