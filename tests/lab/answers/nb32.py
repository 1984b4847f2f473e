"""Answers a learner might give in notebook 32."""

import math

import numpy as np
import torch
from scipy.stats import binom, norm


def tail_loop(accuracy, n):
    total = 0.0
    for k in range(n + 1):
        if 2 * k > n:
            total += math.comb(n, k) * accuracy**k * (1 - accuracy) ** (n - k)
    return total


def tail_scipy(accuracy, n):
    return float(binom.sf(n // 2, n, accuracy))


def weighted_logit(label, accuracy):
    return torch.sigmoid((2 * label - 1) @ torch.logit(accuracy))


def weighted_bayes(label, accuracy):
    first = torch.where(label == 1, accuracy, 1 - accuracy).prod(1)
    second = torch.where(label == 1, 1 - accuracy, accuracy).prod(1)
    return first / (first + second)


def em_matrix(label, prob):
    p = (prob @ label + (1 - prob) @ (1 - label)) / len(label)
    return p, weighted_logit(label, p)


def em_slow(label, prob):
    p = [(prob * y + (1 - prob) * (1 - y)).mean() for y in label.T]
    p = torch.stack(p)
    return p, weighted_bayes(label, p)


def em_distance(label, prob):
    p = 1 - (label - prob[:, None]).abs().mean(0)
    odds = torch.prod((p / (1 - p)) ** (2 * label - 1), 1)
    return p, odds / (1 + odds)


def em_with(weigh=weighted_logit, trust=lambda y, q: em_matrix(y, q)[0]):
    return lambda y, q: (p := trust(y, q), weigh(y, p))


def passing_scipy(n, accuracy, alarm):
    return int(max(c for c in range(n + 1) if binom.cdf(c - 1, n, accuracy) <= alarm))


def passing_quantile(n, accuracy, alarm):
    return int(binom.ppf(alarm, n, accuracy))


def bell(n, accuracy, alarm):
    return n * accuracy + norm.ppf(alarm) * math.sqrt(n * accuracy * (1 - accuracy))


def passing_loop(n, accuracy, alarm):
    c, below = 0, (1 - accuracy) ** n
    while c < n and below <= alarm:
        c += 1
        below += math.comb(n, c) * accuracy**c * (1 - accuracy) ** (n - c)
    return c


def mix(v1, v2, bias):
    off = v2 + bias**2
    w = off / (v1 + off)
    return w, w**2 * v1 + (1 - w) ** 2 * off


def mix_short(v1, v2, bias):
    w = 1 - v1 / (v1 + v2 + bias * bias)
    return [w, np.float64(w * v1)]  # at the best weight the error is w v1


def mix_harmonic(v1, v2, bias):
    sure, doubt = 1 / v1, 1 / (v2 + bias**2)
    return sure / (sure + doubt), 1 / (sure + doubt)


def mix_at(w, v1, v2, bias):
    return w, w**2 * v1 + (1 - w) ** 2 * (v2 + bias**2)


RIGHT = {
    "predict-shared-bias": ["b", "B"],
    "majority-tail": [tail_loop, tail_scipy],
    "em-step": [em_matrix, em_slow, em_distance],
    "passing-score": [passing_scipy, passing_loop, passing_quantile],
    "reweighting-price": [360, 1e6 / 2777.7778],
    "source-weight": [mix, mix_short, mix_harmonic],
}

WRONG = {
    "predict-shared-bias": [
        ("chance errors cancel", "a"),
        ("does change the errors by chance", "c"),
        ("rises by more", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.75),
    ],
    "majority-tail": [
        ("*all* are right", lambda p, n: p**n),
        ("*somebody*", lambda p, n: 1 - (1 - p) ** n),
        ("barest majority", lambda p, n: binom.pmf((n + 1) // 2, n, p)),
        ("number of ways", lambda p, n: sum(p**k * (1 - p) ** (n - k) for k in range((n + 1) // 2, n + 1))),
        ("the other side", lambda p, n: binom.cdf(n // 2, n, p)),
        ("too late", lambda p, n: binom.sf(n // 2 + 1, n, p)),
        ("too early", lambda p, n: binom.sf(n // 2 - 1, n, p)),
        ("single rater", lambda p, n: p),
        ("All n may be right", lambda p, n: sum(binom.pmf(k, n, p) for k in range(n // 2 + 1, n))),
        (
            "others must be wrong",
            lambda p, n: sum(math.comb(n, k) * p**k for k in range((n + 1) // 2, n + 1)),
        ),
        ("whom you *name*", lambda p, n: p ** ((n + 1) / 2)),
    ],
    "em-step": [
        ("decided each question", lambda y, q: em_matrix(y, q.round())),
        ("second are missing", em_with(trust=lambda y, q: (q[:, None] * y).mean(0))),
        ("hits only", em_with(trust=lambda y, q: (q @ y) / q.sum())),
        ("how often each says first", em_with(trust=lambda y, q: y.mean(0))),
        ("you summed the right answers".capitalize(), lambda y, q: (em_matrix(y, q)[0] * len(y), q)),
        ("how often each is wrong", em_with(trust=lambda y, q: 1 - em_matrix(y, q)[0])),
        ("forgets whom to trust", em_with(lambda y, p: y.mean(1))),
        ("by the accuracy", em_with(lambda y, p: ((2 * y - 1) @ p).sigmoid())),
        ("by log p", em_with(lambda y, p: ((2 * y - 1) @ p.log()).sigmoid())),
        ("by p - 1/2", em_with(lambda y, p: ((2 * y - 1) @ (p - 0.5)).sigmoid())),
        ("by half of", em_with(lambda y, p: ((y - 0.5) @ p.logit()).sigmoid())),
        ("invented answers", em_with(trust=lambda y, q: (q @ y + (1 - q) @ (1 - y) + 1) / (len(y) + 2))),
        ("not normalised", em_with(lambda y, p: torch.where(y == 1, p, 1 - p).prod(1))),
        (
            "share of the first be the prior",
            lambda y, q: (
                p := em_matrix(y, q)[0],
                (q.mean().logit() + (2 * y - 1) @ p.logit()).sigmoid(),
            ),
        ),
        ("must count against", em_with(lambda y, p: (y @ p.logit()).sigmoid())),
        ("mostly wrong", em_with(lambda y, p: ((2 * y - 1) @ p.logit().abs()).sigmoid())),
        (
            "old belief once more",
            lambda y, q: (
                p := em_matrix(y, q)[0],
                (q.logit() + (2 * y - 1) @ p.logit()).sigmoid(),
            ),
        ),
        ("sign of the E step", em_with(lambda y, p: 1 - weighted_bayes(y, p))),
        ("E step is missing", lambda y, q: (em_matrix(y, q)[0], q)),
        ("as a tuple", lambda y, q: em_matrix(y, q)[0]),
    ],
    "passing-score": [
        ("One too low", lambda n, p, a: max(0, passing_scipy(n, p, a) - 1)),
        ("One too high", lambda n, p, a: next(c for c in range(n + 2) if binom.cdf(c - 1, n, p) > a)),
        ("bell curve", lambda n, p, a: max(0, int(n * p - 2.326 * (n * p * (1 - p)) ** 0.5))),
        ("bell curve", lambda n, p, a: max(0, math.floor(bell(n, p, a)))),
        ("bell curve", lambda n, p, a: max(0, math.ceil(bell(n, p, a)))),
        ("bell curve", lambda n, p, a: max(0, round(bell(n, p, a)))),
        ("a share", lambda n, p, a: passing_scipy(n, p, a) / n),
        ("More than half", lambda n, p, a: (n + 2) // 2),
        ("on average", lambda n, p, a: int(n * p)),
        ("on average", lambda n, p, a: round(n * p)),
        ("both ends", lambda n, p, a: passing_scipy(n, p, a / 2)),
        ("what a coin gets", lambda n, p, a: passing_scipy(n, 0.5, a)),
        ("wrong answers", lambda n, p, a: n - passing_scipy(n, p, a)),
        ("throughout", lambda n, p, a: passing_scipy(n, p, 0.01)),
        ("not 1 - alarm", lambda n, p, a: passing_scipy(n, p, 1 - a)),
    ],
    "reweighting-price": [
        ("number of labels", 1000),
        ("throw away", 200),
        ("B's labels", 100),
        ("squared weights", 2777.8),
        ("divide 1,000", 2.78),
        ("share that is left", 0.36),
        ("per cent", 36),
        ("what is lost", 640),
        ("weights that sum to 1".capitalize(), 1.0),
        ("too large", 400),
    ],
    "source-weight": [
        ("bias is missing", lambda a, c, b: mix(a, c, 0)),
        ("enters squared: a", lambda a, c, b: mix_at((c + b) / (a + c + b), a, c, b)),
        ("not as its size", lambda a, c, b: mix_at((c + abs(b)) / (a + c + abs(b)), a, c, b)),
        ("of the second source", lambda a, c, b: mix_at(a / (a + c + b * b), a, c, b)),
        (
            "standard deviations",
            lambda a, c, b: mix_at((c + b * b) ** 0.5 / (a**0.5 + (c + b * b) ** 0.5), a, c, b),
        ),
        ("sum below", lambda a, c, b: mix_at((c + b * b) / (a + c), a, c, b)),
        ("better of the two", lambda a, c, b: mix_at(1.0 if a < c + b * b else 0.0, a, c, b)),
        ("mean of both", lambda a, c, b: mix_at(0.5, a, c, b)),
        ("lacks the bias", lambda a, c, b: (w := mix(a, c, b)[0], w * w * a + (1 - w) ** 2 * c)),
        ("weights are squared", lambda a, c, b: (w := mix(a, c, b)[0], w * a + (1 - w) * (c + b * b))),
        ("wrong order", lambda a, c, b: mix(a, c, b)[::-1]),
        (
            "grid of weights",
            lambda a, c, b: min((mix_at(k / 1000, a, c, b) for k in range(1001)), key=lambda m: m[1]),
        ),
        ("grid of weights", lambda a, c, b: mix_at(round(mix(a, c, b)[0], 2), a, c, b)),
        ("weights are squared", lambda a, c, b: (w := mix(a, c, b)[0], w * a + (1 - w) * c)),
        ("lacks the second", lambda a, c, b: (mix(a, c, b)[0], mix(a, c, b)[0] ** 2 * a)),
        ("without a bias", lambda a, c, b: (mix(a, c, b)[0], 1 / (1 / a + 1 / c))),
        ("root", lambda a, c, b: (mix(a, c, b)[0], mix(a, c, b)[1] ** 0.5)),
    ],
}
