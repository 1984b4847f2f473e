"""Exercises of notebook 13: what a token answers for, when three stages are chained."""

# fmt: off

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice
from rlbase.masked import last_choice, masked_whiten

NOTEBOOK = "13_rlhf_with_ppo"
EOS = 3


def _finished(actions: Tensor, mask: Tensor) -> Tensor:
    return ((actions == EOS) & mask).any(1)


def _owed(
    actions: Tensor, mask: Tensor, score: Tensor, logp: Tensor, ref_logp: Tensor, beta: float, penalty: float,
    cut_off: Tensor | None = None,
) -> Tensor:
    """Returns to go; ``cut_off`` replaces which rows pay the penalty."""
    unfinished = ~_finished(actions, mask) if cut_off is None else cut_off
    charge = torch.where(mask, beta * (logp - ref_logp), 0)
    still = charge.flip(1).cumsum(1).flip(1)
    return (score - penalty * unfinished)[:, None] - still


def _returns(
    score: Tensor, actions: Tensor, mask: Tensor, logp: Tensor, ref_logp: Tensor, beta: float, penalty: float
) -> Tensor:
    return _owed(actions, mask, score, logp, ref_logp, beta, penalty)


def _texts() -> tuple[Case, ...]:
    g = torch.Generator().manual_seed(13)
    actions = torch.tensor([[0, 1, 3, 1], [2, 1, 0, 1], [3, 3, 3, 3], [1, 0, 2, 3], [0, 3, 2, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    logp, ref = (-torch.rand(5, 4, generator=g) * 3 for _ in range(2))
    score = torch.tensor([1.0, 2.0, -0.5, 0.7, 1.5])
    args = {"score": score, "actions": actions, "mask": mask, "logp": logp, "ref_logp": ref}
    garbage = {**args, "logp": torch.where(mask, logp, torch.nan)}
    return (
        Case("five responses, one of them cut off", {**args, "beta": 0.5, "penalty": 1.0}),
        Case("beta 2", {**args, "beta": 2.0, "penalty": 1.0}),
        Case("no price of KL", {**args, "beta": 0.0, "penalty": 3.0}),
        Case("no penalty", {**args, "beta": 0.3, "penalty": 0.0}),
        Case("NaN on padding", {**garbage, "beta": 0.5, "penalty": 1.0}, extreme=True),
    )


def _so_far(x: Tensor, r: Tensor, m: Tensor, b: float) -> Tensor:
    return torch.where(m, b * (x - r), 0).cumsum(1)


def _all(x: Tensor, r: Tensor, m: Tensor, b: float) -> Tensor:
    return torch.where(m, b * (x - r), 0).sum(1, True)


rlhf_returns = Exercise(
    "rlhf-returns", NOTEBOOK, "what a token answers for", *(4, 5, 12),
    "Write `returns(score, actions, mask, logp, ref_logp, beta, penalty)`: for every token `[B, T]` the sum of all "
    "rewards from this token to the end of its response (no discount). The reward model's `score` `[B]` is paid on the "
    "last token; a response without an end-of-text token (its number is 3) loses `penalty` there; and each token costs "
    "`beta` times `logp - ref_logp`, where it stands. `mask` `[B, T]` is True on the tokens that were written; what "
    "you return elsewhere does not matter, and what stands there in the inputs must not.",
    ("Every token sees the whole score, which comes at the end, but only the prices that are still to be paid.",
     "G[t] = score - penalty [no EOS] - beta sum over s >= t of (logp[s] - ref_logp[s]), sums over written tokens.",
     "charge = torch.where(mask, beta * (logp - ref_logp), 0); charge.flip(1).cumsum(1).flip(1) is still to pay"),
    "right for responses that end early, late and never; what lies on padding is not read.",
    reference=_returns, cases=_texts(),
    mistakes=(
        ("These are the rewards themselves: a token answers for what follows it too, the score above all.",
         lambda s, a, m, x, r, b, p: last_choice(m) * (s - p * ~_finished(a, m))[:, None] - b * (x - r)),
        ("The price is only the token's own: later tokens follow from this one, so their price counts too.",
         lambda s, a, m, x, r, b, p: (s - p * ~_finished(a, m))[:, None] - torch.where(m, b * (x - r), 0)),
        ("You charge the tokens up to this one; it answers for itself and for those that follow.",
         lambda s, a, m, x, r, b, p: (s - p * ~_finished(a, m))[:, None] - _so_far(x, r, m, b)),
        ("Every token is charged for the whole response: what was written before it is not its doing.",
         lambda s, a, m, x, r, b, p: (s - p * ~_finished(a, m))[:, None] - _all(x, r, m, b).expand(m.shape)),
        ("The token's own price is missing: the sum begins at this token, not after it.",
         lambda s, a, m, x, r, b, p: _returns(s, a, m, x, r, b, p) + torch.where(m, b * (x - r), 0)),
        ("The sign of the KL is flipped: what the reference finds unlikely costs.",
         lambda s, a, m, x, r, b, p: _returns(s, a, m, x, r, -b, p)),
        ("The sign of the penalty is flipped: you pay for running out of room.",
         lambda s, a, m, x, r, b, p: _returns(s, a, m, x, r, b, -p)),
        ("You penalise the responses that did end.",
         lambda s, a, m, x, r, b, p: _owed(a, m, s, x, r, b, p, cut_off=_finished(a, m))),
        ("You looked for the end in the last column: a short response ends earlier.",
         lambda s, a, m, x, r, b, p: _owed(a, m, s, x, r, b, p, cut_off=a[:, -1] != EOS)),
        ("You took every full row for one that was cut off: its last token may be the end.",
         lambda s, a, m, x, r, b, p: _owed(a, m, s, x, r, b, p, cut_off=m.all(1))),
        ("The penalty for a missing end is missing.", lambda s, a, m, x, r, b, p: _returns(s, a, m, x, r, b, 0.0)),
        ("Padding is charged too: sum over the tokens that were written.",
         lambda s, a, m, x, r, b, p: (s - p * ~_finished(a, m))[:, None] - (b * (x - r)).flip(1).cumsum(1).flip(1)),
        ("Multiplying by the mask does not remove a NaN on padding: select with torch.where.",
         lambda s, a, m, x, r, b, p:
         (s - p * ~_finished(a, m))[:, None] - (m * b * (x - r)).flip(1).cumsum(1).flip(1)),
    ),
    inside="mask",
)


def _penalty(share: Tensor, wanted: Tensor, beta: float) -> Tensor:
    return beta * (share.logit() - wanted.logit())


def _shares() -> tuple[Case, ...]:
    some, few = torch.tensor([0.5, 0.3, 0.9, 0.2]), torch.tensor([0.1, 0.05, 0.4, 0.02])
    tiny = torch.tensor([1e-3, 1e-2], dtype=torch.float64)
    return (
        Case("beta 0.5", {"share": some, "wanted": few, "beta": 0.5}),
        Case("beta 0.05", {"share": some, "wanted": few, "beta": 0.05}),
        Case("shares that are small already", {"share": tiny, "wanted": tiny / 100, "beta": 1.0}),
        Case("nothing to change", {"share": some, "wanted": some.clone(), "beta": 2.0}),
    )


missing_eos = Exercise(
    "missing-eos", NOTEBOOK, "a penalty, chosen and not guessed", *(3, 3, 8),
    "Nothing is rewarded; a response that is cut off loses a penalty c. The optimum for KL(policy || reference) at "
    "price `beta` is reference times exp(reward / beta), divided by a sum that makes it add up to 1. Under the "
    "reference a `share` of the responses is cut off. Write `penalty_for(share, wanted, beta)`: the c at which the "
    "optimum leaves just `wanted` of them cut off. Both are tensors `[n]` between 0 and 1.",
    ("Only two kinds of response matter here. Write down the odds of the one against the other.",
     "odds wanted = odds under the reference times exp(-c / beta), with odds = q / (1 - q).",
     "return beta * (torch.logit(share) - torch.logit(wanted))"),
    "right for every share and price: log-odds fall by c / beta.",
    reference=_penalty, cases=_shares(),
    mistakes=(
        ("This is the ratio of the shares: the optimum must add up to 1, so it is odds that shrink, q / (1 - q).",
         lambda q, w, b: b * (q / w).log()),
        ("The sign is flipped: to be cut off less often takes a penalty above 0.", lambda q, w, b: _penalty(w, q, b)),
        ("You divided by beta: a dearer KL needs a larger penalty for the same effect.",
         lambda q, w, b: _penalty(q, w, 1.0) / b),
        ("beta is missing: the law is exp(-c / beta).", lambda q, w, b: _penalty(q, w, 1.0)),
        ("This is the factor by which the odds shrink: its logarithm is c / beta.",
         lambda q, w, b: b * q.logit().exp() / w.logit().exp()),
        ("Logarithms to base 10 or 2: the law has e.", lambda q, w, b: _penalty(q, w, b) / math.log(10.0)),
        ("Logarithms to base 10 or 2: the law has e.", lambda q, w, b: _penalty(q, w, b) / math.log(2.0)),
        ("You forgot where the reference begins: its own odds count as well.", lambda q, w, b: -b * w.logit()),
        ("This is the difference of the shares: a price works on log-odds.", lambda q, w, b: b * (q - w)),
    ),
)


def _keep(x: Tensor, mask: Tensor) -> Tensor:
    return masked_whiten(x, mask, shift_mean=False)


def _population(rewards: Tensor, mask: Tensor) -> Tensor:
    inside = rewards[mask]
    return (rewards - inside.mean()) / (inside.std(correction=0) + 1e-8) + inside.mean()


def _rewarded() -> tuple[Case, ...]:
    g = torch.Generator().manual_seed(31)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    rewards = torch.randn(3, 4, generator=g) * 2 + 1.5
    last = torch.where(last_choice(mask), torch.tensor([[2.0], [1.0], [4.0]]), torch.zeros(1))
    return (
        Case("rewards on every token", {"rewards": rewards, "mask": mask}),
        Case("a score at the end of each response", {"rewards": last, "mask": mask}),
        Case("negative rewards", {"rewards": -3 * rewards - 1, "mask": mask}),
        Case("huge values on padding", {"rewards": torch.where(mask, rewards, 1e4), "mask": mask}, extreme=True),
        Case("all alike", {"rewards": torch.full((3, 4), 2.0), "mask": mask}, extreme=True),
    )


whiten_without_shift = Exercise(
    "whiten-without-shift", NOTEBOOK, "a spread of 1, and the mean where it was", *(2, 3, 6),
    "Write `whiten(rewards, mask)`, both `[B, T]`, as OpenAI's RLHF code does for rewards: over the tokens where the "
    "mask is True the standard deviation becomes 1 (either definition) and the mean stays what it was. What you return "
    "elsewhere does not matter.",
    ("Centre, divide, and put back what you took away.",
     "(r - mean) / (std + 1e-8) + mean, mean and std over rewards[mask].",
     "inside = rewards[mask]; return (rewards - inside.mean()) / (inside.std() + 1e-8) + inside.mean()"),
    "spread 1, mean kept, padding unread, and no NaN when all are alike.",
    reference=_keep, cases=_rewarded(),
    mistakes=(
        ("You shifted the mean to 0: for rewards it must come back.", lambda x, m: masked_whiten(x, m)),
        ("You divided the mean as well: centre first, divide, and then add the mean as it was.",
         lambda x, m: x / (x[m].std() + 1e-8)),
        ("You divided the mean as well: centre first, divide, and then add the mean as it was.",
         lambda x, m: x / (x[m].std(correction=0) + 1e-8)),
        ("Padding is in your statistics: take them over rewards[mask].", lambda x, m: _keep(x, m | ~m)),
        ("You whitened each response by itself: one mean and one spread for the batch.",
         lambda x, m: torch.cat([_keep(x[i:i + 1], m[i:i + 1]) for i in range(len(x))])),
        ("You divided by the variance: its root is the spread.",
         lambda x, m: (x - x[m].mean()) / (x[m].var() + 1e-8) + x[m].mean()),
        ("You divided by the root mean square: the spread is measured from the mean.",
         lambda x, m: (x - x[m].mean()) / (x[m].square().mean().sqrt() + 1e-8) + x[m].mean()),
        ("You subtracted the mean twice: add it back.", lambda x, m: masked_whiten(x, m) - x[m].mean()),
        ("You only centred and came back: divide by the spread in between.", lambda x, m: x.clone()),
        ("0 / 0 where all rewards are alike: add a little to the spread before you divide.",
         lambda x, m: (x - x[m].mean()) / x[m].std() + x[m].mean()),
    ),
    inside="mask",
    also=(_population,),
)

predict_who_carries_kl = Exercise(
    "predict-who-carries-kl", NOTEBOOK, "where the KL lives", *(2, 5, 3),
    "The KL to the reference is to be paid. Who carries it? (a) the reward model: its score already contains the "
    "penalty; (b) PPO's clip: it keeps the policy near the supervised model; (c) the reward that PPO maximises: score "
    "minus β times the log-ratio, put together while training; (d) the supervised loss of the first stage. Put your "
    "letter into `prediction`.",
    ("Ask each of the four what it would need to know in order to compute log π - log π_ref.",
     "A reward model sees a prompt and a response; it knows neither the policy nor its reference.",
     'prediction = "c"'),
    "right: a reward model gives r(x, y) and knows no policy; the price joins it in the objective.",
    judge=choice(
        "c",
        a="No: a reward model sees a prompt and a response. It was trained before this policy existed.",
        b="No: the clip looks at the policy of the last rollout, and forgets it with the next one.",
        d="No: that stage is over. It made the reference, and does not hold anybody there.",
    ),
)

predict_two_anchors = Exercise(
    "predict-two-anchors", NOTEBOOK, "an anchor that moves along", *(2, 4, 3),
    "After every update somebody copies the policy's weights into the reference. β stays 0.5. Given enough updates, "
    "the policy (a) rests where it would have rested anyway; (b) does not move: it is charged for every step; (c) goes "
    "on to the best response there is, as if β were 0; (d) comes to rest at twice the distance. Put your letter into "
    "`second_prediction`.",
    ("What is the log-ratio on a batch that was written right after the copy?",
     "The price is taken from the rollout. There policy and reference are the same model: it is 0 on every token.",
     'second_prediction = "c"'),
    "right: the batch is written by the very weights that were copied, so no token is charged; only a reference that "
    "stays says where to rest.",
    judge=choice(
        "c",
        a="No: the distance that is charged starts again from 0 with every copy.",
        b="No: the charge is taken from the batch, and the reference is the model that wrote it: nothing is charged.",
        d="No: nothing stops it there either, for the price of the way so far is forgotten with every copy.",
    ),
)

EXERCISES = (rlhf_returns, missing_eos, whiten_without_shift, predict_who_carries_kl, predict_two_anchors)
