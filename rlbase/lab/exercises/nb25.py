"""Exercises of notebook 25: labels that are sometimes wrong, and the two losses that know of it."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number
from rlbase.losses import cdpo, dpo, rdpo

NOTEBOOK = "25_noisy_labels"


def _case(label: str, rows: int, seed: int, beta: float, noise: float, scale: float = 3.0) -> Case:
    made = torch.Generator().manual_seed(seed)
    values = -scale * torch.rand(4, rows, generator=made, dtype=torch.float64)
    names = ("chosen_logp", "rejected_logp", "chosen_ref_logp", "rejected_ref_logp")
    return Case(label, {**dict(zip(names, values, strict=True)), "beta": beta, "noise": noise}, scale > 100)


CASES = (
    _case("three pairs, β = 0.5, 20 % noise", 3, 0, 0.5, 0.2),
    _case("four pairs, β = 2, 10 % noise", 4, 1, 2.0, 0.1),
    _case("no noise at all", 3, 2, 1.0, 0.0),
    _case("log-probabilities of thousands", 3, 3, 1.0, 0.3, 1e4),
)

predict_cdpo_noise = Exercise(
    "predict-cdpo-noise", NOTEBOOK, "a loss that knows of the noise", *(3, 5, 4),
    "Raters follow Bradley-Terry, and then 20 % of all labels are turned around. There are endlessly many comparisons. "
    "Instead of DPO you train with conservative DPO, and give it the true rate, $\\epsilon=0.2$. Compared with where "
    "DPO comes to rest on the same labels, you are\n\n"
    "a) exactly at $\\pi^*$, the optimum of clean labels\n\n"
    "b) nearer to $\\pi^*$, but not there\n\n"
    "c) as far from $\\pi^*$ as DPO\n\n"
    "d) further away from $\\pi^*$\n\n"
    "Put the letter into `prediction`.",
    ("Into which direction does noise move the share of raters who prefer the better one? And cDPO?",
     "A flip moves every share towards 1/2. cDPO's loss is DPO's loss on labels that are flipped *once more*.",
     "Both move towards 1/2."),
    "right: cDPO does not undo the flips, it adds some of its own. What undoes them comes below.",
    judge=choice(
        "d",
        a="That is what rDPO does. cDPO's mean over flipped labels is not the loss of the clean ones.",
        b="cDPO makes DPO more cautious, but flips have made the labels too cautious already.",
        c="Only at epsilon = 0 are the two losses the same.",
    ),
)


def _cdpo(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor, b: float, e: float) -> Tensor:
    return cdpo(c, r, cr, rr, beta=b, label_smoothing=e)


def _dpo(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor, b: float, e: float = 0.0) -> Tensor:
    return dpo(c, r, cr, rr, beta=b)


def _rdpo(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor, b: float, e: float) -> Tensor:
    return rdpo(c, r, cr, rr, beta=b, label_smoothing=e)


def _naive(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor, b: float) -> tuple[Tensor, Tensor]:
    h = b * ((c - cr) - (r - rr))
    return -h.sigmoid().log(), -(-h).sigmoid().log()


def _mixture(c: Tensor, r: Tensor, cr: Tensor, rr: Tensor, b: float, e: float) -> Tensor:
    return -(e + (1 - 2 * e) * (b * ((c - cr) - (r - rr))).sigmoid()).log()


cdpo_loss = Exercise(
    "cdpo-loss", NOTEBOOK, "believe each label a little less", *(2, 4, 8),
    "Write `cdpo_loss(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp, beta, noise)`, all `[B]` but the "
    "last two: DPO's loss of the label as given, weighted by 1 - `noise`, and DPO's loss of the opposite label, "
    "weighted by `noise`. Not reduced; the log-probabilities may be in the thousands.",
    ("The opposite label has the gap -h instead of h.",
     "loss = -(1 - noise) log sigma(beta h) - noise log sigma(-beta h).",
     "return (1 - noise) * softplus(-beta * h) + noise * softplus(beta * h)"),
    "right, gradients included; without noise it is DPO, and huge numbers stay finite.",
    reference=_cdpo, cases=CASES,
    mistakes=(
        ("The weights are swapped, or h is turned around: the label as given, with gap h, is believed with 1 - noise.",
         lambda c, r, cr, rr, b, e: _cdpo(r, c, rr, cr, b, e)),
        ("The weight 1 - noise is missing: the two weights add up to 1.",
         lambda c, r, cr, rr, b, e: _dpo(c, r, cr, rr, b) + e * _dpo(r, c, rr, cr, b)),
        ("The sign of the second term is flipped: the opposite label costs, too (rDPO has a minus there).",
         lambda c, r, cr, rr, b, e: (1 - 2 * e) * _rdpo(c, r, cr, rr, b, e)),
        ("This is rDPO: conservative DPO adds the opposite label, and divides by nothing.", _rdpo),
        ("This is DPO, less some of it: the opposite label is missing.",
         lambda c, r, cr, rr, b, e: (1 - e) * _dpo(c, r, cr, rr, b)),
        ("These are DPO's numbers: `noise` is ignored, or both terms have the same gap (the opposite label's is -h).",
         _dpo),
        ("You subtracted the opposite label from 1: its loss is -log sigma(-beta h), not 1 less the other one.",
         lambda c, r, cr, rr, b, e: (1 - 2 * e) * _dpo(c, r, cr, rr, b) + e),
        ("You mixed the probabilities, then took the logarithm: cDPO mixes the two losses. (Yours is the likelihood of "
         "a flipped label, a sensible loss of another name.)", _mixture),
        ("beta is missing.", lambda c, r, cr, rr, b, e: _cdpo(c, r, cr, rr, 1.0, e)),
        ("The reference is missing: h compares log-ratios.",
         lambda c, r, cr, rr, b, e: _cdpo(c, r, 0 * c, 0 * r, b, e)),
        ("The sign is flipped: a loss is minimised.", lambda c, r, cr, rr, b, e: -_cdpo(c, r, cr, rr, b, e)),
        ("sigma(...) underflows to 0 and its logarithm is infinite: use softplus or logsigmoid.",
         lambda c, r, cr, rr, b, e: (1 - e) * (x := _naive(c, r, cr, rr, b))[0] + e * x[1]),
    ),
    gradient=("chosen_logp", "rejected_logp"),
)

cdpo_rest = Exercise(
    "cdpo-rest", NOTEBOOK, "where caution ends", *(2, 4, 4),
    "A pair always has the same winner. Conservative DPO with $\\beta=0.1$ and $\\epsilon=0.1$ trains for ever. At "
    "which gap $h$ does it come to rest? ($\\log 9=2.197$.) Put the number into `prediction_rest`.",
    ("At rest, the model is as sure of the label as cDPO believes it.",
     "sigma(beta h) = 1 - epsilon, so beta h = log((1 - epsilon)/epsilon).",
     "10 * log(9)"),
    "right: log(9)/0.1. A finite place, where DPO has none.",
    judge=number(
        21.972,
        (2.1972, "That is beta h: divide by beta."),
        (0.21972, "You multiplied by beta: beta h = log 9, so divide."),
        (float("inf"), "That is DPO. cDPO's second term grows with h and stops it."),
        (5.0, "That is IPO with tau = 0.1: cDPO's loss is no parabola."),
        (10.0, "That is where the hinge stops, at 1/beta."),
        (-21.972, "The sign is flipped: the label that was given is still the likelier one."),
        (23.026, "That is log(1/epsilon)/beta: the odds are (1 - epsilon)/epsilon."),
        (9.0, "Those are the odds of 0.9: take the logarithm, then divide by beta."),
        (90.0, "Those are the odds over beta: the logarithm is missing."),
        rtol=0.005,
    ),
)

rdpo_loss = Exercise(
    "rdpo-loss", NOTEBOOK, "take the flips out again", *(3, 5, 8),
    "Write `rdpo_loss(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp, beta, noise)` `[B]`: robust DPO. "
    "With $L$ for DPO's loss, find the $a$ and $b$ of $a\\,L(h)+b\\,L(-h)$ such that its **mean over flips** at rate "
    "`noise` is $L(h)$ of the clean label, whatever $h$. Not reduced; below 0 is allowed.",
    ("A clean pair is shown right with 1 - e, turned around with e. Write the mean of a L(h) + b L(-h) over the two.",
     "(1-e) a + e b = 1 and (1-e) b + e a = 0: so a = (1-e)/(1-2e), b = -e/(1-2e).",
     "return ((1 - noise) * softplus(-beta * h) - noise * softplus(beta * h)) / (1 - 2 * noise)"),
    "right, gradients included: the mean over flips is the clean loss.",
    reference=_rdpo, cases=CASES,
    mistakes=(
        ("The sign of the second term is flipped: this is cDPO, whose mean over flips is not the clean loss.", _cdpo),
        ("The sign of the second term is flipped: b is negative.",
         lambda c, r, cr, rr, b, e: _cdpo(c, r, cr, rr, b, e) / (1 - 2 * e)),
        ("The division by 1 - 2 noise is missing: the mean over flips is only a part of the clean loss.",
         lambda c, r, cr, rr, b, e: (1 - 2 * e) * _rdpo(c, r, cr, rr, b, e)),
        ("You divided by 1 - noise: solve the two equations for a and b once more.",
         lambda c, r, cr, rr, b, e: (1 - 2 * e) * _rdpo(c, r, cr, rr, b, e) / (1 - e)),
        ("The second weight is right, the first one is not: a = (1 - noise)/(1 - 2 noise).",
         lambda c, r, cr, rr, b, e: (_dpo(c, r, cr, rr, b) - e * _dpo(r, c, rr, cr, b)) / (1 - 2 * e)),
        ("You scaled DPO's loss up: only the opposite label can take the flips out.",
         lambda c, r, cr, rr, b, e: _dpo(c, r, cr, rr, b) / (1 - e)),
        ("You cut it at 0: some single losses must be negative, or the mean is too large.",
         lambda c, r, cr, rr, b, e: _rdpo(c, r, cr, rr, b, e).clamp(min=0)),
        ("The weights are swapped: a belongs to the label as given.",
         lambda c, r, cr, rr, b, e: _rdpo(r, c, rr, cr, b, e)),
        ("`noise` is ignored: this is DPO.", _dpo),
        ("This only rescales DPO: the opposite label is missing.",
         lambda c, r, cr, rr, b, e: _dpo(c, r, cr, rr, b) / (1 - 2 * e)),
        ("beta is missing.", lambda c, r, cr, rr, b, e: _rdpo(c, r, cr, rr, 1.0, e)),
        ("The reference is missing: h compares log-ratios.",
         lambda c, r, cr, rr, b, e: _rdpo(c, r, 0 * c, 0 * r, b, e)),
        ("The sign is flipped: a loss is minimised.", lambda c, r, cr, rr, b, e: -_rdpo(c, r, cr, rr, b, e)),
        ("sigma(...) underflows to 0 and its logarithm is infinite: use softplus or logsigmoid.",
         lambda c, r, cr, rr, b, e: ((1 - e) * (x := _naive(c, r, cr, rr, b))[0] - e * x[1]) / (1 - 2 * e)),
    ),
    gradient=("chosen_logp", "rejected_logp"),
)


def _unflip(observed: Tensor, noise: float) -> Tensor:
    return (observed - noise) / (1 - 2 * noise)


def _shares(label: str, noise: float, *values: Any) -> Case:
    return Case(label, {"observed": torch.tensor(values, dtype=torch.float64), "noise": noise})


flip_correction = Exercise(
    "flip-correction", NOTEBOOK, "from seen to meant", *(2, 4, 5),
    "Write `unflip(observed, noise)`: the shares `[N]` of raters who really prefer the first response, if `observed` "
    "`[N]` are the shares of labels that say so and each label was turned around with probability `noise`. A few "
    "counted labels may give an answer below 0 or above 1; return it as it is.",
    ("Seen = meant and not turned around, or not meant and turned around.",
     "observed = (1 - e) p + e (1 - p) = e + (1 - 2e) p; solve for p.",
     "return (observed - noise) / (1 - 2 * noise)"),
    "right, also where few labels give a share that cannot be.",
    reference=_unflip,
    cases=(
        _shares("20 % noise", 0.2, 0.8, 0.5, 0.35, 0.2),
        _shares("45 % noise, all shares possible", 0.45, 0.46, 0.5, 0.55),
        _shares("10 % noise, shares that cannot be", 0.1, 0.0, 1.0, 0.95),
        _shares("no noise", 0.0, 0.3, 1.0),
    ),
    mistakes=(
        ("You flipped once more: this goes from meant to seen.", lambda q, e: e + (1 - 2 * e) * q),
        ("The division by 1 - 2 noise is missing: flips have squeezed the shares together, stretch them again.",
         lambda q, e: q - e),
        ("You divided by 1 - noise: flips squeeze from both sides, by 1 - 2 noise.", lambda q, e: (q - e) / (1 - e)),
        ("You cut at 0 or 1: the mean of cut shares is no longer right. Return them as they are.",
         lambda q, e: _unflip(q, e).clamp(0, 1)),
        ("The wrong labels come from those who *mean* the second response, 1 - p of all, not 1 - observed: "
         "solve the equation for p.", lambda q, e: q - e * (1 - q)),
        ("The wrong labels come from those who *mean* the second response, 1 - p of all, not 1 - observed: "
         "solve the equation for p.", lambda q, e: (q - e * (1 - q)) / (1 - e)),
        ("You forgot that wrong labels count for the other side: subtract noise first.",
         lambda q, e: q / (1 - 2 * e)),
        ("You forgot that wrong labels count for the other side: subtract noise first.", lambda q, e: q / (1 - e)),
        ("This is the share of the second response: 1 minus it.", lambda q, e: 1 - _unflip(q, e)),
        ("`noise` is ignored.", lambda q, e: q),
        ("Shares are stretched around 1/2, not around 0: subtract noise.", lambda q, e: q * (1 - 2 * e)),
        ("You added noise: it has been added already, take it off.", lambda q, e: (q + e) / (1 - 2 * e)),
    ),
)

EXERCISES = (predict_cdpo_noise, flip_correction, cdpo_loss, cdpo_rest, rdpo_loss)
