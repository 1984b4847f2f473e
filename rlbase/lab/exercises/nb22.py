"""Exercises of notebook 22: margins without end, IPO's loss and where it rests, and sums against averages."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.exact import ipo_optimum
from rlbase.lab.exercise import Case, Exercise, choice, number
from rlbase.losses import dpo, ipo

NOTEBOOK = "22_ipo_and_overconfident_labels"


def _doubles(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _logps(rows: int, seed: int, scale: float = 3.0) -> dict[str, Tensor]:
    noise = torch.randn(4, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).abs()
    names = ("chosen_logp", "rejected_logp", "chosen_ref_logp", "rejected_ref_logp")
    return dict(zip(names, -scale * noise, strict=True))


predict_dpo_margin = Exercise(
    "predict-dpo-margin", NOTEBOOK, "where DPO's margin ends", *(2, 5, 3),
    "Two responses; **every** rater prefers the first. DPO trains with $\\beta=1$ instead of 0.1, ten times the "
    "price of leaving the reference, for as long as you like. What becomes of the log-ratio gap $h$?\n\n"
    "a) it stops at $1/\\beta$\n\n"
    "b) it stops at $1/(2\\beta)$\n\n"
    "c) it grows for ever, whatever β\n\n"
    "d) for $\\beta=0.1$ it grows for ever, for $\\beta=1$ it stops\n\n"
    "Put the letter into `prediction`.",
    ("The loss is -log sigma(beta h). Is there an h at which it is smallest?",
     "Its slope is -beta sigma(-beta h): small for a large h. Is it ever 0?",
     "It is never 0, for no beta."),
    "right: it falls for every further nat. β sets the pace, not the place.",
    judge=choice(
        "c",
        a="That is where the hinge loss stops pulling: -log sigma(beta h) still falls beyond it.",
        b="That is IPO's resting place, with tau for beta: DPO's loss is no parabola.",
        d="A larger beta flattens the loss sooner, so training slows down; but the slope is nowhere 0.",
    ),
)


def _ipo(chosen: Tensor, rejected: Tensor, chosen_ref: Tensor, rejected_ref: Tensor, tau: float) -> Tensor:
    return ipo(chosen, rejected, chosen_ref, rejected_ref, tau=tau)


def _h(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor) -> Tensor:
    return (c - cr) - (r - rr)


ipo_loss = Exercise(
    "ipo-loss", NOTEBOOK, "a loss that knows when to stop", *(2, 5, 8),
    "Write `ipo_loss(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp, tau)`, all `[B]`: the square of "
    "the distance between the gap $h$ of the two log-ratios and its target $\\frac1{2\\tau}$. Not reduced.",
    ("First h, as in DPO: by how much the policy has come to favour the chosen one, more than the reference does.",
     "loss = (h - 1 / (2 tau)) squared, whether h is too small or too large.",
     "h = (chosen_logp - chosen_ref_logp) - (rejected_logp - rejected_ref_logp); then (h - 1 / (2 * tau)) ** 2"),
    "right, gradients included, on both sides of the target.",
    reference=_ipo,
    cases=(
        Case("three pairs, τ = 0.1", {**_logps(3, 0), "tau": 0.1}),
        Case("four pairs, τ = 2: some beyond the target", {**_logps(4, 1), "tau": 2.0}),
        Case("log-probabilities of -10,000", {**_logps(3, 2, 1e4), "tau": 0.5}, True),
    ),
    mistakes=(
        ("The target is 1/(2 tau), half of 1/tau.", lambda c, r, cr, rr, t: _ipo(c, r, cr, rr, t / 2)),
        ("This is tau/2, which `1 / 2 * tau` means in Python: the target is 1 / (2 * tau).",
         lambda c, r, cr, rr, t: (_h(c, r, cr, rr) - t / 2).square()),
        ("This is (tau h - 1/2)^2: the same minimum, but tau^2 times the loss and its gradient.",
         lambda c, r, cr, rr, t: t**2 * _ipo(c, r, cr, rr, t)),
        ("This is DPO's loss: IPO replaces -log sigma by a square.",
         lambda c, r, cr, rr, t: dpo(c, r, cr, rr, beta=t)),
        ("This stops at the target, like a hinge: IPO also pulls back what has gone too far.",
         lambda c, r, cr, rr, t: (1 / (2 * t) - _h(c, r, cr, rr)).clamp(min=0).square()),
        ("This is the distance itself: IPO squares it.",
         lambda c, r, cr, rr, t: (_h(c, r, cr, rr) - 1 / (2 * t)).abs()),
        ("The reference is missing: h compares log-ratios.",
         lambda c, r, cr, rr, t: (c - r - 1 / (2 * t)).square()),
        ("The reference has the wrong sign: the chosen one's is taken off, the rejected one's comes back.",
         lambda c, r, cr, rr, t: (c - r + cr - rr - 1 / (2 * t)).square()),
        ("Chosen and rejected are swapped, or the target is added: (h - target)^2, not (h + target)^2.",
         lambda c, r, cr, rr, t: _ipo(r, c, rr, cr, t)),
        ("Each response has a target of its own here: only the gap between the two has one.",
         lambda c, r, cr, rr, t: (c - cr - 1 / (2 * t)).square() + (r - rr + 1 / (2 * t)).square()),
        ("tau stands twice: either (h - 1/(2 tau))^2, as asked here, or (tau h - 1/2)^2.",
         lambda c, r, cr, rr, t: (t * _h(c, r, cr, rr) - 1 / (2 * t)).square()),
        ("tau itself is no target: a small tau must allow a large gap, 1/(2 tau).",
         lambda c, r, cr, rr, t: (_h(c, r, cr, rr) - t).square()),
        ("You dropped the target: this pulls the policy back to the reference.",
         lambda c, r, cr, rr, t: _h(c, r, cr, rr).square()),
        ("The sign is flipped: a loss is minimised.", lambda c, r, cr, rr, t: -_ipo(c, r, cr, rr, t)),
    ),
    gradient=("chosen_logp", "rejected_logp"),
)


def _rest(ref: Tensor, preference: Tensor, mu: Tensor, tau: float) -> Tensor:
    return ipo_optimum(ref, preference, mu, tau=tau)


def _table(rows: int, seed: int) -> Tensor:
    upper = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).triu(1)
    return upper + (1 - upper.T).tril(-1) + 0.5 * torch.eye(rows, dtype=torch.float64)


FOUR = _doubles(0.4, 0.3, 0.2, 0.1)
SURE = _doubles([0.5, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 1.0, 0.5])


def _law(logits: Tensor) -> Tensor:
    return logits.softmax(0)


ipo_optimum_exercise = Exercise(
    "ipo-optimum", NOTEBOOK, "where IPO rests", *(3, 4, 8),
    "Write `ipo_rest(ref, preference, mu, tau)`: the policy `[n]` at which IPO comes to rest, if both responses of a "
    "pair are drawn from `mu` `[n]`. `preference[i, j]` is the share of raters who prefer i to j (1/2 on the "
    "diagonal); `ref` `[n]` is the reference. τ may be as small as 0.0001.",
    ("First one number for each response: how often it wins against a response drawn from mu.",
     "pi is proportional to ref * exp(wins / tau) with wins[i] = sum over j of mu[j] * preference[i, j].",
     "return (ref.log() + preference @ mu / tau).softmax(0)"),
    "right for pairs drawn unevenly, for raters who never doubt, and for a tiny τ.",
    reference=_rest,
    cases=(
        Case("four responses, uneven pairs",
             {"ref": FOUR, "preference": _table(4, 0), "mu": _doubles(0.1, 0.2, 0.3, 0.4), "tau": 0.3}),
        Case("raters without doubts",
             {"ref": _doubles(0.6, 0.3, 0.1), "preference": SURE, "mu": _doubles(0.2, 0.5, 0.3), "tau": 0.5}),
        Case("a table in a circle",
             {"ref": _doubles(0.2, 0.3, 0.5), "preference": _doubles([0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]),
              "mu": _doubles(0.6, 0.3, 0.1), "tau": 0.2}),
        Case("τ = 0.0001",
             {"ref": FOUR, "preference": _table(4, 1), "mu": _doubles(0.25, 0.25, 0.25, 0.25), "tau": 1e-4}, True),
    ),
    mistakes=(
        ("The reference is missing: IPO moves away from it, it does not forget it.",
         lambda p, P, m, t: _law(P @ m / t)),
        ("mu is missing: a win counts as often as that opponent comes.",
         lambda p, P, m, t: _rest(p, P, torch.full_like(m, 1 / len(m)), t)),
        ("You counted defeats: preference[i, j] is how often i beats j, so sum over j.",
         lambda p, P, m, t: _rest(p, P.T, m, t)),
        ("You multiplied by tau: a small tau must move the policy far, so divide.",
         lambda p, P, m, t: _rest(p, P, m, 1 / t)),
        ("1/(2 tau) is the gap of one pair at P = 1: the exponent is wins / tau.",
         lambda p, P, m, t: _rest(p, P, m, 2 * t)),
        ("mu stands where the reference belongs.", lambda p, P, m, t: _rest(m, P, m, t)),
        ("The reference stands where mu belongs: opponents are drawn from mu.",
         lambda p, P, m, t: _rest(p, P, p, t)),
        ("These are scores, not probabilities: divide by their sum.",
         lambda p, P, m, t: p * (P @ m / t).exp()),
        ("You added up wins without weights: take the mean over opponents drawn from mu.",
         lambda p, P, m, t: _law(p.log() + P.sum(1) / t)),
        ("This is the log-odds of a win: IPO takes the win rate as it is, that is its identity.",
         lambda p, P, m, t: _law(p.log() + (P @ m).logit() / t)),
        ("This is DPO's mapping, the log-odds of each comparison: IPO's is the identity.",
         lambda p, P, m, t: _law(p.log() + P.logit() @ m / t)),
        ("You divided log ref by tau, too: only the wins are divided.", lambda p, P, m, t: _law((p.log() + P @ m) / t)),
        ("tau is missing.", lambda p, P, m, t: _rest(p, P, m, 1.0)),
        ("These are the logits of the policy: a softmax is missing.", lambda p, P, m, t: p.log() + P @ m / t),
        ("Exponentiated twice: ref * exp(wins / tau) needs to be divided by its sum, softmax takes exp once more.",
         lambda p, P, m, t: _law(p * (P @ m / t).exp())),
        ("Reference and mu are exchanged: opponents come from mu, the policy starts from ref.",
         lambda p, P, m, t: _rest(m, P, p, t)),
        ("ref is a probability: take its logarithm before you add.", lambda p, P, m, t: _law(p + P @ m / t)),
        ("exp(wins / tau) overflows for a small tau: add log ref, then softmax.",
         lambda p, P, m, t: (x := p * (P @ m / t).exp()) / x.sum()),
    ),
)


def _ratio(logp: Tensor, ref_logp: Tensor, mask: Tensor, average: bool) -> Tensor:
    total = torch.where(mask, logp - ref_logp, 0).sum(1)
    return total / mask.sum(1) if average else total


def _rows(seed: int, *lengths: int, width: int) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    logp, ref_logp = -2 * torch.rand(2, len(lengths), width, generator=made, dtype=torch.float64)
    return {"logp": logp, "ref_logp": ref_logp, "mask": torch.arange(width) < torch.tensor(lengths)[:, None]}


def _broken() -> dict[str, Tensor]:
    rows = _rows(3, 2, 4, width=5)
    return {k: torch.where(rows["mask"], x, -torch.inf) if k != "mask" else x for k, x in rows.items()}


average_or_sum = Exercise(
    "average-or-sum", NOTEBOOK, "a sum, or a mean", *(2, 4, 6),
    "Write `log_ratio(logp, ref_logp, mask, average)`: for each response `[B]` the log-ratio of the policy to the "
    "reference, from the log-probabilities of its tokens `[B, T]`. `mask` `[B, T]` is True on tokens of the response; "
    "what stands elsewhere means nothing, and may be $-\\infty$. With `average` the log-ratio is divided by the "
    "response's own length, as libraries do for IPO; without, it is the sum of the paper.",
    ("The log-probability of a response is the sum over its tokens; the mask says which these are.",
     "sum = where(mask, logp - ref_logp, 0) over the tokens; the mean divides by the number of True in that row.",
     "total = torch.where(mask, logp - ref_logp, 0).sum(1); return total / mask.sum(1) if average else total"),
    "right for sums and means, for any length, whatever stands beside the response.",
    reference=_ratio,
    cases=(
        Case("lengths 2 and 8, the sum", {**_rows(0, 2, 8, width=9), "average": False}),
        Case("lengths 2 and 8, the mean", {**_rows(0, 2, 8, width=9), "average": True}),
        Case("lengths 1, 5 and 3, the mean", {**_rows(1, 1, 5, 3, width=6), "average": True}),
        Case("lengths 1, 5 and 3, the sum", {**_rows(2, 1, 5, 3, width=6), "average": False}),
        Case("-∞ beside the response", {**_broken(), "average": True}, True),
    ),
    mistakes=(
        ("`average` is the wrong way round.", lambda p, q, m, a: _ratio(p, q, m, not a)),
        ("`average` is ignored: this is always the sum.", lambda p, q, m, a: _ratio(p, q, m, False)),
        ("`average` is ignored: this is always the mean.", lambda p, q, m, a: _ratio(p, q, m, True)),
        ("You divided by the width of the table: padding is no part of a response's length.",
         lambda p, q, m, a: _ratio(p, q, m, False) / (m.shape[1] if a else 1)),
        ("You divided all rows by the longest response: each has its own length.",
         lambda p, q, m, a: _ratio(p, q, m, False) / (m.sum(1).max() if a else 1)),
        ("You divided all rows by the mean length: each has its own.",
         lambda p, q, m, a: _ratio(p, q, m, False) / (m.sum(1).double().mean() if a else 1)),
        ("You divided by the number of all tokens in the batch: each response has its own length.",
         lambda p, q, m, a: _ratio(p, q, m, False) / (m.sum() if a else 1)),
        ("What stands beside the response is counted: use the mask.",
         lambda p, q, m, a: (p - q).mean(1) if a else (p - q).sum(1)),
        ("What stands beside the response is counted in the sum: use the mask there, too.",
         lambda p, q, m, a: (p - q).sum(1) / (m.sum(1) if a else 1)),
        ("You divided the policy's part only: the reference's has the same length.",
         lambda p, q, m, a: _ratio(p, 0 * q, m, a) - _ratio(q, 0 * q, m, False)),
        ("The reference is missing: this is the log-probability, not a ratio.",
         lambda p, q, m, a: _ratio(p, 0 * q, m, a)),
        ("The sign is flipped: policy minus reference.", lambda p, q, m, a: _ratio(q, p, m, a)),
        ("Multiplying by the mask does not remove -∞ (0 times it is NaN): select with torch.where.",
         lambda p, q, m, a: ((p - q) * m).sum(1) / (m.sum(1) if a else 1)),
    ),
    gradient=("logp",),
)


predict_averaged = Exercise(
    "predict-averaged-ipo", NOTEBOOK, "what the average moves", *(2, 4, 4),
    "A response of **8 tokens** is always preferred to one of 2. IPO with $\\tau=0.1$ divides each log-ratio by its "
    "response's length. At rest, suppose that the loser is exactly as likely as under the reference. By how many nats "
    "has the log-probability of the winner, as a whole, grown? (With sums it would be 5.) Put the number into "
    "`prediction_averaged`.",
    ("The target 1/(2 tau) is now a number of nats per token.",
     "At rest, (log-ratio of the winner)/8 - (log-ratio of the loser)/2 = 5, and the second is 0.",
     "8 * 5"),
    "right: 40 nats, odds of 10^17. The τ of one convention is not the τ of the other.",
    judge=number(
        40.0,
        (5.0, "That is the sum's: here 5 is what each *token* of the winner gains, on average."),
        (0.625, "That is 5/8: the ratio is divided before it is compared with 5, so the whole is 8 times 5."),
        (10.0, "That is 2 times 5, for a winner of 2 tokens: this one has 8."),
        (80.0, "The target is 1/(2 tau) = 5, not 1/tau = 10."),
        (30.0, "The difference of the lengths plays no part: each log-ratio is divided by its own."),
        (20.0, "Where does 4 come from? The winner's log-ratio, divided by its 8 tokens, is 5."),
        (1.25, "That is 10/8: the target is 1/(2 tau) = 5, and the ratio is divided *before* it is compared with 5."),
        (25.0, "That is the loss at the start, 5 squared."),
        (-40.0, "The winner grew: the sign is plus."),
    ),
)

EXERCISES = (predict_dpo_margin, ipo_loss, ipo_optimum_exercise, average_or_sum, predict_averaged)
