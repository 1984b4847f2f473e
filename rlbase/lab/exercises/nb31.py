"""Exercises of notebook 31: what a label is worth when it was not asked, not given or not meant as it should be."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number

NOTEBOOK = "31_four_biases"


def _doubles(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


predict_more_labels = Exercise(
    "predict-more-labels", NOTEBOOK, "a hundred times as many", *(2, 5, 3),
    "Raters see who wrote an answer and expect the house's to be better. A reward model from 4,000 of their "
    "comparisons is off by 0.75 nats. Fresh raters of the same belief give a hundred times as many labels. How far "
    "off is the new reward model?\n\n"
    "a) about 0.0075: errors go down as $1/n$\n\n"
    "b) about 0.075: errors go down as $1/\\sqrt n$\n\n"
    "c) about 0.75\n\n"
    "d) much more than 0.75: the belief adds up\n\n"
    "Put the letter into `prediction`.",
    ("What is the answer of endlessly many such raters?",
     "The error has two parts: chance, which falls with n, and what all raters share, which does not.",
     "About as far off as before."),
    "right: labels buy less chance, not less bias. 0.75 is where endlessly many such labels lead.",
    judge=choice(
        "c",
        a="Nothing here falls as 1/n: chance falls with the square root, and a shared belief does not fall at all.",
        b="That is how *chance* falls. The belief is the same in every label, and an average keeps it.",
        d="Labels are averaged, not added: a belief counts as much in many labels as in few.",
    ),
)


def _pair_weights(target: Tensor, source: Tensor, one: Tensor, other: Tensor) -> Tensor:
    each = target / source
    return each[one] * each[other]


def _drawn(label: str, target: Tensor, source: Tensor, one: list[int], other: list[int]) -> Case:
    pairs = {"one": torch.tensor(one), "other": torch.tensor(other)}
    return Case(label, {"target": target, "source": source, **pairs})


pair_weights = Exercise(
    "pair-weights", NOTEBOOK, "what a pair stands for", *(2, 4, 6),
    "Write `pair_weights(target, source, one, other)`: answers are to be judged as they come in `target` `[K]`, but "
    "both answers of a pair were drawn from `source` `[K]`, each by itself. Pair n shows the answers `one[n]` and "
    "`other[n]` (numbers of answers, `[N]`). Give its importance weight, `[N]`, not normalised.",
    ("How likely is this pair if drawn as it should be, and how likely was it?",
     "w = p(one) p(other) / (s(one) s(other)).",
     "return (target / source)[one] * (target / source)[other]"),
    "right: the product of two ratios, however rare the pair.",
    reference=_pair_weights,
    cases=(
        _drawn("three answers", _doubles(0.2, 0.3, 0.5), _doubles(0.6, 0.3, 0.1), [0, 1, 2, 0], [2, 2, 1, 0]),
        _drawn("four answers", _doubles(0.25, 0.25, 0.25, 0.25), _doubles(0.7, 0.1, 0.1, 0.1), [3, 0, 1], [0, 2, 2]),
        _drawn("drawn as they should be", _doubles(0.5, 0.2, 0.3), _doubles(0.5, 0.2, 0.3), [0, 1], [1, 2]),
        _drawn("one that is shown too rarely", _doubles(0.5, 0.5), _doubles(0.99, 0.01), [0, 1, 1], [1, 1, 0]),
    ),
    mistakes=(
        ("The ratio is upside down: what was shown too often must count less, p/s.",
         lambda p, s, i, j: 1 / _pair_weights(p, s, i, j)),
        ("Only the first answer is weighed: both were drawn from `source`.", lambda p, s, i, j: (p / s)[i]),
        ("Only the second answer is weighed: both were drawn from `source`.", lambda p, s, i, j: (p / s)[j]),
        ("You added the two ratios: independent draws multiply.", lambda p, s, i, j: (p / s)[i] + (p / s)[j]),
        ("You averaged the two ratios: independent draws multiply.", lambda p, s, i, j: ((p / s)[i] + (p / s)[j]) / 2),
        ("You took the root of the product: the pair's chance is the whole product.",
         lambda p, s, i, j: _pair_weights(p, s, i, j).sqrt()),
        ("`source` is missing: this is how often the pair should come, not how much too rarely it did.",
         lambda p, s, i, j: p[i] * p[j]),
        ("`target` is missing: weights of 1/s make all answers equally frequent.",
         lambda p, s, i, j: 1 / (s[i] * s[j])),
        *(("You normalised the weights: return them as they are, so that their mean over the draws is 1.",
           lambda p, s, i, j, by=by: (w := _pair_weights(p, s, i, j)) / by(w)) for by in (torch.sum, torch.mean)),
        ("One ratio is upside down: both answers were drawn from `source`.",
         lambda p, s, i, j: (p / s)[i] * (s / p)[j]),
        ("You divided sums: take two ratios, and multiply.", lambda p, s, i, j: (p[i] + p[j]) / (s[i] + s[j])),
        ("One `source` is missing: both answers were drawn from it.", lambda p, s, i, j: p[i] * p[j] / s[i]),
        ("One `source` is missing: both answers were drawn from it.", lambda p, s, i, j: p[i] * p[j] / s[j]),
        ("One `target` is missing: both answers are to be judged by it.", lambda p, s, i, j: p[i] / (s[i] * s[j])),
        ("The difference of p and s is no weight: take ratios.", lambda p, s, i, j: (p - s)[i] * (p - s)[j]),
    ),
)

effective_size = Exercise(
    "effective-size", NOTEBOOK, "what is left of the labels", *(2, 4, 5),
    "Write `effective_size(weights)`: how many labels of equal weight have a mean as sure as that of labels with these "
    "`weights` `[N]`, one number. (Each label has the same variance; a weighted mean is $\\sum wy/\\sum w$.)",
    ("Write the variance of the weighted mean, and set it equal to that of a plain mean of m labels.",
     "Var = v sum(w^2) / (sum w)^2, and v / m: m = (sum w)^2 / sum(w^2).",
     "return weights.sum() ** 2 / (weights**2).sum()"),
    "right, whatever the scale of the weights.",
    reference=lambda weights: weights.sum().square() / weights.square().sum(),
    cases=(
        Case("equal weights", {"weights": _doubles(2.0, 2.0, 2.0, 2.0)}),
        Case("one label outweighs all", {"weights": _doubles(100.0, 1.0, 1.0, 1.0, 1.0)}),
        Case("small weights, one of them 0", {"weights": _doubles(0.1, 0.0, 0.3)}),
        Case("seven of all sizes", {"weights": _doubles(0.5, 1.0, 1.5, 2.0, 0.25, 3.0, 0.75)}),
    ),
    mistakes=(
        ("Upside down: many even weights must give a large number.", lambda w: w.square().sum() / w.sum() ** 2),
        ("This is the share that is left: multiply by the number of labels.",
         lambda w: w.sum() ** 2 / w.square().sum() / len(w)),
        ("You squared the sum and forgot to divide by the sum of squares.", lambda w: w.sum() ** 2),
        ("This is the sum of the weights, in their own unit: its square, over the sum of squares.", lambda w: w.sum()),
        ("The sum must be squared: the unit of the weights is left over.", lambda w: w.sum() / w.square().sum()),
        ("You took the root: variances count, so leave it away.", lambda w: w.sum() / w.square().sum().sqrt()),
        ("1 over the sum of squares: first divide the weights by their sum.", lambda w: 1 / w.square().sum()),
        ("(sum w)², not n², over the sum of squares.", lambda w: len(w) ** 2 / w.square().sum()),
        ("You divided by the number of labels, not by the sum of squares.", lambda w: w.sum() ** 2 / len(w)),
        ("n/(1 + cv²), but n - 1 in the variance: correction=0.", lambda w: len(w) / (1 + w.var() / w.mean() ** 2)),
        ("Right, but rounded: leave the fraction.", lambda w: (w.sum() ** 2 / w.square().sum()).round()),
        ("Right, but rounded: leave the fraction.", lambda w: (w.sum() ** 2 / w.square().sum()).floor()),
        ("You counted the labels: uneven weights are worth less.", lambda w: torch.tensor(float(len(w)))),
        ("You counted the weights above 0: uneven weights are worth less.", lambda w: (w > 0).double().sum()),
        ("Sum over the largest is another measure: here variances count, so squares.", lambda w: w.sum() / w.max()),
        ("The exponential of the entropy is another measure of evenness: the variance of a mean needs squares.",
         lambda w: torch.special.entr(w / w.sum()).sum().exp()),
        ("The variance is to be taken around 0, not around the mean weight.",
         lambda w: w.sum() ** 2 / (len(w) * w.var(correction=0) + 1e-9)),
    ),
)

belief_shift = Exercise(
    "belief-shift", NOTEBOOK, "what the house is worth", *(2, 4, 4),
    "Gold likes the house's answers less, by 0.4 nats. Raters see the names and prefer the house by a belief of "
    "$c=1.2$ in log-odds. The reward model can tell the house's answers from others. What reward does it give them "
    "beyond what it gives the same answer by a stranger, from endlessly many labels? Put the number into "
    "`prediction_house`.",
    ("Write the log-odds of the answer when the two differ in nothing but the writer.",
     "P(house) = sigma(-0.4 + 1.2), and Bradley-Terry's reward is that log-odds.",
     "-0.4 + 1.2"),
    "right: the belief is added, whole, and the sign of the reward has turned.",
    judge=number(
        0.8,
        (-0.4, "That is gold: this is what blind raters would teach."),
        (1.2, "That is the belief alone: gold's -0.4 is in the answers, too."),
        (-1.6, "The sign of the belief is flipped: raters favour the house."),
        (1.6, "Gold likes the house *less*: its sign is negative."),
        (0.4, "Labels are no average of gold and belief: the log-odds add up."),
        (-0.8, "The sign is flipped: after the belief the house is ahead."),
        (0.6900, "That is the probability sigma(0.8): the reward is the log-odds."),
        (-0.48, "You multiplied: gold and belief are log-odds, and are added."),
        (2.2255, "Those are the odds, exp(0.8): the reward is their logarithm."),
        (0.7685, "That is sigma(1.2), a probability, and gold's -0.4 is missing."),
        (0.0, "Raters are moved by what they believe, and the model sees the writer."),
    ),
)

NONE = float("nan")


def _posterior(prior: Tensor, answers: Tensor, accuracy: Tensor) -> Tensor:
    says = torch.where(answers.isnan(), 0, 2 * answers - 1)
    return (prior.logit() + says @ accuracy.logit()).sigmoid()


def _voted(prior: Tensor, answers: Tensor, weight: Tensor, empty: float = 0.0) -> Tensor:
    """Log-odds with each rater's say times ``weight``; ``empty`` where nothing was said."""
    says = torch.where(answers.isnan(), empty, 2 * answers - 1)
    return prior.logit() + says @ weight


def _asked(label: str, prior: Tensor, answers: Any, accuracy: Tensor) -> Case:
    return Case(label, {"prior": prior, "answers": torch.tensor(answers, dtype=torch.float64), "accuracy": accuracy})


rater_posterior = Exercise(
    "rater-posterior", NOTEBOOK, "whom to believe", *(3, 5, 10),
    "Write `posterior(prior, answers, accuracy)`: the probability `[N]` that the first response of each question is "
    "the better one. `prior` `[N]` says how likely that was before anybody answered; rater m said `answers[:, m]` "
    "`[N, M]`, 1 for the first, 0 for the second, NaN for nothing; and is right with probability `accuracy[m]` `[M]`, "
    "independently of the others. One of them may be right in less than half of the answers.",
    ("Bayes: each answer multiplies the odds of the first by a factor.",
     "An answer `first` of a rater with accuracy a multiplies the odds by a/(1-a), `second` by (1-a)/a, silence by 1.",
     "return (prior.logit() + torch.where(answers.isnan(), 0, 2 * answers - 1) @ accuracy.logit()).sigmoid()"),
    "right: coins weigh nothing, and who is mostly wrong counts against what they say.",
    reference=_posterior,
    cases=(
        _asked("three raters", _doubles(0.5, 0.3, 0.8), [[1, 0, 0], [1, 1, 0], [0, 0, 1]], _doubles(0.9, 0.6, 0.7)),
        _asked("an adversary and silence", _doubles(0.4, 0.6), [[NONE, 1], [1, 0]], _doubles(0.8, 0.2)),
        _asked("a coin and a good one", _doubles(0.2, 0.5, 0.9), [[1, 1], [0, NONE], [NONE, 0]], _doubles(0.5, 0.95)),
        _asked("nobody said anything", _doubles(0.35, 0.65), [[NONE, NONE], [NONE, NONE]], _doubles(0.7, 0.6)),
    ),
    mistakes=(
        ("`prior` is missing: begin with its log-odds.", lambda q, y, a: _posterior(0 * q + 0.5, y, a)),
        ("Silence was taken for `second`: it says nothing and multiplies the odds by 1.",
         lambda q, y, a: _voted(q, y, a.logit(), -1.0).sigmoid()),
        ("Silence was taken for `first`: it says nothing and multiplies the odds by 1.",
         lambda q, y, a: _voted(q, y, a.logit(), 1.0).sigmoid()),
        ("Only the answers `first` count: `second` divides the odds by a/(1-a).",
         lambda q, y, a: (q.logit() + y.nan_to_num(0) @ a.logit()).sigmoid()),
        ("All raters have the same say: weigh each with log(a/(1-a)).",
         lambda q, y, a: _voted(q, y, torch.ones_like(a)).sigmoid()),
        ("You weighed with the accuracy itself: a coin would still count. The weight is log(a/(1-a)).",
         lambda q, y, a: _voted(q, y, a).sigmoid()),
        *(("You weighed with accuracy - 1/2: right in sign, but Bayes wants log(a/(1-a)).",
           lambda q, y, a, k=k: _voted(q, y, k * (a - 0.5)).sigmoid()) for k in (1, 2)),
        ("You weighed with log a: the answer of a rater moves the odds by a/(1-a).",
         lambda q, y, a: _voted(q, y, a.log()).sigmoid()),
        ("The log-odds are right: turn them into a probability.", lambda q, y, a: _voted(q, y, a.logit())),
        ("This is the probability of the second response.", lambda q, y, a: 1 - _posterior(q, y, a)),
        ("The answers are turned round: `first` raises the odds of the first.",
         lambda q, y, a: _posterior(q, 1 - y, a)),
        ("The prior is added as a probability: take its log-odds.",
         lambda q, y, a: (q + _voted(0 * q + 0.5, y, a.logit())).sigmoid()),
        ("This is the share of answers, prior and accuracies left out.",
         lambda q, y, a: y.nanmean(1).nan_to_num(0.5)),
        ("Not normalised: divide by the same product for the second response, with 1 - prior, plus this one.",
         lambda q, y, a: q * torch.where(y == 1, a, torch.where(y == 0, 1 - a, 1.0)).prod(1)),
        ("Who is mostly wrong counts *against* what they say: leave their log(a/(1-a)) negative.",
         lambda q, y, a: _voted(q, y, a.logit().abs()).sigmoid()),
        ("Who is mostly wrong counts *against* what they say: you gave them no say at all.",
         lambda q, y, a: _voted(q, y, a.clamp(min=0.5).logit()).sigmoid()),
        ("The logarithm is missing: in log-odds a rater adds log(a/(1-a)), not the odds.",
         lambda q, y, a: _voted(q, y, a / (1 - a)).sigmoid()),
        ("Each answer counts half: it adds or takes off the whole log(a/(1-a)).",
         lambda q, y, a: _voted(q, y, a.logit() / 2).sigmoid()),
        ("You decided: a probability was asked for, and doubt is a part of it.",
         lambda q, y, a: (_posterior(q, y, a) > 0.5).double()),
        ("NaN spreads through a sum: leave out what was not said.",
         lambda q, y, a: (q.logit() + (2 * y - 1) @ a.logit()).sigmoid()),
    ),
)


def _quadratic(z: Tensor, matrix: Tensor) -> Tensor:
    return ((z @ matrix) * z).sum(1)


def _gain(difference: Tensor, logit: Tensor, known: Tensor) -> Tensor:
    p = logit.sigmoid()
    return torch.log1p(p * (1 - p) * _quadratic(difference, torch.linalg.inv(known)))


def _open(label: str, rows: int, seed: int, known: Any, scale: float = 1.0) -> Case:
    made = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, len(known), generator=made, dtype=torch.float64)
    logit = scale * torch.randn(rows, generator=made, dtype=torch.float64)
    return Case(label, {"difference": z, "logit": logit, "known": torch.tensor(known, dtype=torch.float64)})


information_gain = Exercise(
    "information-gain", NOTEBOOK, "the question worth asking", *(3, 4, 8),
    "Write `information_gain(difference, logit, known)`: by how much $\\log\\det H$ grows if one asks comparison n, "
    "`[N]`. `difference` `[N, F]` holds the features of the first response less those of the second, `logit` `[N]` the "
    "log-odds that the fit gives so far, `known` `[F, F]` is $H$. One "
    "answer adds $p(1-p)\\,\\Delta\\Delta^\\top$ to $H$.",
    ("det(H + v d d') = det(H) (1 + v d' H^-1 d).",
     "gain = log(1 + p (1 - p) d' H^-1 d), p = sigma(logit).",
     "return torch.log1p(p * (1 - p) * ((difference @ torch.linalg.inv(known)) * difference).sum(1))"),
    "right: far apart, undecided, and in a direction of which little is known.",
    reference=_gain,
    cases=(
        _open("three comparisons, two features", 3, 0, [[2.0, 0.5], [0.5, 1.0]]),
        _open("five comparisons, three features", 5, 1, [[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]], 2.0),
        _open("a direction of which little is known", 4, 2, [[10.0, 0.0], [0.0, 0.1]]),
        _open("answers that are all but known", 3, 3, [[1.0, 0.2], [0.2, 1.0]], 6.0),
    ),
    mistakes=(
        ("p (1 - p) is missing: an answer that one knows already tells nothing.",
         lambda z, d, h: torch.log1p(_quadratic(z, torch.linalg.inv(h)))),
        ("You used p instead of p (1 - p): a sure answer tells nothing, whichever it is.",
         lambda z, d, h: torch.log1p(d.sigmoid() * _quadratic(z, torch.linalg.inv(h)))),
        ("You used 1 - p instead of p (1 - p): a sure answer tells nothing, whichever it is.",
         lambda z, d, h: torch.log1p((-d).sigmoid() * _quadratic(z, torch.linalg.inv(h)))),
        ("H must be inverted: what is known well already is not worth asking again.",
         lambda z, d, h: torch.log1p(d.sigmoid() * (-d).sigmoid() * _quadratic(z, h))),
        ("H is missing: what matters is what one does not know yet.",
         lambda z, d, h: torch.log1p(d.sigmoid() * (-d).sigmoid() * z.square().sum(1))),
        ("The logarithm is missing: the determinant grows by this factor, less 1.",
         lambda z, d, h: _gain(z, d, h).expm1()),
        ("The logarithm is missing: the determinant grows by this factor.", lambda z, d, h: _gain(z, d, h).exp()),
        ("The 1 is missing: with nothing asked the logarithm must be 0.", lambda z, d, h: _gain(z, d, h).expm1().log()),
        ("You inverted only the diagonal of H: features that were asked together share what is known.",
         lambda z, d, h: torch.log1p(d.sigmoid() * (-d).sigmoid() * (z.square() / h.diagonal()).sum(1))),
        ("`logit` is no probability yet: p = sigma(logit).",
         lambda z, d, h: torch.log1p((d * (1 - d) * _quadratic(z, torch.linalg.inv(h))).clamp(min=-0.999))),
        ("This is log det afterwards: take off the one before.", lambda z, d, h: _gain(z, d, h) + torch.logdet(h)),
        ("You subtracted determinants: take logarithms first.", lambda z, d, h: torch.det(h) * _gain(z, d, h).expm1()),
        ("p (1 - p) is 1/4 only where nobody knows: take p = sigma(logit).",
         lambda z, d, h: torch.log1p(0.25 * _quadratic(z, torch.linalg.inv(h)))),
        ("The sign is flipped: information grows.", lambda z, d, h: -_gain(z, d, h)),
        ("Halved: that is the gain in nats of entropy, half of log det. Here log det itself is asked for.",
         lambda z, d, h: _gain(z, d, h) / 2),
    ),
)

EXERCISES = (predict_more_labels, pair_weights, effective_size, belief_shift, rater_posterior, information_gain)
