"""Answers a learner might give in notebook 35."""

import math

import numpy as np
import torch
from torch.nn.functional import one_hot


def round_plain(lands, recall):
    p, n = lands.shape
    found = torch.zeros(n, n)
    for row in lands.tolist():
        for i, j in enumerate(row):
            found[i, j] += recall / p
    return found + (1 - recall) * torch.eye(n)


def round_stacked(lands, recall):
    kept = torch.stack([torch.eye(lands.shape[1])[row] for row in lands])
    return torch.lerp(torch.eye(lands.shape[1]), kept.mean(0), recall)


def left(one, both, recall, principles, revisions):
    a = (1 - recall / principles) ** revisions
    return one * a + both * (2 * a - (1 - 2 * recall / principles) ** revisions)


def left_chain(one, both, recall, principles, revisions):
    """Step by step: from two to one, from one to none."""
    q = recall / principles
    for _ in range(revisions):
        one, both = one * (1 - q) + both * 2 * q, both * (1 - 2 * q)
    return one + both


def label(first, second, temperature, confident):
    return ((second - first) / temperature).sigmoid().clamp(1 - confident, confident).mean(1)


def label_numpy(first, second, temperature, confident):
    p = 1 / (1 + np.exp((first - second).numpy() / temperature))
    return np.minimum(np.maximum(p, 1 - confident), confident).sum(1) / first.shape[1]


def law(tuned, helpful, harmless, weight, beta):
    return (tuned.log() + (helpful + weight * harmless) / beta).softmax(0)


def law_product(tuned, helpful, harmless, weight, beta):
    found = tuned * torch.exp(helpful / beta) * torch.exp(weight * harmless / beta)
    return found / found.sum()


def wins(p, q, score):
    return (p @ (score[:, None] - score).sigmoid() @ q).item()


def gap(law, other, score):
    return 400 * math.log10(wins(law, other, score) / (1 - wins(law, other, score)))


def gap_loop(law, other, score):
    won = torch.zeros(())
    for a, s in zip(law, score, strict=True):
        for b, t in zip(other, score, strict=True):
            won = won + a * b / (1 + torch.exp(t - s))
    return 400 / math.log(10) * torch.logit(won)


RIGHT = {
    "predict-harm-left": ["d", " D "],
    "revision-round": [round_plain, round_stacked],
    "harm-left": [left, left_chain],
    "mean-label": [label, label_numpy],
    "rl-cai-law": [law, law_product],
    "elo-gap": [gap, gap_loop],
    "predict-no-help": ["a", "A"],
}


def at_once(lands, recall):
    at = torch.arange(lands.shape[1])
    for row in lands:
        at = row[at]
    return recall * torch.eye(lands.shape[1])[at] + (1 - recall) * torch.eye(lands.shape[1])


def mean_first(first, second, temperature, confident):
    return ((second - first).mean(1) / temperature).sigmoid().clamp(1 - confident, confident)


WRONG = {
    "predict-harm-left": [
        ("one round of four", "a"),
        ("do not take turns", "b"),
        ("overlook the bad idea as well", "c"),
        ("one of the letters", "e"),
        ("one of the letters", 0.41),
    ],
    "revision-round": [
        ("Rows and columns", lambda x, q: round_plain(x, q).T),
        ("on the diagonal", lambda x, q: q * torch.eye(x.shape[1])[x].mean(0)),
        ("left out the recall", lambda x, q: torch.eye(x.shape[1])[x].mean(0)),
        ("all principles at once", at_once),
        (
            "take their mean",
            lambda x, q: q * torch.eye(x.shape[1])[x].sum(0) + (1 - q) * torch.eye(x.shape[1]),
        ),
        ("chance to *find*", lambda x, q: round_plain(x, 1 - q)),
        (
            "number of replies",
            lambda x, q: q * one_hot(x).sum(0) / x.shape[1] + (1 - q) * torch.eye(x.shape[1]),
        ),
        ("Only the first principle", lambda x, q: round_plain(x[:1], q)),
    ],
    "harm-left": [
        ("recall / principles", lambda o, b, q, p, k: (o + b) * (1 - q) ** k),
        ("divide the recall", lambda o, b, q, p, k: left(o, b, q, 1, k)),
        ("take longer than one", lambda o, b, q, p, k: (o + b) * (1 - q / p) ** k),
        ("independently", lambda o, b, q, p, k: o * (1 - q / p) ** k + b * (1 - (1 - (1 - q / p) ** k) ** 2)),
        ("counted twice", lambda o, b, q, p, k: (o + 2 * b) * (1 - q / p) ** k),
        ("one of them is harm enough", lambda o, b, q, p, k: o * (1 - q / p) ** k + b * (1 - 2 * q / p) ** k),
        ("two bad ideas are missing", lambda o, b, q, p, k: o * (1 - q / p) ** k),
        ("without harm", lambda o, b, q, p, k: o + b - left_chain(o, b, q, p, k)),
        ("Rounds multiply", lambda o, b, q, p, k: o * (1 - k * q / p) + b),
    ],
    "mean-label": [
        ("labels for the second", lambda a, b, t, c: 1 - label(a, b, t, c)),
        ("clamp each probability", lambda a, b, t, c: ((b - a) / t).sigmoid().mean(1).clamp(1 - c, c)),
        ("all principles at once", lambda a, b, t, c: ((b.sum(1) - a.sum(1)) / t).sigmoid().clamp(1 - c, c)),
        ("mean of the counts", mean_first),
        ("clamp is missing", lambda a, b, t, c: ((b - a) / t).sigmoid().mean(1)),
        ("multiplied by the temperature", lambda a, b, t, c: ((b - a) * t).sigmoid().clamp(1 - c, c).mean(1)),
        ("temperature is missing", lambda a, b, t, c: (b - a).sigmoid().clamp(1 - c, c).mean(1)),
        ("clamped above only", lambda a, b, t, c: ((b - a) / t).sigmoid().clamp(max=c).mean(1)),
        ("their mean", lambda a, b, t, c: label(a, b, t, c) * a.shape[1]),
        ("stay soft", lambda a, b, t, c: label(a, b, 1e-9, c)),
    ],
    "rl-cai-law": [
        ("start is missing", lambda s, a, h, w, b: ((a + w * h) / b).softmax(0)),
        ("multiplied by beta", lambda s, a, h, w, b: law(s, a, h, w, 1 / b)),
        ("beta is missing", lambda s, a, h, w, b: law(s, a, h, w, 1.0)),
        ("divides both", lambda s, a, h, w, b: law(s, a / b, h / b**0, w, 1.0)),
        ("divides both", lambda s, a, h, w, b: law(s, a, h / b, w, 1.0)),
        ("wrong reward", lambda s, a, h, w, b: law(s, h, a, w, b)),
        ("no 1 - weight", lambda s, a, h, w, b: law(s, (1 - w) * a, h, w, b)),
        ("weight is missing", lambda s, a, h, w, b: law(s, a, h, 1.0, b)),
        ("help term is missing", lambda s, a, h, w, b: law(s, 0 * a, h, w, b)),
        ("add it", lambda s, a, h, w, b: law(s, a, h, -w, b)),
        ("sum to 1", lambda s, a, h, w, b: s * torch.exp((a + w * h) / b)),
        ("not tuned", lambda s, a, h, w, b: (s + (a + w * h) / b).softmax(0)),
    ],
    "elo-gap": [
        ("mean scores", lambda p, q, s: 400 / math.log(10) * (p @ s - q @ s)),
        ("natural logarithm", lambda p, q, s: 400 * math.log(wins(p, q, s) / (1 - wins(p, q, s)))),
        ("share of wins: turn", wins),
        ("the odds are", lambda p, q, s: 400 * math.log10(wins(p, q, s))),
        ("sign is flipped", lambda p, q, s: gap(q, p, s)),
        ("does not always win", lambda p, q, s: 400 * torch.log10(hard(p, q, s) / (1 - hard(p, q, s)))),
        ("same law", lambda p, q, s: gap(p, p, s)),
        ("factor 400", lambda p, q, s: gap(p, q, s) / 400),
    ],
    "predict-no-help": [
        ("outweighs it", "b"),
        ("third principle", "c"),
        ("punish most", "d"),
        ("one of the letters", "evasive"),
        ("one of the letters", 0.82),
    ],
}


def hard(p, q, s):
    return p @ ((s[:, None] > s).double() + 0.5 * (s[:, None] == s).double()) @ q
