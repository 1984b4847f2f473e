"""Answers a learner might give in notebook 36."""

import math

import torch
from scipy.stats import binom, binomtest, false_discovery_control


def tail(k, n):
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def split(chosen, rejected):
    return min(1.0, 2 * tail(min(chosen, rejected), chosen + rejected))


def split_scipy(chosen, rejected):
    return binomtest(chosen, chosen + rejected).pvalue


def found(chances, rate):
    order = chances.sort().values
    ok = order <= rate * torch.arange(1, len(order) + 1) / len(order)
    return chances <= order[ok].max() if ok.any() else torch.zeros_like(chances)


def found_scipy(chances, rate):
    return torch.tensor(false_discovery_control(chances.numpy()) <= rate + 1e-12).double()


def rank(chances):
    return chances.argsort().argsort() + 1


def twice(share, times):
    return math.log(share / (1 - share)) / math.log2(times)


def twice_tensor(share, times):
    return torch.tensor(share).double().logit() * math.log(2) / math.log(times)


def first_failure(chances, rate):
    kept = torch.zeros_like(chances)
    for i, k in enumerate(chances.argsort().tolist(), 1):
        if chances[k] > rate * i / len(chances):
            break
        kept[k] = 1.0
    return kept


def from_zero(chances, rate):
    limit = -1.0
    for i, chance in enumerate(chances.sort().values.tolist()):
        limit = chance if chance <= rate * i / len(chances) else limit
    return (chances <= limit).double()


RIGHT = {
    "split-chance": [split, split_scipy],
    "false-discoveries": [found, found_scipy],
    "twice-as-long": [twice, twice_tensor],
    "predict-faultless": ["b", " B"],
    "predict-folds": ["b", "B "],
}

WRONG = {
    "split-chance": [
        ("One side only", lambda c, r: float(binom.cdf(min(c, r), c + r, 0.5))),
        ("Not capped", lambda c, r: 2 * tail(min(c, r), c + r)),
        ("exactly this split", lambda c, r: float(binom.pmf(c, c + r, 0.5))),
        ("smaller count", lambda c, r: min(1.0, 2 * float(binom.cdf(c, c + r, 0.5)))),
        ("left out the split itself", lambda c, r: min(1.0, 2 * tail(min(c, r) - 1, c + r))),
        ("less* uneven", lambda c, r: 1 - split(c, r)),
        ("normal approximation", lambda c, r: math.erfc(abs(c - r) / (c + r) ** 0.5 / 2**0.5)),
        ("how surprising", lambda c, r: c / (c + r)),
    ],
    "false-discoveries": [
        ("No correction", lambda p, q: (p <= q).double()),
        ("Bonferroni", lambda p, q: (p * len(p) <= q).double()),
        ("stopped at the first", first_failure),
        ("below their own line", lambda p, q: (p <= q * rank(p) / len(p)).double()),
        ("sorted order", lambda p, q: found(p.sort().values, q)),
        ("Turned around", lambda p, q: 1 - found(p, q).double()),
        ("counted from 1", from_zero),
        ("compare them with the rate", lambda p, q: p * len(p) / rank(p)),
        ("You reduced the result", lambda p, q: found(p, q).double().sum()),
    ],
    "twice-as-long": [
        ("number of doublings, log2(times).", lambda s, t: math.log(s / (1 - s))),
        ("factors of e", lambda s, t: math.log(s / (1 - s)) / math.log(t)),
        ("not by `times`", lambda s, t: math.log(s / (1 - s)) / t),
        ("two* doublings", lambda s, t: math.log(s / (1 - s)) * math.log2(t)),
        ("share alone", lambda s, t: math.log(s) / math.log2(t)),
        ("no log-odds", lambda s, t: (s - 0.5) / math.log2(t)),
        ("These are odds", lambda s, t: s / (1 - s) / math.log2(t)),
        ("base 10", lambda s, t: math.log10(s / (1 - s)) / math.log2(t)),
        ("half the length", lambda s, t: -twice(s, t)),
    ],
    "predict-faultless": [
        ("topics take words", "a"),
        ("taken for a reason", "c"),
        ("punishes length", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.5),
    ],
    "predict-folds": [
        ("its words are known", "a"),
        ("A new prompt has none", "c"),
        ("other way round", "d"),
        ("one of the letters", "f"),
        ("one of the letters", True),
    ],
}
