"""A reward model that is linear in known features: the one whose best fit is found exactly, in a few Newton steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.losses import soft_bradley_terry
from rlbase.validate import a_tensor, finite, has_shape, in_range, whole

INFINITY = float("inf")
FLAT = 30.0  # log-odds beyond which a fit that has not settled runs away
SETTLED = 1e-3  # the share by which a full Newton step still changes the log-odds of one that runs away


class LinearReward(NamedTuple):
    r"""What `linear_reward` found: ``weight [F]`` of the features, ``shift [C]`` of the covariates.

    ``covariance [F + C, F + C]`` says how sure that is (the sandwich $H^{-1}GH^{-1}$, right for weighted rows as for a
    wrong model), ``information`` is $H$, the Fisher information of the fit, and ``loss`` its mean loss in nats.
    """

    weight: Tensor
    shift: Tensor
    covariance: Tensor
    information: Tensor
    loss: float

    def score(self, features: Float[Tensor, "*n F"]) -> Float[Tensor, " *n"]:
        """Reward of responses with these features; the covariates, which belong to the asking, are left out."""
        return features.to(self.weight) @ self.weight

    @property
    def error(self) -> Tensor:
        """Standard errors of ``weight`` and ``shift``, one after the other."""
        return self.covariance.diagonal().clamp(min=0).sqrt()


def linear_reward(
    difference: Float[Tensor, "N F"],
    prob: Float[Tensor, " N"],
    *,
    covariates: Float[Tensor, "N C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    prior: float = 0.0,
    steps: int = 50,
    start: Float[Tensor, " F+C"] | None = None,
) -> LinearReward:
    r"""Fit Bradley-Terry with $r(x)=w\cdot\phi(x)$ to comparisons by Newton's method.

    $$\min_{w,c}\ \sum_n a_n\,\mathrm{BT}\big(w\cdot[\phi(x_n)-\phi(x'_n)]+c\cdot z_n;\,p_n\big)+\tfrac\lambda2\|w\|^2$$

    The loss is `rlbase.losses.soft_bradley_terry`, that of every reward model here; linear, it is convex and small
    enough to be solved rather than trained. Covariates $z$ describe how one asked (which response stood first, which
    one was believed to be better): fitted beside the features, they take their effect out of the reward.

    Args:
        difference: features of the first response less those of the second.
        prob: the label, 1 for the first, 0 for the second, or a share of votes.
        weight: how much each comparison counts, such as the importance weights of a sample that was not drawn evenly.
        prior: $\lambda$, the precision of a normal prior around 0 on the features' weights (not the covariates').
        start: weights and shifts to set out from (None: 0), such as those of nearly the same labels: fewer steps, and
            the same optimum, for there is only one.

    Raises:
        ValueError: shapes differ, a number is not finite, a label outside [0, 1], a negative weight, no row that
            counts; or no finite optimum, since a combination of the features tells every answer, or changes none.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x = torch.randn(5000, 2, generator=draws)
    >>> found = linear_reward(x, (x @ torch.tensor([1.0, -0.5])).sigmoid())  # exact shares: exact weights
    >>> [round(w, 3) for w in found.weight.tolist()]
    [1.0, -0.5]
    """
    z, y, a = _checked(difference, prob, covariates, weight)
    in_range("linear_reward", "prior", prior, 0, INFINITY, open_high=True)
    whole("linear_reward", "steps", steps, 1)
    features = difference.shape[1]
    ridge = torch.zeros(z.shape[1], dtype=z.dtype, device=z.device)
    ridge[:features] = prior
    w = _start(start, ridge)

    def total(w: Tensor) -> Tensor:
        gap = z @ w
        return a @ soft_bradley_terry(gap, torch.zeros_like(gap), y) + 0.5 * (ridge * w * w).sum()

    best, counted, settled, step = total(w), z[a > 0], False, w
    for turn in range(steps):
        said = (z @ w).sigmoid()
        gradient = z.T @ (a * (said - y)) + ridge * w
        hessian = (z.T * (a * said * (1 - said))) @ z + ridge.diag()
        step = _solved(hessian, gradient, SAME if turn == 0 else RUNAWAY)
        size, reached = 1.0, total(w - step)
        # full steps can overshoot far from the optimum; at it, a rise is but rounding
        while size > 1e-6 and reached > best + 1e-14 * best.abs():
            size /= 2
            reached = total(w - size * step)
        w = w - size * step
        gain, best = best - reached, reached
        if gain <= 1e-12 * best.abs():
            settled = True
            break
    # Where rows are told apart, each step moves them by about 1, while the loss has long ceased to fall.
    far, moved = ((counted @ each).abs() for each in (w, step))
    if ((moved > SETTLED * far.clamp(min=1)) & (far > (1 if settled else FLAT))).any():
        raise ValueError(f"linear_reward: {RUNAWAY}")
    said = (z @ w).sigmoid()
    hessian = (z.T * (a * said * (1 - said))) @ z + ridge.diag()
    scores = z * (a * (said - y))[:, None]
    inverse = _solved(hessian, torch.eye(len(w), dtype=w.dtype, device=w.device), RUNAWAY)
    covariance = inverse @ (scores.T @ scores) @ inverse
    loss = (best - 0.5 * (ridge * w * w).sum()) / a.sum()
    return LinearReward(w[:features], w[features:], covariance, hessian, loss.item())


RUNAWAY = (
    "no finite weights fit best, since a combination of the features tells every answer; give a prior above 0, "
    "or more comparisons."
)
SAME = (
    "a combination of the features (or covariates) is the same in every comparison, so that "
    "its weight cannot be told; leave one out, or give a prior above 0."
)


def _start(start: Tensor | None, like: Tensor) -> Tensor:
    if start is None:
        return torch.zeros_like(like)
    has_shape("linear_reward", "start", start, (len(like),))
    finite("linear_reward", start=start)
    return start.to(like)


def _solved(hessian: Tensor, right: Tensor, otherwise: str) -> Tensor:
    """Solve in units in which each feature tells as much as any other: a rank has no unit."""
    unit = hessian.diagonal().sqrt()
    unit = torch.where(unit > 0, unit, 1)
    scaled = hessian / unit / unit[:, None]
    if torch.linalg.matrix_rank(scaled, hermitian=True) < len(hessian):
        raise ValueError(f"linear_reward: {otherwise}")
    tall = unit if right.ndim == 1 else unit[:, None]
    return torch.linalg.solve(scaled, right / tall) / tall


def _checked(
    difference: Tensor, prob: Tensor, covariates: Tensor | None, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    where = "linear_reward"
    a_tensor(where, difference=difference)
    if difference.ndim != 2 or not difference.numel():
        raise ValueError(
            f"{where}: difference must be [comparisons, features], got {list(difference.shape)}."
        )
    n = len(difference)
    has_shape(where, "prob", prob, (n,))
    finite(where, difference=difference, prob=prob)
    if prob.min() < 0 or prob.max() > 1:
        raise ValueError(f"{where}: prob must lie in 0 to 1; leave unanswered comparisons out.")
    parts = [difference]
    if covariates is not None:
        has_shape(where, "covariates", covariates, (n, covariates.shape[-1] if covariates.ndim else 1))
        finite(where, covariates=covariates)
        parts.append(covariates)
    if weight is None:
        weight = torch.ones_like(prob)
    has_shape(where, "weight", weight, (n,))
    finite(where, weight=weight)
    if (weight < 0).any() or not (weight > 0).any():
        raise ValueError(f"{where}: weight must be 0 or more, and above 0 somewhere.")
    return torch.cat([part.double() for part in parts], 1), prob.double(), weight.double()
