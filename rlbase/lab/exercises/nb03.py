"""Exercises of notebook 03: REINFORCE, its baselines, and averages over what was really chosen."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.advantages import discounted_returns
from rlbase.advantages import leave_one_out as rloo
from rlbase.lab.exercise import Case, Exercise
from rlbase.losses import reinforce
from rlbase.masked import masked_mean as exact_mean

NOTEBOOK = "03_policy_gradients"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


reinforce_loss = Exercise(
    "reinforce-loss", NOTEBOOK, "the REINFORCE loss", *(2, 5, 8),
    "Write `reinforce_loss(logp, advantages)`, both `[B, T]`: the loss of **every** choice `[B, T]`, not "
    "reduced, to be *minimised*. Advantages are data: no gradient may flow into them.",
    ("Make choices likelier in proportion to how much better than expected they went.",
     "loss = -advantage * log pi(action), with the advantage detached.",
     "return -advantages.detach() * logp"),
    "values and gradients right on three batches, and no gradient reaches the advantages.",
    reference=reinforce,
    cases=(
        Case("advantages of both signs", {"logp": -_noise(1, 2, 3).abs(), "advantages": _noise(2, 2, 3)}),
        Case("4 rows", {"logp": -_noise(3, 4, 2).abs(), "advantages": _noise(4, 4, 2)}),
        Case("log-probs of -10,000", {"logp": torch.full((2, 2), -1e4), "advantages": _noise(5, 2, 2)}),
    ),
    mistakes=(
        ("The sign is flipped: minimised, this makes good choices rarer.", lambda x, a: x * a),
        ("You used probabilities: REINFORCE weighs log-probabilities.", lambda x, a: -x.exp() * a),
        ("The advantages are missing: all choices would get likelier.", lambda x, a: -x),
        ("You multiplied by the whole row's log-probability: each choice answers for its own.",
         lambda x, a: -x.sum(1, keepdim=True) * a),
        ("You took the size of the advantage: its sign is the message.", lambda x, a: -x * a.abs()),
        ("You centred the advantages: take them as they are given.", lambda x, a: -x * (a - a.mean())),
    ),
    gradient=("logp",), constant=("advantages",),
)


def _shifted(rewards: Tensor, discounts: Tensor) -> Tensor:
    return discounted_returns(rewards, torch.cat([discounts[:, 1:], discounts[:, -1:]], 1))


def _streams() -> tuple[Case, ...]:
    ends = torch.tensor([[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [1, 0, 0, 1, 0, 0]])
    never = torch.zeros(2, 4)
    return (
        Case("episodes end inside the rows", {"rewards": _noise(6, 3, 6), "discounts": 0.9 * (1 - ends)}),
        Case("gamma 1, two ends", {"rewards": _noise(7, 3, 6), "discounts": 1.0 * (1 - ends)}),
        Case("no end", {"rewards": _noise(8, 2, 4), "discounts": 0.5 * (1 - never)}),
    )


reward_to_go = Exercise(
    "reward-to-go", NOTEBOOK, "reward-to-go, many episodes in a row", *(2, 4, 8),
    "Write `reward_to_go(rewards, discounts)`, both `[B, T]`: the discounted sum of what follows each step. A "
    "row holds several episodes; `discounts` is gamma, and 0 where an episode ended. After the last column: 0.",
    ("Exactly the backward recursion, column by column, with a discount per step.",
     "G[:, t] = rewards[:, t] + discounts[:, t] * G[:, t + 1].",
     "for t in reversed(range(T)): g = rewards[:, t] + discounts[:, t] * g; out[:, t] = g"),
    "right on three batches; no reward leaks over the end of an episode.",
    reference=discounted_returns, cases=_streams(),
    mistakes=(
        ("Rewards leak over the end of an episode: the discount there is 0.",
         lambda r, d: discounted_returns(r, torch.full_like(d, d.max().item()))),
        ("You ignored the discounts: this is the plain sum of all that follows, next episodes included.",
         lambda r, d: r.flip(1).cumsum(1).flip(1)),
        ("Every step got the whole row's reward: what came before is not its doing.",
         lambda r, d: r.sum(1, keepdim=True).expand_as(r)),
        ("You used the next step's discount: step t's own says whether anything follows it.", _shifted),
        ("You ran along the batch axis: time is axis 1.", lambda r, d: discounted_returns(r.T, d.T).T),
        ("You added up the past: go backwards from the last column.",
         lambda r, d: discounted_returns(r.flip(1), d.flip(1)).flip(1)),
        ("You discounted the step's own reward as well.", lambda r, d: d * discounted_returns(r, d)),
    ),
)


def _groups() -> tuple[Case, ...]:
    return (
        Case("groups 0, 1, 5 and 2, 2, 8", {"rewards": torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 8.0]])}),
        Case("three groups of four", {"rewards": _noise(9, 3, 4)}),
        Case("all rewards equal", {"rewards": torch.full((2, 3), 2.0)}),
        Case("pairs", {"rewards": _noise(10, 4, 2)}),
    )


leave_one_out = Exercise(
    "leave-one-out", NOTEBOOK, "a baseline from one's siblings (RLOO)", *(2, 4, 8),
    "Write `leave_one_out(rewards)`, `[groups, G]` to `[groups, G]`: each reward minus the mean of the *others* in "
    "its group. (Why not minus the mean of all? Then the baseline would depend on the choice it judges.)",
    ("A baseline must not depend on the choice it is subtracted from.",
     "A[i] = r[i] - (sum of the group - r[i]) / (G - 1).",
     "return rewards - (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)"),
    "right on four batches of groups.",
    reference=rloo, cases=_groups(),
    mistakes=(
        ("The baseline includes the response itself: average over the others only.",
         lambda r: r - r.mean(1, keepdim=True)),
        ("You divided the sum of the others by G: they are G - 1.",
         lambda r: r - (r.sum(1, keepdim=True) - r) / r.shape[1]),
        ("The sign is flipped: better than the others is positive.", lambda r: -rloo(r)),
        ("This is the baseline: subtract it from the reward.", lambda r: r - rloo(r)),
        ("You mixed the groups: each prompt's responses are compared among themselves.", lambda r: r - r.mean()),
        ("You also divided by the standard deviation: that is GRPO, not leave-one-out.",
         lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)),
        ("You also divided by the standard deviation: that is GRPO, not leave-one-out.",
         lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True)),
        ("The answer's own reward is still in the sum: take it out before you divide by G - 1.",
         lambda r: r - r.sum(1, keepdim=True) / (r.shape[1] - 1)),
        ("You ran along the wrong axis: a group is a row.", lambda r: rloo(r.T).T),
    ),
)


def _mean_cases() -> tuple[Case, ...]:
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    x = _noise(11, 3, 4) + 2
    return (
        Case("rows of 4, 1 and 2 choices", {"x": x, "mask": mask}),
        Case("big numbers on padding", {"x": torch.where(mask, x, 1e3), "mask": mask}),
        Case("no padding", {"x": x[:, :3], "mask": mask[:, :3] | True}),
        Case("NaN on padding", {"x": torch.where(mask, x, torch.nan), "mask": mask}, extreme=True),
    )


masked_mean = Exercise(
    "masked-mean", NOTEBOOK, "average over choices, not over padding", *(2, 5, 6),
    "Write `masked_mean(x, mask)`, both `[B, T]`: one number, the mean of x over the steps where the boolean mask is "
    "True, each counting the same. What stands under the mask, be it NaN, must not matter.",
    ("The denominator counts what you summed. And NaN * 0 is NaN.",
     "sum of x over the mask / number of True entries.",
     "return x[mask].mean()"),
    "right with garbage and even NaN on the padding, gradients included.",
    reference=exact_mean, cases=_mean_cases(),
    mistakes=(
        ("You averaged over padding: divide by the number of choices, mask.sum().",
         lambda x, m: torch.where(m, x, 0).mean()),
        ("You ignored the mask.", lambda x, m: x.mean()),
        ("You summed and did not divide.", lambda x, m: torch.where(m, x, 0).sum()),
        ("You averaged the rows' means: long rows must weigh more, every choice counts the same.",
         lambda x, m: exact_mean(x, m, reduce="sequence")),
        ("You gave one mean for each row: give one number.", lambda x, m: torch.where(m, x, 0).sum(1) / m.sum(1)),
        ("You averaged over the padding only: the mask is inverted.", lambda x, m: x[~m].mean()),
        ("You divided by the number of rows: divide by the number of choices.",
         lambda x, m: torch.where(m, x, 0).sum() / len(x)),
        ("NaN on padding leaks in, since NaN * 0 is NaN: select with x[mask] or torch.where instead.",
         lambda x, m: (x * m).sum() / m.sum()),
    ),
    gradient=("x",),
)

EXERCISES = (reinforce_loss, reward_to_go, leave_one_out, masked_mean)
