"""Exercises of notebook 32: votes, who can be trusted, gold questions, weights and what they cost."""

# fmt: off

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number

NOTEBOOK = "32_six_mitigations"
_BELL = "This is the bell curve's answer: with so few questions add up the binomial."

predict_shared_bias = Exercise(
    "predict-shared-bias", NOTEBOOK, "more raters", *(2, 5, 4),
    "Each of your raters reports what they mean in 70 % of all cases and errs by chance in the others, each for "
    "themselves. But in a quarter of all pairs the worse response is so much longer that **all** of them mean the "
    "wrong one. One rater is right in $0.75\\cdot0.7+0.25\\cdot0.3=60\\,\\%$ of the pairs. You take the majority of "
    "3, then 15, then 101 such raters. The share of right labels\n\n"
    "a) rises towards 100 %\n\n"
    "b) rises towards 75 % and stops there\n\n"
    "c) stays at 60 %: what all share, no vote can change\n\n"
    "d) falls: the bias wins\n\n"
    "Put the letter into `prediction`.",
    ("What does a large majority report: the truth, or what most of its members mean?",
     "Look at the two kinds of pairs one by one, with hundreds of raters.",
     "In three quarters of the pairs the majority is nearly always right, in one quarter nearly always wrong."),
    "right: votes remove what raters do not share, and only that. In the quarter that they share it gets worse, "
    "from 30 % right to none, while agreement rises.",
    judge=choice(
        "b",
        a="Only the chance errors cancel. In the quarter of shared error more raters are more surely wrong.",
        c="A vote does change the errors by chance: where most mean the truth, 30 % wrong become nearly none.",
        d="In the quarter, yes. In the other three it rises by more.",
    ),
)


def _term(p: float, n: int, k: int) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def _tail(p: float, n: int) -> float:
    return sum(_term(p, n, k) for k in range(n // 2 + 1, n + 1))


def _voters(label: str, accuracy: float, n: int) -> Case:
    return Case(label, {"accuracy": accuracy, "n": n})


majority_tail = Exercise(
    "majority-tail", NOTEBOOK, "the majority of n", *(2, 4, 6),
    "Write `majority_tail(accuracy, n)`: the probability that the majority of `n` independent raters (`n` is odd) is "
    "right if each of them is right with probability `accuracy`.",
    ("Add up the probabilities of all numbers of right votes that are a majority.",
     "Pr(k right) = C(n, k) p^k (1-p)^(n-k), for k from (n+1)/2 to n.",
     "return sum(math.comb(n, k) * accuracy**k * (1 - accuracy)**(n - k) for k in range(n // 2 + 1, n + 1))"),
    "right, also below one half, where a vote makes it worse.",
    reference=_tail,
    cases=(_voters("three at 0.7", 0.7, 3), _voters("nine at 0.7", 0.7, 9), _voters("five at 0.4", 0.4, 5),
           _voters("one at 0.92", 0.92, 1), _voters("seven coins", 0.5, 7)),
    mistakes=(
        ("That is the chance that *all* are right: more than half is enough.", lambda p, n: p**n),
        ("That is the chance that *somebody* is right: it takes more than half.", lambda p, n: 1 - (1 - p) ** n),
        ("Only the barest majority is counted: add all larger ones.", lambda p, n: _term(p, n, n // 2 + 1)),
        ("The number of ways is missing: k of n can be right in C(n, k) ways.",
         lambda p, n: sum(p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))),
        ("You added up the other side: this is how often the majority is wrong.", lambda p, n: 1 - _tail(p, n)),
        ("You begin one vote too late: (n + 1)/2 votes are a majority.",
         lambda p, n: sum(_term(p, n, k) for k in range(n // 2 + 2, n + 1))),
        ("You begin one vote too early: (n - 1)/2 votes are no majority.",
         lambda p, n: sum(_term(p, n, k) for k in range(n // 2, n + 1))),
        ("All n may be right, too: range(..., n) ends before n.", lambda p, n: _tail(p, n) - p**n),
        ("The others must be wrong: k right votes come with (1-p)^(n-k).",
         lambda p, n: sum(math.comb(n, k) * p**k for k in range(n // 2 + 1, n + 1))),
        ("The chance that (n + 1)/2 whom you *name* are right: any may be.", lambda p, n: p ** (n // 2 + 1)),
        ("This is the accuracy of a single rater.", lambda p, n: p),
        ("This is the normal approximation: with so few raters take the binomial sum itself.",
         lambda p, n: 0.5 * (1 + math.erf((p - 0.5) * math.sqrt(n / (2 * p * (1 - p)))))),
    ),
)


def _weighted(label: Tensor, accuracy: Tensor) -> Tensor:
    return ((2 * label - 1) @ accuracy.logit()).sigmoid()


def _trust(label: Tensor, prob: Tensor) -> Tensor:
    return (prob @ label + (1 - prob) @ (1 - label)) / len(label)


def _em(label: Tensor, prob: Tensor) -> tuple[Tensor, Tensor]:
    accuracy = _trust(label, prob)
    return accuracy, _weighted(label, accuracy)


def _crowd(label: str, raters: int, rows: int, seed: int) -> Case:
    made = torch.Generator().manual_seed(seed)
    truth = torch.rand(rows, 1, generator=made) < 0.5
    slips = torch.rand(rows, raters, generator=made) < torch.linspace(0.15, 0.85, raters)
    said = (truth ^ slips).double()
    belief = 0.15 + 0.6 * truth[:, 0].double() + 0.1 * torch.rand(rows, generator=made, dtype=torch.float64)
    return Case(label, {"label": said, "prob": belief})


em_step = Exercise(
    "em-step", NOTEBOOK, "trust, and be told whom", *(4, 5, 12),
    "One step of Dawid and Skene's estimate, for raters with one accuracy each and a prior of one half. Write "
    "`em_step(label, prob)`. `label` `[N, M]` holds all answers (1: the first, 0: the second); `prob` `[N]` is what "
    "you now believe of each question: how likely the first is the better one. Return a pair: the accuracy `[M]` that "
    "each rater then has (M step), and with these the new probabilities `[N]` (E step).",
    ("If the truth were known, an accuracy would be a share of right answers. It is known in part: count an answer "
     "right to the degree that you believe in it.",
     "p_m = mean over n of q y + (1 - q)(1 - y); then q = sigma(sum over m of (2y - 1) log(p_m/(1 - p_m))).",
     "p = (prob @ label + (1 - prob) @ (1 - label)) / len(label); return p, ((2 * label - 1) @ p.logit()).sigmoid()"),
    "right: repeat it, and it settles.",
    reference=_em, parts=("the accuracy", "the probability"),
    cases=(_crowd("four raters, ten questions", 4, 10, 0), _crowd("six raters, thirty questions", 6, 30, 1)),
    mistakes=(
        ("The sign of the E step is flipped.", lambda y, q: (p := _trust(y, q), 1 - _weighted(y, p))),
        ("You decided each question before counting: count by belief, `prob`, not by its winner.",
         lambda y, q: _em(y, (q > 0.5).double())),
        ("The answers for the second are missing: 0 is right to the degree 1 - prob.",
         lambda y, q: (p := q @ y / len(y), _weighted(y, p))),
        ("These are the hits only, right answers where the first is better; an accuracy is over all questions.",
         lambda y, q: (p := q @ y / q.sum(), _weighted(y, p))),
        ("The answers for the second are counted as right wherever the first is: 0 is right to the degree 1 - prob.",
         lambda y, q: (p := (q @ y + q @ (1 - y)) / len(y), _weighted(y, p))),
        ("This is how often each says first: it knows nothing of right or wrong.",
         lambda y, q: (p := y.mean(0), _weighted(y, p))),
        ("You summed the right answers: divide by the number of questions.",
         lambda y, q: (len(y) * _trust(y, q), _em(y, q)[1])),
        ("This is how often each is wrong: an answer 1 is right to the degree `prob`.",
         lambda y, q: (p := 1 - _trust(y, q), _weighted(y, p))),
        ("The E step forgets whom to trust: weigh each vote by log(p/(1-p)).", lambda y, q: (_trust(y, q), y.mean(1))),
        *((f"The E step weighs votes by {name}: take log(p/(1-p)).",
           lambda y, q, weigh=weigh: (p := _trust(y, q), ((2 * y - 1) @ weigh(p)).sigmoid()))
          for name, weigh in (("the accuracy", torch.abs), ("log p", torch.log), ("p - 1/2", lambda p: p - 0.5),
                              ("half of their log-odds", lambda p: p.logit() / 2))),
        ("In the E step a vote for the second must count against the first: it is -1, not 0.",
         lambda y, q: (p := _trust(y, q), (y @ p.logit()).sigmoid())),
        ("The E step ignores who is mostly wrong, or believes them: let the log-odds be negative.",
         lambda y, q: (p := _trust(y, q), ((2 * y - 1) @ p.logit().abs()).sigmoid())),
        ("You counted the old belief once more: the E step begins at one half, or votes count twice.",
         lambda y, q: (p := _trust(y, q), ((2 * y - 1) @ p.logit() + q.logit()).sigmoid())),
        ("You let the share of the first be the prior: here it is one half, so begin at log-odds of 0.",
         lambda y, q: (p := _trust(y, q), ((2 * y - 1) @ p.logit() + q.mean().logit()).sigmoid())),
        ("The E step is not normalised: divide by the sum of both products.",
         lambda y, q: (p := _trust(y, q), torch.where(y > 0.5, p, 1 - p).prod(1))),
        ("You gave each rater invented answers: the package does, this exercise does not.",
         lambda y, q: (p := (len(y) * _trust(y, q) + 1) / (len(y) + 2), _weighted(y, p))),
        ("You return the old probabilities: the E step is missing.", lambda y, q: (_trust(y, q), q)),
    ),
)


def _below(c: int, n: int, p: float) -> float:
    return math.fsum(_term(p, n, k) for k in range(c))


def _passing(n: int, p: float, alarm: float) -> int:
    return max(c for c in range(n + 1) if _below(c, n, p) <= alarm)


def _bell(n: int, p: float, alarm: float) -> float:
    return n * p + NormalDist().inv_cdf(alarm) * math.sqrt(n * p * (1 - p))


def _exam(label: str, n: int, accuracy: float, alarm: float) -> Case:
    return Case(label, {"n": n, "accuracy": accuracy, "alarm": alarm})


passing_score = Exercise(
    "passing-score", NOTEBOOK, "when to send somebody home", *(3, 4, 8),
    "Write `passing_score(n, accuracy, alarm)`: the smallest number of right answers to `n` gold questions with which "
    "a rater passes. Be as strict as you can, but an honest rater, right in each with probability `accuracy`, may fail "
    "with probability `alarm` at most. So: the largest whole c from 0 to `n` with Pr[fewer than c right] <= `alarm`.",
    ("Fail means fewer than c right. How likely is that for the honest, for c = 0, 1, 2, ...?",
     "Pr[X < c] = sum over k < c of C(n, k) p^k (1-p)^(n-k); it grows with c. Stop before it exceeds alarm.",
     "return max(c for c in range(n + 1) if sum(binomial(k) for k in range(c)) <= alarm)"),
    "right, exactly and not by a bell curve: with few questions it says 0, nobody can fail.",
    reference=_passing,
    cases=(_exam("20 questions, 0.9, one in a hundred", 20, 0.9, 0.01),
           _exam("10 questions, 0.9, one in a hundred", 10, 0.9, 0.01),
           _exam("20 questions, 0.7, one in twenty", 20, 0.7, 0.05), _exam("one question", 1, 0.9, 0.01),
           _exam("40 questions, 0.6, one in 1,000", 40, 0.6, 0.001), _exam("11 questions, 0.8", 11, 0.8, 0.1)),
    mistakes=(
        ("One too low: with as many right as this the honest can still be failed. The largest number that *fails* is c "
         "- 1, c passes.", lambda n, p, a: max(0, _passing(n, p, a) - 1)),
        ("One too high: then the honest fail more often than `alarm`.", lambda n, p, a: _passing(n, p, a) + 1),
        *((_BELL, lambda n, p, a, rounded=rounded, z=z: max(0, rounded(_bell(n, p, z or a))))
          for rounded in (math.floor, math.ceil, round) for z in (None, 0.01)),
        *(("This is what an honest rater gets on average: half of them would fail.",
           lambda n, p, a, rounded=rounded: rounded(n * p)) for rounded in (round, int)),
        ("This is a share: the *number* of right answers was asked for.", lambda n, p, a: _passing(n, p, a) / n),
        ("More than half is no score for somebody who is right in `accuracy` of all.", lambda n, p, a: n // 2 + 1),
        ("You split `alarm` between both ends: nobody is too good to pass.", lambda n, p, a: _passing(n, p, a / 2)),
        ("You ask what a coin gets: the honest rater has `accuracy`.", lambda n, p, a: _passing(n, 0.5, a)),
        ("You ask for somebody who is *wrong* in `accuracy` of all.", lambda n, p, a: _passing(n, 1 - p, a)),
        ("You counted wrong answers, not right ones.", lambda n, p, a: n - _passing(n, p, a)),
        ("`alarm` is ignored: this is one in a hundred throughout.", lambda n, p, a: _passing(n, p, 0.01)),
        ("You compared the chance of exactly c right with `alarm`: failing is *fewer than* c.",
         lambda n, p, a: max([c for c in range(n + 1) if _term(p, n, c) <= a and c <= n * p], default=0)),
        ("This spares with chance `alarm` only: you need Pr[fewer than c] <= alarm, not 1 - alarm.",
         lambda n, p, a: _passing(n, p, 1 - a)),
    ),
)


def _mix(v1: float, v2: float, bias: float) -> tuple[float, float]:
    w = (v2 + bias**2) / (v1 + v2 + bias**2)
    return w, w**2 * v1 + (1 - w) ** 2 * (v2 + bias**2)


def _at(w: float, v1: float, v2: float, bias: float) -> tuple[float, float]:
    return w, w**2 * v1 + (1 - w) ** 2 * (v2 + bias**2)


def _sources(label: str, v1: float, v2: float, bias: float) -> Case:
    return Case(label, {"variance": v1, "cheap_variance": v2, "bias": bias})


source_weight = Exercise(
    "source-weight", NOTEBOOK, "dear and right, or cheap and biased", *(3, 5, 8),
    "Two estimates of one number: the first is right on average and has `variance`; the second is off by `bias` on "
    "average and has `cheap_variance`; they are independent. Write `source_weight(variance, cheap_variance, bias)`: "
    "return the weight w of the *first* for which w · first + (1 - w) · second has the least mean squared error, and "
    "that error.",
    ("Mean squared error is variance plus squared bias. What are those two of the mixture?",
     "MSE(w) = w² v1 + (1-w)² (v2 + b²); its derivative is 0 at w = (v2 + b²)/(v1 + v2 + b²).",
     "off = cheap_variance + bias**2; w = off / (variance + off); return w, w**2 * variance + (1 - w)**2 * off"),
    "right: the biased source gets a say whenever the right one is not certain.",
    reference=_mix, parts=("the weight", "the error"),
    cases=(_sources("a little bias", 1.0, 0.5, 0.5), _sources("much bias", 0.3, 0.1, 2.0),
           _sources("no bias", 2.0, 1.0, 0.0), _sources("negative bias", 0.2, 0.05, -0.3)),
    mistakes=(
        ("The bias is missing: this is the best weight of two sources that are both right.",
         lambda a, c, b: _at(c / (a + c), a, c, b)),
        ("The bias enters squared: a mean squared error is variance plus bias².",
         lambda a, c, b: _at((c + b) / (a + c + b), a, c, b)),
        ("The bias enters squared, and not as its size: variance plus bias².",
         lambda a, c, b: _at((c + abs(b)) / (a + c + abs(b)), a, c, b)),
        ("This is the weight of the second source.", lambda a, c, b: _at(1 - _mix(a, c, b)[0], a, c, b)),
        ("You weigh by standard deviations: take the squares.",
         lambda a, c, b: _at((off := math.sqrt(c + b * b)) / (math.sqrt(a) + off), a, c, b)),
        ("The bias is not part of the sum below: v1 + v2 + b².", lambda a, c, b: _at((c + b * b) / (a + c), a, c, b)),
        ("You chose the better of the two: a mixture beats both.", lambda a, c, b: _at(float(a < c + b * b), a, c, b)),
        ("You took the mean of both.", lambda a, c, b: _at(0.5, a, c, b)),
        ("The two are in the wrong order: the weight comes first.", lambda a, c, b: _mix(a, c, b)[::-1]),
        *(("Nearly: you rounded, or tried a grid of weights. Solve for w.",
           lambda a, c, b, d=d: _at(round(_mix(a, c, b)[0], d), a, c, b)) for d in (2, 3)),
        ("The weight is right; the error lacks the second source.", lambda a, c, b: (w := _mix(a, c, b)[0], w * w * a)),
        ("The weight is right; the error is that of two sources without a bias.",
         lambda a, c, b: (_mix(a, c, b)[0], a * c / (a + c))),
        ("The weight is right; the error lacks the bias.",
         lambda a, c, b: (w := _mix(a, c, b)[0], w * w * a + (1 - w) ** 2 * c)),
        *(("The weight is right; in the error, weights are squared.",
           lambda a, c, b, k=k: (w := _mix(a, c, b)[0], w * a + (1 - w) * (c + k * b * b))) for k in (0, 1)),
        ("The weight is right; the error is the root of the mean square: leave the root away.",
         lambda a, c, b: (_mix(a, c, b)[0], math.sqrt(_mix(a, c, b)[1]))),
        ("The weight is right; in the error the bias is weighted once and squared: ((1 - w) b)².",
         lambda a, c, b: (w := _mix(a, c, b)[0], w * w * a + (1 - w) ** 2 * c + (1 - w) * b * b)),
    ),
)

reweighting_price = Exercise(
    "reweighting-price", NOTEBOOK, "what weights cost", *(2, 4, 4),
    "Of 1,000 labels, 900 come from group A and 100 from group B. Those who will use the model are half A, half B, so "
    "each label is weighted by its group's share of users over its share of labels. How many evenly weighted labels "
    "are they worth, by $\\left(\\sum w\\right)^2/\\sum w^2$? Put the number into `prediction_effective`.",
    ("What are the two weights? One is below 1.",
     "0.5/0.9 for 900 labels, 0.5/0.1 = 5 for 100 labels.",
     "(900 * 0.5/0.9 + 100 * 5)**2 / (900 * (0.5/0.9)**2 + 100 * 25)"),
    "right: two thirds of the labels are gone, and nobody deleted one.",
    judge=number(
        360.0,
        (1000.0, "That is the number of labels, or the sum of the weights: weights that differ cost some."),
        (200.0, "That is what is left if you throw away all but 100 of A. Weighing keeps a little more."),
        (100.0, "Those are B's labels: A's count as well."),
        (500.0, "That is the sum of weights of one group."),
        (2777.8, "That is the sum of the squared weights: it belongs below the bar."),
        (2.7778, "That is by how much the labels shrink: divide 1,000 by it."),
        (640.0, "That is what is lost: what is left was asked for."),
        (36.0, "Those are per cent: give the number of labels."),
        (0.36, "That is the share that is left: times 1,000 labels."),
        (555.56, "You weighed A only."),
        (921.1, "You gave each group its share of labels as its weight: share of users over share of labels."),
        (1.0, "Weights that sum to 1 give the same number: 1 over the sum of their squares."),
        rtol=0.005,
    ),
)

EXERCISES = (
    predict_shared_bias, majority_tail, em_step, passing_score, reweighting_price, source_weight,
)
