"""Exercises of notebook 06: the details around PPO that nobody writes into the equation."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, Mistake
from rlbase.losses import value_clipped
from rlbase.masked import masked_whiten

NOTEBOOK = "06_ppo_on_gymnasium"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    return value_clipped(values, old_values, returns, clip=clip)


def _held(values: Tensor, old_values: Tensor, clip: float) -> Tensor:
    return old_values + (values - old_values).clamp(-clip, clip)


def _value_case(seed: int, clip: float) -> Case:
    old = _noise(seed, 3, 5)
    args = {"values": old + _noise(seed + 1, 3, 5), "old_values": old, "returns": 2 * _noise(seed + 2, 3, 5)}
    return Case(f"random values, clip {clip}", {**args, "clip": clip})


value_clip = Exercise(
    "value-clip", NOTEBOOK, "the clipped value loss", *(3, 3, 10),
    "Write `clipped_value_loss(values, old_values, returns, clip)`, tensors `[B, T]`: **half** the larger of two "
    "squared errors, one of the value, one of the value held within ±clip of the old value. Not reduced; a gradient "
    "flows through `values` only.",
    ("As in the policy's loss, the pessimistic one of two counts: for an error that is the larger one.",
     "loss = 1/2 max((V - R)^2, (V_old + clamp(V - V_old, -clip, clip) - R)^2).",
     "return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)"),
    "values and gradients right for three clips.",
    reference=_value_loss, cases=(_value_case(1, 0.2), _value_case(4, 0.5), _value_case(7, 1.0)),
    mistakes=(
        ("You took the smaller error: the pessimistic choice among errors is the maximum.",
         lambda v, o, r, c: 0.5 * torch.minimum((v - r).square(), (_held(v, o, c) - r).square())),
        ("The half is missing.", lambda v, o, r, c: 2 * _value_loss(v, o, r, c)),
        ("There is no clip in it: this is the plain squared error.", lambda v, o, r, c: 0.5 * (v - r).square()),
        ("You forgot the maximum: a held value alone has no gradient left once it is far from the old one.",
         lambda v, o, r, c: 0.5 * (_held(v, o, c) - r).square()),
        ("You clipped the value itself to ±clip: clip its change, values - old_values.",
         lambda v, o, r, c: 0.5 * torch.maximum((v - r).square(), (v.clamp(-c, c) - r).square())),
        ("You clipped by a factor, 1 ± clip, as the policy's ratio: values are clipped by a difference.",
         lambda v, o, r, c: (0.5 * torch.maximum((v - r).square(), ((v / o).clamp(1 - c, 1 + c) * o - r).square()))),
        ("The sign is flipped: an error is minimised.", lambda v, o, r, c: -_value_loss(v, o, r, c)),
    ),
    gradient=("values",), constant=("old_values", "returns"),
)


def _white(ddof: int) -> tuple[Mistake, ...]:
    def std(x: Tensor) -> Tensor:
        return x.std(correction=ddof) + 1e-8

    return (
        ("The statistics include the padding: take mean and std over x[mask].", lambda x, m: (x - x.mean()) / std(x)),
        ("You zeroed the padding and then counted it: take mean and std over x[mask].",
         lambda x, m: (x - torch.where(m, x, 0).mean()) / std(torch.where(m, x, 0))),
        ("You divided by the variance: divide by its root, the standard deviation.",
         lambda x, m: (x - x[m].mean()) / x[m].var(correction=ddof)),
        ("You did not subtract the mean.", lambda x, m: x / std(x[m])),
        ("You multiplied by the standard deviation: divide.", lambda x, m: (x - x[m].mean()) * std(x[m])),
        ("The mean was added back: advantages are centred.",
         lambda x, m: (x - x[m].mean()) / std(x[m]) + x[m].mean()),
        ("You whitened every row by itself: one mean and one std for the whole batch.",
         lambda x, m: torch.stack([(a - a[b].mean()) / std(a[b]) for a, b in zip(x, m, strict=True)])),
        ("0 / 0 when all advantages are equal: add a small number to the standard deviation.",
         lambda x, m: (x - x[m].mean()) / x[m].std(correction=ddof)),
    )


def _population(advantages: Tensor, mask: Tensor) -> Tensor:
    inside = advantages[mask]
    return (advantages - inside.mean()) / (inside.std(correction=0) + 1e-8)


def _batches() -> tuple[Case, ...]:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    x = 3 * _noise(10, 3, 4) + 2
    return (
        Case("random advantages, 9 of 12 chosen", {"advantages": x, "mask": mask}),
        Case("large numbers on padding", {"advantages": torch.where(mask, x, 50.0), "mask": mask}),
        Case("all advantages equal", {"advantages": torch.full((3, 4), 2.0), "mask": mask}, extreme=True),
    )


whiten = Exercise(
    "whiten", NOTEBOOK, "advantage whitening", *(2, 4, 6),
    "Write `whiten(advantages, mask)`, both `[B, T]`: shift and scale so that over the steps where the mask is True "
    "the mean is 0 and the standard deviation 1 (either definition of it). What you return elsewhere does not matter.",
    ("The statistics must come from choices only; padding has no advantage.",
     "(A - mean) / (std + 1e-8), mean and std over A[mask].",
     "inside = advantages[mask]; return (advantages - inside.mean()) / (inside.std() + 1e-8)"),
    "mean 0 and std 1 over the choices, and no NaN when all are equal.",
    reference=masked_whiten, cases=_batches(),
    mistakes=(
        ("You only subtracted the mean: divide by the standard deviation too.", lambda x, m: x - x[m].mean()),
        *_white(1),
        *_white(0),
    ),
    inside="mask",
    also=(_population,),
)


def _explained(values: Tensor, returns: Tensor) -> Tensor:
    return 1 - (returns - values).var() / returns.var()


def _critics() -> tuple[Case, ...]:
    returns = 2 * _noise(12, 20) + 3
    return (
        Case("a fair critic", {"values": returns + _noise(13, 20), "returns": returns}),
        Case(
            "a critic off by 5 everywhere", {"values": returns + 5 + 0.5 * _noise(14, 20), "returns": returns}
        ),
        Case("a useless critic", {"values": _noise(15, 20), "returns": returns}),
        Case("a critic of half the scale", {"values": 0.5 * returns, "returns": returns}),
        Case("a perfect critic", {"values": returns.clone(), "returns": returns}),
    )


explained_variance = Exercise(
    "explained-variance", NOTEBOOK, "is the critic any good?", *(2, 4, 6),
    "Write `explained_variance(values, returns)`, both `[N]`: one number, 1 for a critic that follows every return, 0 "
    "for one that is no better than a constant, negative for a worse one.",
    ("Compare what is left unexplained with what there was to explain.",
     "1 - Var(returns - values) / Var(returns).",
     "return 1 - (returns - values).var() / returns.var()"),
    "right for five critics, a constant offset (which it forgives) among them.",
    reference=_explained, cases=_critics(),
    mistakes=(
        ("This is the *un*explained share: take it from 1.", lambda v, r: (r - v).var() / r.var()),
        ("You divided by the variance of the values: the returns are to be explained.",
         lambda v, r: 1 - (r - v).var() / v.var()),
        ("You used the squared error: take the variance of the residual, which forgives a constant offset.",
         lambda v, r: 1 - (r - v).square().mean() / r.var(correction=0)),
        ("You used the squared error: take the variance of the residual, which forgives a constant offset.",
         lambda v, r: 1 - (r - v).square().mean() / r.var()),
        ("This is the squared correlation: it forgives a wrong scale too, and never goes below 0.",
         lambda v, r: torch.corrcoef(torch.stack([v, r]))[0, 1] ** 2),
        ("You divided standard deviations: divide variances.", lambda v, r: 1 - (r - v).std() / r.std()),
        ("You compared the variances of values and returns: look at their difference.",
         lambda v, r: 1 - v.var() / r.var()),
        ("This is the ratio of variances: look at the residual, returns - values.", lambda v, r: v.var() / r.var()),
    ),
)

EXERCISES = (value_clip, whiten, explained_variance)
