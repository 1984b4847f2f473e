"""One clear sentence for bad input: what was wrong, what was expected, and where."""

from __future__ import annotations

from torch import Tensor


def same_shape(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all tensors have one shape, so that nothing broadcasts silently."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"{where}: shapes must be equal, got {listed}.")


def has_shape(where: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless ``tensor`` has exactly ``shape``."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{where}: {name} must have shape {list(shape)}, got {list(tensor.shape)}.")


def finite(where: str, **tensors: Tensor) -> None:
    """Raise ``ValueError`` naming the first tensor that holds a NaN or an infinity."""
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
    """Raise ``ValueError`` unless ``value`` lies between ``low`` and ``high`` (NaN never does)."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{where}: {name} must lie in {interval}, got {value!r}.")


def one_of(where: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{where}: {name} must be one of {listed}, got {value!r}.")
