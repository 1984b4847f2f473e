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


def split_far(chosen, rejected):
    """All outcomes at least as far from the middle."""
    n, off = chosen + rejected, abs(chosen - rejected)
    return sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= off) / 2**n


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


def found_walk(chances, rate):
    """From the largest chance down to the first one below its line."""
    order, n = chances.argsort().tolist(), len(chances)
    for i in range(n, 0, -1):
        if chances[order[i - 1]] <= rate * i / n:
            return [float(k in order[:i]) for k in range(n)]
    return [0.0] * n


def in_order(chances, rate, line, *, through):
    """1 for the ranks up to the last one at or below ``line`` (``through`` failures), or to the first failure."""
    order, kept = chances.argsort(), torch.zeros_like(chances)
    ok = (chances[order] <= rate * line).tolist()
    last = max((i for i, x in enumerate(ok) if x), default=-1) + 1 if through else [*ok, False].index(False)
    kept[order[:last]] = 1.0
    return kept


def largest(chances, chosen):
    return max(chances[chosen.bool()].tolist(), default=-1.0)


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
    "split-chance": [split, split_scipy, split_far],
    "false-discoveries": [found, found_scipy, found_walk],
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
        ("share of the smaller side", lambda c, r: min(c, r) / (c + r)),
        ("always the chosen one", lambda c, r: float(binomtest(c, c + r, alternative="greater").pvalue)),
        ("always the rejected one", lambda c, r: float(binomtest(c, c + r, alternative="less").pvalue)),
        ("began at the rejected side", lambda c, r: min(1.0, 2 * tail(r, c + r))),
        ("*larger* count", lambda c, r: float(binom.cdf(max(c, r), c + r, 0.5))),
        ("*larger* count", lambda c, r: min(1.0, 2 * float(binom.cdf(max(c, r), c + r, 0.5)))),
        ("numbers of ways", lambda c, r: 2 * sum(math.comb(c + r, i) for i in range(min(c, r) + 1))),
        ("mid-p", lambda c, r: 2 * tail(min(c, r), c + r) - math.comb(c + r, c) / 2 ** (c + r)),
        ("normal approximation", lambda c, r: math.erfc(max(abs(c - r) - 1, 0) / (2 * (c + r)) ** 0.5)),
        ("standard deviations", lambda c, r: (c - (c + r) / 2) / (0.25 * (c + r)) ** 0.5),
        ("*all* pairs", lambda c, r: 2 * 0.5 ** (c + r)),
        ("verdict", lambda c, r: split(c, r) < 0.05),
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
        ("nothing but zeros", lambda p, q: torch.zeros_like(p)),
        ("adjusted chances", lambda p, q: torch.tensor(false_discovery_control(p.numpy()))),
        ("sort them first", lambda p, q: p <= q * torch.arange(1, len(p) + 1) / len(p)),
        ("argsort of the argsort", lambda p, q: p <= largest(p, p <= q * (p.argsort() + 1) / len(p))),
        ("is missing", lambda p, q: p < largest(p, found(p, q))),
        ("sorted order", lambda p, q: p.sort().values <= q * torch.arange(1, len(p) + 1) / len(p)),
        ("Holm's", lambda p, q: in_order(p, q, 1 / torch.arange(len(p), 0, -1), through=False)),
        ("Hochberg's line", lambda p, q: in_order(p, q, 1 / torch.arange(len(p), 0, -1), through=True)),
        ("Yekutieli", lambda p, q: torch.tensor(false_discovery_control(p.numpy(), method="by")) <= q),
    ],
    "twice-as-long": [
        ("number of doublings, log2(times).", lambda s, t: math.log(s / (1 - s))),
        ("One kind of logarithm", lambda s, t: math.log(s / (1 - s)) / math.log(t)),
        ("One kind of logarithm", lambda s, t: math.log2(s / (1 - s)) / math.log2(t)),
        ("not by `times`", lambda s, t: math.log(s / (1 - s)) / t),
        ("two* doublings", lambda s, t: math.log(s / (1 - s)) * math.log2(t)),
        ("share alone", lambda s, t: math.log(s) / math.log2(t)),
        ("no log-odds", lambda s, t: (s - 0.5) / math.log2(t)),
        ("These are odds", lambda s, t: s / (1 - s) / math.log2(t)),
        ("base 10", lambda s, t: math.log10(s / (1 - s)) / math.log2(t)),
        ("half the length", lambda s, t: -twice(s, t)),
        ("size alone", lambda s, t: abs(math.log(s / (1 - s))) / math.log2(t)),
        ("`times` - 1", lambda s, t: math.log(s / (1 - s)) / (t - 1)),
        ("adds 1", lambda s, t: math.log(s / (1 - s)) / math.log2(t + 1)),
        ("Upside down", lambda s, t: math.log2(t) / math.log(s / (1 - s))),
        ("quotient of the two", lambda s, t: math.log(s) / math.log(1 - s) / math.log2(t)),
        ("no log-odds", lambda s, t: (s - (1 - s)) / math.log2(t)),
        ("inverse is needed", lambda s, t: 1 / (1 + math.exp(-s)) / math.log2(t)),
        ("*multiplies* the number", lambda s, t: math.log(s / (1 - s) / t)),
        ("*multiplies* their number", lambda s, t: math.log(s / (1 - s)) - math.log2(t)),
        ("not by log10", lambda s, t: math.log(s / (1 - s)) / math.log10(t)),
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
