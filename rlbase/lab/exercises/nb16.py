"""Exercises of notebook 16: two rewards made one, the margin of a comparison, and what a threshold does."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "16_llama_2_two_rewards"


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _pieces(helpful: Tensor, safe: Tensor, unsafe: Tensor, threshold: float) -> Tensor:
    return torch.where(unsafe | (safe < threshold), safe, helpful)


def _case(label: str, helpful: Tensor, safe: Tensor, unsafe: list[int], threshold: float) -> Case:
    tagged = torch.tensor(unsafe).bool()
    return Case(label, {"helpful": helpful, "safe": safe, "unsafe": tagged, "threshold": threshold})


PIECES = (
    _case("six responses, threshold 0.15", _doubles(0.3, 0.5, 0.7, 0.8, 0.6, 0.95),
          _doubles(0.95, 0.8, 0.5, 0.2, 0.9, 0.05), [0, 1, 0, 0, 1, 0], 0.15),
    _case("threshold 0.6", _doubles(0.3, 0.5, 0.7, 0.8, 0.6, 0.95), _doubles(0.95, 0.8, 0.5, 0.2, 0.9, 0.05),
          [0, 0, 0, 1, 0, 1], 0.6),
    _case("one response just at the threshold, one just below it", _doubles(0.9, 0.9, 0.4),
          _doubles(0.25, 0.2499, 0.3), [0, 0, 1], 0.25),
    _case("threshold 0: only the request decides", _doubles(0.9, 0.2), _doubles(0.01, 0.6), [0, 1], 0.0),
)

piecewise_reward = Exercise(
    "piecewise-reward", NOTEBOOK, "two rewards, one at a time", *(2, 5, 6),
    "Write `two_goals(helpful, safe, unsafe, threshold)`: two reward models give each response a probability to be "
    "`helpful` and to be `safe`, both `[B]`; `unsafe` `[B]` is boolean and tags requests that invite harm. Return "
    "what is paid, `[B]`: safety where the request is tagged, **or** where `safe` is below `threshold`; helpfulness "
    "everywhere else.",
    ("At each place exactly one of the two speaks; nothing is added or multiplied.",
     "Safety speaks where unsafe or safe < threshold.",
     "return torch.where(unsafe | (safe < threshold), safe, helpful)"),
    "right for four sets of responses, one of them exactly at the threshold.",
    reference=_pieces, cases=PIECES,
    mistakes=(
        ("Safety must speak if one of the two holds: you asked for a tagged request *and* an unsafe response.",
         lambda h, s, u, t: torch.where(u & (s < t), s, h)),
        ("You looked at the request only: an unsafe response to a harmless request counts as well.",
         lambda h, s, u, t: torch.where(u, s, h)),
        ("You looked at the response only: to a tagged request safety speaks even where the response is safe.",
         lambda h, s, u, t: torch.where(s < t, s, h)),
        ("The two are exchanged.", lambda h, s, u, t: torch.where(u | (s < t), h, s)),
        ("A response exactly at the threshold is safe enough: compare with <, not with <=.",
         lambda h, s, u, t: torch.where(u | (s <= t), s, h)),
        ("This compares helpfulness with the threshold: it is safety that may be too low.",
         lambda h, s, u, t: torch.where(u | (h < t), s, h)),
        ("You multiplied the two: above the threshold more safety is worth nothing here.", lambda h, s, u, t: h * s),
        ("You took the smaller of the two: a safe, unhelpful response would be paid by its helpfulness anyway.",
         lambda h, s, u, t: torch.minimum(h, s)),
        ("You averaged the two: at each place one of them speaks, alone.", lambda h, s, u, t: (h + s) / 2),
        ("An unsafe response is paid its safety, not nothing: the worse it is, the less.",
         lambda h, s, u, t: torch.where(u | (s < t), torch.where(s < t, 0.0, s), h)),
        ("A tagged request is paid its safety, not nothing.",
         lambda h, s, u, t: torch.where(u, 0.0, torch.where(s < t, s, h))),
    ),
)


def _margin(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    return -logsigmoid(chosen - rejected - margin)


def _pairs(seed: int, scale: float = 1.5, *, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    chosen, rejected = scale * torch.randn(2, 6, generator=g, dtype=torch.float64)
    margin = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0, 2.0, 3.0], dtype=torch.float64)[torch.randperm(6, generator=g)]
    label = f"six comparisons, scores of about ±{scale:,g}"
    return Case(label, {"chosen": chosen, "rejected": rejected, "margin": margin}, extreme)


margin_loss = Exercise(
    "margin-loss", NOTEBOOK, "a clear win must be clear in the scores", *(2, 4, 6),
    "Write `margin_loss(chosen, rejected, margin)`: the loss of a reward model on comparisons, from the scores of the"
    " `chosen` and the `rejected` response and Llama 2's `margin`, all `[B]`; one number for each comparison, `[B]`. "
    "Without a margin it is the Bradley-Terry loss, -log σ(chosen - rejected). With one, the chosen response must be "
    "ahead **by the margin** to be as well off.",
    ("To be as well off as before, the gap must be larger by the margin: what stands in the place of the gap?",
     "-log σ(chosen - rejected - margin).",
     "return torch.nn.functional.softplus(margin - (chosen - rejected))"),
    "right for four sets of comparisons, gradients and huge scores included.",
    reference=_margin, cases=(_pairs(1), _pairs(2), _pairs(3, 4.0), _pairs(4, 1e4, extreme=True)),
    mistakes=(
        ("The margin's sign is flipped: added, it lets a clear win off lightly. Subtract it inside the sigmoid.",
         lambda c, r, m: -logsigmoid(c - r + m)),
        ("The margin stands outside the sigmoid: there it is a constant, and no gradient ever feels it.",
         lambda c, r, m: -logsigmoid(c - r) + m),
        ("The margin stands outside the sigmoid: there it is a constant, and no gradient ever feels it.",
         lambda c, r, m: -logsigmoid(c - r) - m),
        ("You multiplied the gap by the margin: subtract it.", lambda c, r, m: -logsigmoid(m * (c - r))),
        ("You weighted the loss by the margin: it belongs inside the sigmoid.",
         lambda c, r, m: -m * logsigmoid(c - r)),
        ("The margin is missing.", lambda c, r, m: -logsigmoid(c - r)),
        ("Chosen and rejected are exchanged.", lambda c, r, m: -logsigmoid(r - c - m)),
        ("The sign is flipped: this is the log-likelihood, minimise its negative.",
         lambda c, r, m: logsigmoid(c - r - m)),
        ("This is a hinge, max(0, margin - gap): smooth it, -log σ(gap - margin).",
         lambda c, r, m: (m - (c - r)).clamp(min=0)),
        ("This is a probability: take its negative logarithm.", lambda c, r, m: (c - r - m).sigmoid()),
        ("You averaged: give one number for each comparison.", lambda c, r, m: softplus(m - c + r).mean()),
        ("log(sigmoid(...)) is -infinity where the sigmoid underflows: use logsigmoid or softplus.",
         lambda c, r, m: -(c - r - m).sigmoid().log()),
    ),
    gradient=("chosen", "rejected"),
)


def _inverse(prob: Tensor) -> Tensor:
    prob = prob.clamp(1e-6, 1 - 1e-6)
    return (prob / (1 - prob)).log()


def _standard(x: Tensor, correction: int = 1) -> Tensor:
    return (x - x.mean()) / x.std(correction=correction)


logit_whiten = Exercise(
    "logit-whiten", NOTEBOOK, "pulled apart, then made comparable", *(2, 4, 6),
    "Write `rescale(prob)`: a batch of rewards that are probabilities, `[B]`, becomes what PPO is paid, `[B]`. First "
    "undo the sigmoid, log(p / (1 - p)), with every p kept between 1e-6 and 1 - 1e-6. Then bring the batch to mean 0 "
    "and standard deviation 1 (divide by B - 1 or by B, both are right).",
    ("The logit first: 0.99 and 0.999 are neighbours as probabilities, and far apart as scores.",
     "x = log(p / (1 - p)), and then (x - mean(x)) / std(x).",
     "x = torch.logit(prob, eps=1e-6)"),
    "right for four batches, with probabilities of exactly 0 and 1 in one of them.",
    reference=lambda prob: _standard(_inverse(prob)),
    also=(lambda prob: _standard(_inverse(prob), 0),),
    cases=(
        Case("five probabilities", {"prob": _doubles(0.5, 0.9, 0.99, 0.999, 0.2)}),
        Case("two probabilities", {"prob": _doubles(0.25, 0.75)}),
        Case("six, close to one another", {"prob": _doubles(0.91, 0.93, 0.95, 0.97, 0.92, 0.94)}),
        Case("0 and 1 among them", {"prob": _doubles(0.0, 1.0, 0.5, 0.7, 0.3)}, True),
    ),
    mistakes=(
        ("The logit is missing: you whitened the probabilities themselves.", lambda p: _standard(p)),
        ("The spread is still there: divide by the standard deviation.", lambda p: _inverse(p) - _inverse(p).mean()),
        ("The mean is still there: subtract it.", lambda p: _inverse(p) / _inverse(p).std()),
        ("The mean is still there, and so is the spread: whiten the logits.", lambda p: _inverse(p)),
        ("This is log p: the logit is log(p / (1 - p)).", lambda p: _standard(p.clamp(1e-6, 1 - 1e-6).log())),
        ("You took another sigmoid: undo the one that there is.", lambda p: _standard(p.sigmoid())),
        ("You divided by the variance: divide by its root.",
         lambda p: (_inverse(p) - _inverse(p).mean()) / _inverse(p).var()),
        ("The sign is flipped: a higher probability must be paid more.", lambda p: -_standard(_inverse(p))),
        ("A probability of 0 or 1 has no finite logit: keep them between 1e-6 and 1 - 1e-6.",
         lambda p: _standard((p / (1 - p)).log())),
    ),
)

predict_threshold = Exercise(
    "predict-threshold", NOTEBOOK, "where a policy stands, for a threshold", *(3, 5, 4),
    "The six responses of the first picture: A (0.30 helpful, 0.95 safe), B (0.50, 0.80), C (0.70, 0.50), D (0.80, "
    "0.20), E (0.60, 0.90), F (0.95, 0.05). At a threshold of 0.15 the likeliest answer to a harmless request is D. "
    "You find that too unsafe, and raise the threshold to **0.30**. Which response is now the likeliest one? Put its "
    "letter into `prediction`.",
    ("Who is silenced by the new threshold, and what are the others paid?",
     "Above the threshold only helpfulness counts: 0.50 safe is as good as 0.95 safe.",
     'prediction = "c"'),
    "right: the policy moves to the most helpful response that the threshold still lets pass, and no safer than that.",
    judge=choice(
        "c",
        a="No: A is the safest, but to a harmless request safety beyond the threshold is paid nothing.",
        b="No: B passes the threshold, but two others that pass are more helpful.",
        d="No: D is 0.20 safe. With the threshold at 0.30 safety speaks for it, and it is paid 0.20 instead of 0.80.",
        e="No: E has the best sum of both goals, but nothing is added up. Above the threshold only helpfulness counts.",
        f="No: F is 0.05 safe, below both thresholds: it is paid 0.05.",
    ),
)

EXERCISES = (piecewise_reward, margin_loss, logit_whiten, predict_threshold)
