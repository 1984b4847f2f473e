"""Exercises of notebook 20: the implicit reward, DPO's loss and its gradient, where a pair rests, and what may fall."""

# fmt: off

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "20_dpo_derived"


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _drawn(seed: int, *shape: int) -> Tensor:
    return -2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the implicit reward --------------------------------------------------------------------------

def _tokens(seed: int, beta: float, lengths: list[int], width: int, spoilt: bool = False) -> dict[str, Any]:
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    logp, ref_logp = _drawn(seed, len(lengths), width), _drawn(seed + 1, len(lengths), width)
    if spoilt:
        logp = torch.where(mask, logp, float("-inf"))
    return {"logp": logp, "ref_logp": ref_logp, "mask": mask, "beta": beta}


def _implicit(logp: Tensor, ref_logp: Tensor, mask: Tensor, beta: float) -> Tensor:
    return beta * torch.where(mask, logp - ref_logp, 0).sum(1)


def _last(ratio: Tensor, mask: Tensor) -> Tensor:
    return ratio.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]


implicit_reward = Exercise(
    "implicit-reward", NOTEBOOK, "the reward inside a policy", *(2, 5, 6),
    "Write `implicit_reward(logp, ref_logp, mask, beta)`: the reward `[B]` that a policy implies for each response. "
    "`logp` and `ref_logp` `[B, T]` are what policy and reference give to every *token*; `mask` `[B, T]` is True on "
    "the tokens of the response, and whatever stands elsewhere must not matter.",
    ("The derivation above speaks of whole responses. What is the log-probability of a whole response, if you have its "
     "tokens'?",
     "r = beta * (log pi(y) - log ref(y)), each a sum over the tokens of y.",
     "torch.where(mask, logp - ref_logp, 0).sum(1), times beta"),
    "right for responses of every length; what stands on padding is not read.",
    reference=_implicit,
    cases=(
        Case("lengths 3, 1, 5", _tokens(1, 0.5, [3, 1, 5], 5)),
        Case("lengths 2, 6, 4, 1", _tokens(5, 0.1, [2, 6, 4, 1], 7)),
        Case("minus infinity on padding", _tokens(9, 2.0, [2, 4], 4, spoilt=True), True),
    ),
    gradient=("logp",),
    mistakes=(
        ("You divided by the number of tokens: a response's log-probability is the *sum* of its tokens'.",
         lambda logp, ref, mask, b: _implicit(logp, ref, mask, b) / mask.sum(1)),
        ("You divided by the width of the batch: the log-probability of a response is a sum.",
         lambda logp, ref, mask, b: _implicit(logp, ref, mask, b) / mask.shape[1]),
        ("You counted the padding too: only where the mask is True did anybody choose.",
         lambda logp, ref, mask, b: b * (logp - ref).sum(1)),
        ("You took the mean over all columns, padding included.", lambda logp, ref, mask, b: b * (logp - ref).mean(1)),
        ("The reference is missing: likely responses are not good ones. What counts is how much likelier than before.",
         lambda logp, ref, mask, b: b * torch.where(mask, logp, 0).sum(1)),
        ("beta is missing.", lambda logp, ref, mask, b: _implicit(logp, ref, mask, 1.0)),
        ("You divided by beta: r / beta = log(pi / ref) + constant, so r has beta as a factor.",
         lambda logp, ref, mask, b: _implicit(logp, ref, mask, 1 / b)),
        ("The sign is flipped: what the policy came to favour has the higher reward.",
         lambda logp, ref, mask, b: -_implicit(logp, ref, mask, b)),
        ("This is the ratio pi / ref: the reward is its logarithm, times beta.",
         lambda logp, ref, mask, b: b * _implicit(logp, ref, mask, 1.0).exp()),
        ("This is the last token alone: the score of a reward model lies there, but the log-ratio is a sum over all.",
         lambda logp, ref, mask, b: b * _last(logp - ref, mask)),
        ("This divides log-probabilities: the log of a ratio is the *difference* of the logs.",
         lambda logp, ref, mask, b: b * torch.where(mask, logp / ref, 0).sum(1)),
        ("beta multiplies the policy's part only: it multiplies the difference as a whole.",
         lambda logp, ref, mask, b: _implicit(logp, 0 * ref, mask, b) - _implicit(ref, 0 * ref, mask, 1.0)),
        ("Nearly: minus infinity times a mask of 0 is NaN. Select with torch.where, then add.",
         lambda logp, ref, mask, b: b * ((logp - ref) * mask).sum(1)),
    ),
)


# --- the loss and its gradient --------------------------------------------------------------------

Four = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def _four(seed: int, beta: float, rows: int = 6, scale: float = 5.0) -> dict[str, Any]:
    names = ("chosen_logp", "rejected_logp", "chosen_ref_logp", "rejected_ref_logp")
    return {name: scale * _drawn(seed + i, rows) for i, name in enumerate(names)} | {"beta": beta}


def _far(size: float) -> dict[str, Any]:
    zero = _doubles(0, 0)
    names = ("rejected_logp", "chosen_ref_logp", "rejected_ref_logp")
    return {"chosen_logp": _doubles(-size, size), **dict.fromkeys(names, zero), "beta": 1.0}


PAIRS = (
    Case("six comparisons, beta = 0.1", _four(20, 0.1)),
    Case("six comparisons, beta = 0.5", _four(30, 0.5)),
    Case("policy and reference alike", _four(40, 0.3) | {"chosen_ref_logp": 5 * _drawn(40, 6),
                                                         "rejected_ref_logp": 5 * _drawn(41, 6)}),
    Case("log-ratios of 10,000", _far(1e4), True),
)


def _gap(w: Tensor, left: Tensor, rw: Tensor, rl: Tensor) -> Tensor:
    return (w - rw) - (left - rl)


def _dpo(w: Tensor, left: Tensor, rw: Tensor, rl: Tensor, beta: float) -> Tensor:
    return softplus(-beta * _gap(w, left, rw, rl))


def _of_gap(rule: Callable[[Tensor, float], Tensor]) -> Four:
    return lambda w, left, rw, rl, beta: rule(_gap(w, left, rw, rl), beta)


dpo_loss = Exercise(
    "dpo-loss", NOTEBOOK, "the loss of a comparison", *(3, 5, 10),
    "Write `dpo_loss(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp, beta)`: DPO's loss of each "
    "comparison, `[B]`, not reduced. All four are log-probabilities `[B]` of whole responses: what the policy gives to "
    "the chosen and to the rejected one, and what the reference gives to them. Mind log-ratios that are huge.",
    ("Bradley and Terry's surprise, with the implicit rewards as the rewards.",
     "h = (chosen_logp - chosen_ref_logp) - (rejected_logp - rejected_ref_logp); loss = -log sigmoid(beta * h).",
     "torch.nn.functional.softplus(-beta * h), which is -log sigmoid(beta * h) without overflow"),
    "right, gradients included, however far apart policy and reference are.",
    reference=_dpo, cases=PAIRS, gradient=("chosen_logp", "rejected_logp"),
    mistakes=(
        ("The reference is missing: this asks the chosen response to be *likelier* than the rejected one, not likelier "
         "than it was.",
         lambda w, le, rw, rl, b: softplus(-b * (w - le))),
        ("Chosen and rejected are swapped: this learns what people did not want.",
         _of_gap(lambda h, b: softplus(b * h))),
        ("The minus in front is missing: log sigmoid is to be made large, a loss is made small.",
         _of_gap(lambda h, b: -softplus(-b * h))),
        ("This is the probability that the chosen one wins; its surprise is minus the logarithm of that.",
         _of_gap(lambda h, b: (b * h).sigmoid())),
        ("This is one minus the probability: bounded, it gives up on pairs that are badly wrong. Take -log.",
         _of_gap(lambda h, b: (-b * h).sigmoid())),
        ("beta is missing.", _of_gap(lambda h, b: softplus(-h))),
        ("beta stands outside of the logarithm: it belongs to the reward, inside the sigmoid.",
         _of_gap(lambda h, b: b * softplus(-h))),
        ("You divided by beta: the implicit reward is beta times the log-ratio.",
         _of_gap(lambda h, b: softplus(-h / b))),
        ("A sign inside is wrong: the rejected response's log-ratio is subtracted as a whole, (l - ref_l).",
         lambda w, le, rw, rl, b: softplus(-b * ((w - rw) - (le + rl)))),
        ("You added the reference's gap: it must be subtracted from the policy's.",
         lambda w, le, rw, rl, b: softplus(-b * ((w - le) + (rw - rl)))),
        ("You compare the chosen response with the reference alone: the rejected one is missing.",
         lambda w, le, rw, rl, b: softplus(-b * (w - rw))),
        ("beta multiplies the policy's gap only: it multiplies h, the reference's gap included.",
         lambda w, le, rw, rl, b: softplus(-(b * (w - le) - (rw - rl)))),
        ("These are ratios of probabilities, pi / ref: h is the difference of their logarithms.",
         lambda w, le, rw, rl, b: softplus(-b * ((w - rw).exp() - (le - rl).exp()))),
        ("This is minus the probability that the chosen one wins: the loss is minus its *logarithm*.",
         _of_gap(lambda h, b: -(b * h).sigmoid())),
        ("This is -beta h, the loss without its sigmoid: it never has enough.", _of_gap(lambda h, b: -b * h)),
        ("Both -log(sigmoid(x)) and log(1 + exp(-x)) are infinite where x is far below 0: use softplus or logsigmoid.",
         _of_gap(lambda h, b: -(b * h).sigmoid().log())),
    ),
)

dpo_gradient_weight = Exercise(
    "dpo-gradient-weight", NOTEBOOK, "how hard a comparison pulls", *(3, 4, 8),
    "The gradient of DPO's loss pushes `chosen_logp` up and `rejected_logp` down, both with the same strength. Write "
    "`weight(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp, beta)`: this strength for each "
    "comparison, `[B]`, a positive number. In a formula, without autograd.",
    ("Differentiate softplus(-beta h) in h, then h in chosen_logp.",
     "d/dh of -log sigmoid(beta h) is -beta * sigmoid(-beta h), and h contains chosen_logp once.",
     "beta * torch.sigmoid(-beta * h)"),
    "right: beta times the probability that the policy's own reward gives to the wrong outcome.",
    reference=_of_gap(lambda h, b: b * (-b * h).sigmoid()), cases=PAIRS,
    mistakes=(
        ("beta is missing in front: h is multiplied by beta before the sigmoid, so the chain rule brings one out.",
         _of_gap(lambda h, b: (-b * h).sigmoid())),
        ("This is the weight of the pairs that are right already: the argument is -beta h.",
         _of_gap(lambda h, b: b * (b * h).sigmoid())),
        ("The sign is flipped: strength is asked, the gradient of the loss in chosen_logp is minus it.",
         _of_gap(lambda h, b: -b * (-b * h).sigmoid())),
        ("This is the slope of the sigmoid. The loss has a logarithm too, and it cancels one factor.",
         _of_gap(lambda h, b: b * (-b * h).sigmoid() * (b * h).sigmoid())),
        ("The reference is missing: how wrong a pair is, the *implicit rewards* say.",
         lambda w, le, rw, rl, b: b * (-b * (w - le)).sigmoid()),
        ("This is the same for all pairs, as if each counted alike: DPO weighs by how wrong a pair still is.",
         _of_gap(lambda h, b: b + 0 * h)),
        ("This is beta / 2, the strength at the start: it changes as the policy learns.",
         _of_gap(lambda h, b: b / 2 + 0 * h)),
        ("This is the loss itself; its gradient is asked.", _dpo),
        ("beta is missing inside the sigmoid.", _of_gap(lambda h, b: b * (-h).sigmoid())),
        ("This is the probability of the right outcome: the argument is -beta h, and beta stands in front.",
         _of_gap(lambda h, b: (b * h).sigmoid())),
        ("beta stands in front twice: the chain rule brings out one.",
         _of_gap(lambda h, b: b * b * (-b * h).sigmoid())),
        ("exp overflows here: torch.sigmoid does not.",
         _of_gap(lambda h, b: b * (-b * h).exp() / (1 + (-b * h).exp()))),
    ),
)


# --- where a pair comes to rest -------------------------------------------------------------------

def _rest(ref: Tensor, share: Tensor, beta: float) -> Tensor:
    return (ref.logit() + share.logit() / beta).sigmoid()


dpo_rest = Exercise(
    "dpo-rest", NOTEBOOK, "where a comparison comes to rest", *(3, 4, 10),
    "There are just two responses. The reference gives probability `ref` `[n]` to the first one (each entry a world of "
    "its own), and the share `share` `[n]` of all people prefers it. Write `resting(ref, share, beta)`: the "
    "probability `[n]` of the first response after DPO was trained to the end.",
    ("At rest the loss cannot fall: the policy's own opinion sigma(beta h) equals the share of people.",
     "sigma(beta h) = share, and h = log-odds of the policy - log-odds of the reference.",
     "torch.sigmoid(ref.logit() + share.logit() / beta)"),
    "right: log-odds of the reference plus log-odds of the people divided by beta.",
    reference=_rest,
    cases=(
        Case("beta = 0.5", {"ref": _doubles(0.5, 0.2, 0.9, 0.7), "share": _doubles(0.75, 0.75, 0.3, 0.5), "beta": 0.5}),
        Case("beta = 0.1", {"ref": _doubles(0.1, 0.6, 0.01), "share": _doubles(0.6, 0.45, 0.7), "beta": 0.1}),
        Case("beta = 2", {"ref": _doubles(0.3, 0.8), "share": _doubles(0.95, 0.1), "beta": 2.0}),
    ),
    mistakes=(
        ("This is the share of people itself: DPO teaches the *policy's opinion* to equal it, not its probability.",
         lambda ref, s, b: s + 0 * ref),
        ("The reference is missing: the log-ratio is measured from it.", lambda ref, s, b: (s.logit() / b).sigmoid()),
        ("You multiplied by beta: a small price lets the policy go far, so divide.",
         lambda ref, s, b: _rest(ref, s, 1 / b)),
        ("beta is missing.", lambda ref, s, b: _rest(ref, s, 1.0)),
        ("The sign is flipped: what most people prefer becomes likelier.", lambda ref, s, b: _rest(ref, 1 - s, b)),
        ("You weigh the reference by exp(share / beta): the reward is the share's log-odds, not the share.",
         lambda ref, s, b: (ref.logit() + (2 * s - 1) / b).sigmoid()),
        ("You divided both log-odds by beta: the reference's stay as they are.",
         lambda ref, s, b: ((ref.logit() + s.logit()) / b).sigmoid()),
        ("log(ref) is not the log-odds: take log(ref) - log(1 - ref).",
         lambda ref, s, b: (ref.log() + s.logit() / b).sigmoid()),
        ("This is one response's weight: divide by the sum of both responses' weights.",
         lambda ref, s, b: ref * s ** (1 / b)),
        ("This is ref * exp(r / beta) without its Z: divide by the sum over both responses.",
         lambda ref, s, b: ref * (s.logit() / b).exp()),
        ("You mixed probabilities: it is log-odds that add up.", lambda ref, s, b: (ref + s) / 2),
        ("These are the log-odds: a sigmoid is missing.", lambda ref, s, b: ref.logit() + s.logit() / b),
    ),
)

predict_chosen = Exercise(
    "predict-chosen", NOTEBOOK, "what becomes of the chosen response", *(3, 5, 4),
    "Three responses: *short*, *medium* and *long*, with probabilities 0.6, 0.3 and 0.1. The policy has a single knob, "
    "turning which makes all responses longer or all shorter: its logits are those of the reference plus knob times "
    "(0, 1, 2). Every label says: *medium* is better than *long*. DPO is trained. Then the probability of *medium* has "
    "**a)** risen, for it was chosen **b)** stayed, since only the difference is trained **c)** fallen, and that of "
    "*long* too **d)** risen, and that of *long* as well. Set `prediction` to a letter.",
    ("Which way must the knob turn so that medium gains on long?",
     "It must turn towards shorter. Who gains most from that?",
     "c"),
    "right: the gap is all that counts, and the probability goes to the short response, about which nobody was asked.",
    judge=choice(
        "c",
        a="Nothing in the loss asks for that: only the difference counts. Which way does the knob turn, and who gains?",
        b="The difference is trained, and with one knob nothing can stay where it is.",
        d="Probabilities add up to 1, and the knob turns towards shorter: short is the one that rises.",
    ),
)

EXERCISES = (implicit_reward, dpo_loss, dpo_gradient_weight, dpo_rest, predict_chosen)
