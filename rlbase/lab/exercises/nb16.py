"""Exercises of notebook 16: two rewards made one, what margins do to scores, what thresholds do to policies."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

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


def _resting(prob: Tensor, margin: Tensor) -> Tensor:
    b = (2 * prob - 1) * margin.exp()
    return ((b + (b.square() + 4 * prob * (1 - prob)).sqrt()) / (2 * (1 - prob))).log()


def _one_sided(p: Tensor, m: Tensor) -> Tensor:
    """Only the response that is preferred more often has to win by the margin."""
    a, b, c = (1 - p) * (-m).exp(), 1 - 2 * p, -p
    return ((-b + (b.square() - 4 * a * c).sqrt()) / (2 * a)).log()


resting_gap = Exercise(
    "resting-gap", NOTEBOOK, "where the scores come to rest", *(4, 3, 12),
    "Write `resting_gap(prob, margin)`, both `[B]`: of two responses the first wins a comparison with probability "
    "`prob`, strictly between 0 and 1, else the second; and *whichever* wins, its loss is -log σ(lead - `margin`), "
    "where the lead is the winner's score less the loser's. Return the gap d = r_first - r_second, `[B]`, at which the "
    "expected loss is smallest, to five digits. No training: a formula, or a search for the root.",
    ("Write the expected loss with d in it: with probability p the first wins, else the second, whose lead is -d.",
     "Its derivative is zero where p σ(m - d) = (1 - p) σ(m + d). Put x = exp(d): what kind of equation is it in x?",
     "b = (2 * prob - 1) * torch.exp(margin); x solves (1 - p) x² - b x - p = 0, and one root is positive; d = log x."),
    "right for three sets of preferences: the log-odds without a margin, and never the log-odds plus the margin.",
    reference=_resting,
    cases=(
        Case("no margin", {"prob": _doubles(0.5, 0.75, 0.9), "margin": _doubles(0, 0, 0)}),
        Case("Llama 2's margins", {"prob": _doubles(0.75, 0.6, 0.9, 0.5), "margin": _doubles(1 / 3, 2 / 3, 1, 3)}),
        Case("the second is preferred", {"prob": _doubles(0.3, 0.1), "margin": _doubles(1, 2)}),
    ),
    mistakes=(
        ("These are the log-odds: the margin is missing.", lambda p, m: torch.logit(p)),
        ("The margin is added in full: it would be if the first always won. When the second wins, it pulls back.",
         lambda p, m: torch.logit(p) + m),
        ("The margin is taken off the log-odds: it drives the scores apart.", lambda p, m: torch.logit(p) - m),
        ("Each side gets the margin in full, away from 0: it stretches the gap by less than itself.",
         lambda p, m: torch.logit(p) + m * (p - 0.5).sign()),
        ("The margin's sign is flipped: this is where scores rest when it is added inside the sigmoid.",
         lambda p, m: _resting(p, -m)),
        ("Only the first response has to win by the margin here: whoever wins must, the second as well.", _one_sided),
        ("Only the second response has to win by the margin here: whoever wins must, the first as well.",
         lambda p, m: -_one_sided(1 - p, m)),
        ("This is x = exp(d): the gap is its logarithm.", lambda p, m: _resting(p, m).exp()),
        ("The logarithm of a negative number: the other root of the quadratic is the positive one.",
         lambda p, m: torch.full_like(p, torch.nan)),
        ("This is how far the margin moves the gap: give the gap itself, log-odds and all.",
         lambda p, m: _resting(p, m) - torch.logit(p)),
        ("This is the gap of the second over the first.", lambda p, m: -_resting(p, m)),
        ("This is the probability σ(d): give the gap d itself.", lambda p, m: _resting(p, m).sigmoid()),
        ("The log-odds are multiplied by e^m: near, but (2p - 1) is multiplied by it, before the root.",
         lambda p, m: torch.logit(p) * m.exp()),
    ),
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

EXERCISES = (piecewise_reward, logit_whiten, resting_gap, predict_threshold)
