"""Is somebody not looking? Gold questions with a control chart, its power, repeated questions, and a fitted care."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.exact.feedback import binomial
from rlbase.feedback.crowd import Answers
from rlbase.validate import finite, has_shape, in_range, instance, whole

INFINITY = float("inf")


class Chart(NamedTuple):
    """A control chart over annotators, ``[M]`` each: right answers among the gold questions, and who is below the line.

    ``least`` is the smallest number of right answers that passes with as many gold questions as each answered.
    """

    right: Tensor
    asked: Tensor
    least: Tensor
    flagged: Tensor


def passing_score(n: int, accuracy: float, *, alarm: float = 0.01) -> int:
    r"""The smallest number right of ``n`` that passes, so that an honest annotator fails with chance ``alarm`` at most.

    The largest $c$ with $\Pr[\mathrm{Bin}(n,p)<c]\le\alpha$: exact, no normal approximation, so that the true rate of
    false alarms is ``alarm`` or less. 0 means that nobody can fail: too few questions to tell.

    Raises:
        ValueError: ``n`` below 0, or ``accuracy`` or ``alarm`` outside [0, 1].

    >>> passing_score(10, 0.9), passing_score(20, 0.9), passing_score(1, 0.9)
    (6, 14, 0)
    """
    whole("passing_score", "n", n, 0)
    in_range("passing_score", "accuracy", accuracy, 0, 1)
    in_range("passing_score", "alarm", alarm, 0, 1)
    below, least = 0.0, 0
    while least < n and (below := below + binomial(least, n, accuracy)) <= alarm:
        least += 1
    return least


def detection_power(n: int, accuracy: float, bad_accuracy: float, *, alarm: float = 0.01) -> float:
    r"""How often ``n`` gold questions catch somebody who is right only with probability ``bad_accuracy``.

    $$\Pr[\mathrm{Bin}(n,p_\text{bad})<c]$$

    with $c$ from `passing_score`: the price of a false alarm rate of at most ``alarm``, paid in gold questions.

    Raises:
        ValueError: as `passing_score`.

    >>> [round(detection_power(n, 0.9, 0.5), 2) for n in (5, 10, 20, 40)]  # somebody who tosses a coin
    [0.5, 0.62, 0.94, 1.0]
    """
    in_range("detection_power", "bad_accuracy", bad_accuracy, 0, 1)
    return math.fsum(binomial(k, n, bad_accuracy) for k in range(passing_score(n, accuracy, alarm=alarm)))


def control_chart(
    answers: Answers, gold: Float[Tensor, " N"], *, accuracy: float, alarm: float = 0.01
) -> Chart:
    """Who answers the gold questions worse than an honest annotator would by chance. A tie is not right.

    Args:
        gold: the known answers, 1 or 0; NaN for the questions that are not gold.
        accuracy: how often an honest annotator is right on these; gold questions that experts disagree on punish
            whoever thinks.
        alarm: the rate of false alarms that one puts up with, for each annotator. With 100 honest annotators 0.01
            still accuses one.

    Raises:
        ValueError: no gold question, an answer to one that is neither 1 nor 0, or another shape.

    >>> gold = torch.tensor([1.0, 0.0] * 10)
    >>> said = Answers(torch.stack([gold, 1 - gold, torch.ones(20)], 1))
    >>> control_chart(said, gold, accuracy=0.9).flagged
    tensor([False,  True,  True])
    """
    instance("control_chart", "answers", answers, Answers)
    has_shape("control_chart", "gold", gold, (len(answers.label),))
    known = ~gold.isnan()
    if not known.any() or ((gold[known] != 0) & (gold[known] != 1)).any():
        raise ValueError("control_chart: gold must be 1 or 0 for at least one question, NaN for all others.")
    label, truth = answers.label[known], gold[known][:, None]
    asked = (~label.isnan()).sum(0)
    right = (label == truth).sum(0)
    least = torch.tensor([passing_score(int(n), accuracy, alarm=alarm) for n in asked], dtype=torch.long)
    least = least.to(right.device)
    return Chart(right, asked, least, right < least)


def consistency(first: Answers, again: Answers) -> Float[Tensor, " M"]:
    """How often each annotator says the same when the same questions come back, ``[M]``; NaN who saw none twice.

    A careless annotator is inconsistent, and so is a liking for the first place when the places are drawn anew. A
    biased one can be consistent: this measures care, not truth.

    Raises:
        ValueError: the two rounds differ in their shape.

    >>> consistency(Answers(torch.tensor([[1.0], [0.0]])), Answers(torch.tensor([[1.0], [1.0]])))
    tensor([0.5000])
    """
    instance("consistency", "first", first, Answers)
    instance("consistency", "again", again, Answers)
    has_shape("consistency", "again", again.label, tuple(first.label.shape))
    both = first.given & again.given
    return torch.where(both, (first.label == again.label).to(first.label), float("nan")).nanmean(0)


def fit_temperature(logit: Float[Tensor, " N"], label: Float[Tensor, " N"]) -> float:
    r"""The $T$ that makes $\sigma(d/T)$ as likely as possible for the answers given: calibration with one number.

    $$\min_{1/T\ge0}\ -\sum_n y_n\log\sigma(d_n/T)+(1-y_n)\log\sigma(-d_n/T)$$

    Guo et al. (2017), section 4.2; convex in $1/T$, so that bisection on its slope finds the minimum. Of an annotator:
    ``logit`` from gold questions gives their care. Of a reward model: its score gaps, on held-out comparisons.

    Raises:
        ValueError: shapes differ, a number is not finite, a label outside [0, 1]; the answers say nothing of the
            log-odds or speak against them (T is infinite), or all of them agree (T is 0).

    >>> draws = torch.Generator().manual_seed(0)
    >>> gaps = 3 * torch.randn(20_000, generator=draws)
    >>> said = torch.rand(20_000, generator=draws) < (gaps / 2).sigmoid()
    >>> abs(fit_temperature(gaps, said.float()) - 2) < 0.1
    True
    """
    finite("fit_temperature", logit=logit, label=label)
    has_shape("fit_temperature", "label", label, tuple(logit.shape))
    if not label.numel() or label.min() < 0 or label.max() > 1:
        raise ValueError("fit_temperature: label must hold at least one number, each from 0 to 1.")
    scale = logit.double().abs().max().item()
    d, y = logit.double() / (scale or 1.0), label.double()  # largest 1: bisection then finds any T

    def slope(cold: float) -> float:
        return (d * ((d * cold).sigmoid() - y)).sum().item()

    if slope(0.0) >= 0:
        raise ValueError(
            "fit_temperature: the answers do not follow these log-odds, no temperature fits them."
        )
    if (d * ((d > 0).double() - y)).sum() <= 0:  # the slope at T=0: nobody ever went against the log-odds
        raise ValueError("fit_temperature: every answer follows its log-odds, so that T=0 fits best.")
    high = 1.0
    while slope(high) < 0:
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return scale / high
