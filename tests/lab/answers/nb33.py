"""Answers a learner might give in notebook 33."""

import math

import torch


def gaps_of(rewards):
    return rewards[:, :, None] - rewards[:, None, :]


def mixed(rewards, share):
    return (share[:, None, None] * gaps_of(rewards).sigmoid()).sum(0)


def mixed_loop(rewards, share):
    n = rewards.shape[1]
    found = torch.zeros(n, n, dtype=rewards.dtype)
    for r, a in zip(rewards, share, strict=True):
        strength = (r - r.max()).exp()
        found += a * strength[:, None] / (strength[:, None] + strength)
    return found


def mixed_tanh(rewards, share):
    return (1 + torch.tensordot(share, (gaps_of(rewards) / 2).tanh(), 1)) / 2


def sigma(x):
    return 1 / (1 + math.exp(-x))


def deciding(gap, other_gap):
    return (0.5 - sigma(other_gap)) / (sigma(gap) - sigma(other_gap))


def deciding_tanh(gap, other_gap):
    mine, theirs = math.tanh(gap / 2), -math.tanh(other_gap / 2)
    return theirs / (mine + theirs)


def even(one, own, other):
    return (own - one) / (own - other)


def even_bisected(one, own, other):
    low, high = 0.0, 1.0
    for _ in range(60):
        e = (low + high) / 2
        low, high = (e, high) if (1 - e) * own + e * other > one else (low, e)
    return low


def odds(preference):
    return torch.log(preference) - torch.log(1 - preference)


def leftover(preference):
    scores = odds(preference).mean(dim=1)
    return odds(preference) - scores[:, None] + scores[None, :]


def leftover_fit(preference):
    n = len(preference)
    i, j = torch.triu_indices(n, n, 1)
    rows = torch.arange(len(i))
    design = torch.zeros(len(i), n, dtype=preference.dtype)
    design[rows, i], design[rows, j] = 1.0, -1.0
    scores = torch.linalg.pinv(design) @ preference.logit()[i, j]
    return preference.logit() - (scores[:, None] - scores)


RIGHT = {
    "predict-one-gap": ["b", "B"],
    "mixed-share": [mixed, mixed_loop, mixed_tanh],
    "deciding-share": [deciding, deciding_tanh],
    "break-even": [even, even_bisected],
    "predict-circle": ["c", " C"],
    "cyclic-residual": [leftover, leftover_fit],
}

WRONG = {
    "predict-one-gap": [
        ("averages shares, not gaps", "a"),
        ("no more labels", "c"),
        ("more than half", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.45),
    ],
    "mixed-share": [
        ("averaged the rewards", lambda r, a: torch.sigmoid((a @ r)[:, None] - a @ r)),
        ("count alike", lambda r, a: gaps_of(r).sigmoid().mean(0)),
        ("without weights", lambda r, a: gaps_of(r).sigmoid().sum(0)),
        ("Turned around", lambda r, a: mixed(-r, a)),
        ("sigmoid is missing", lambda r, a: (a[:, None, None] * gaps_of(r)).sum(0)),
        ("voted as a block", lambda r, a: torch.einsum("g,gij->ij", a, gaps_of(r).sign() / 2 + 0.5)),
        ("strengths", lambda r, a: (e := a @ r.exp())[:, None] / (e[:, None] + e)),
        ("largest group decides", lambda r, a: gaps_of(r)[a.argmax()].sigmoid()),
        ("Wrong shape", lambda r, a: gaps_of(r).sigmoid()),
        ("Only the first group", lambda r, a: gaps_of(r[:1])[0].sigmoid()),
        ("Only the last group", lambda r, a: gaps_of(r)[-1].sigmoid()),
        ("already weighed", lambda r, a: (a[:, None, None] * gaps_of(r).sigmoid()).mean(0)),
        ("no softmax", lambda r, a: mixed(r, torch.softmax(a, 0))),
        ("log-odds: how *often*", lambda r, a: torch.logit(mixed(r, a))),
        ("has the majority", lambda r, a: mixed(r, a).gt(0.5).double()),
        ("lie in one heap", lambda r, a: (gaps_of(r).sigmoid() ** a[:, None, None]).prod(0)),
        ("best of all n", lambda r, a: (s := a @ r.softmax(-1))[:, None] / (s + s[:, None])),
        ("below the diagonal", lambda r, a: torch.triu(mixed(r, a))),
        ("diagonal is missing", lambda r, a: mixed(r, a) * (1 - torch.eye(r.shape[1]))),
    ],
    "deciding-share": [
        ("equally strongly", lambda x, y: 0.5),
        ("mean reward", lambda x, y: y / (y - x)),
        ("other group: 1 minus", lambda x, y: (sigma(x) - 0.5) / (sigma(x) - sigma(y))),
        ("now and then as well", lambda x, y: 1 / (2 * sigma(x))),
        ("A minus is lost", lambda x, y: (0.5 - sigma(y)) / (sigma(x) + sigma(y))),
        ("divide by what one share", lambda x, y: 0.5 - sigma(y)),
        ("label as much", lambda x, y: 0.5 * sigma(x) + 0.5 * sigma(y)),
        ("second one has 1 - a", lambda x, y: 1 / (2 * (sigma(x) + sigma(y)))),
        ("missing above the bar", lambda x, y: sigma(y) / (sigma(y) - sigma(x))),
        ("make a share of it", lambda x, y: (1 - 2 * sigma(y)) / (2 * sigma(x) - 1)),
        ("outside of sigma", lambda x, y: 1 - sigma(x + y)),
        ("outside of sigma", lambda x, y: 1 - sigma((x + y) / 2)),
        ("gaps are compared", lambda x, y: x / abs(y)),
        ("gaps are compared", lambda x, y: x / (x + abs(y))),
        ("shared out", lambda x, y: sigma(y) / (sigma(x) + sigma(y))),
    ],
    "break-even": [
        ("served *right*", lambda one, own, other: (one - other) / (own - other)),
        ("has no zero", lambda one, own, other: 1 - one / own),
        ("falls from `own`", lambda one, own, other: (own - one) / (one - other)),
        ("gains", lambda one, own, other: own - one),
        ("One half", lambda one, own, other: 0.5),
        ("Upside down", lambda one, own, other: (own - other) / (own - one)),
        ("sign is flipped", lambda one, own, other: (one - own) / (own - other)),
        ("A minus is lost", lambda one, own, other: (own - one) / (own + other)),
        ("Brackets are missing", lambda one, own, other: (own - one) / own - other),
        ("divided by `one`", lambda one, own, other: own / one - 1),
        ("ratio of two values", lambda one, own, other: one / own),
        ("for each one who is served wrong", lambda one, own, other: (one - other) / (own - one)),
        ("worth 0", lambda one, own, other: own / (own - other)),
    ],
    "predict-circle": [
        ("nearly undecided", "a"),
        ("two groups are enough", "b"),
        ("a sum has an order", "d"),
        ("one of the letters", "e"),
        ("one of the letters", True),
    ],
    "cyclic-residual": [
        ("all the log-odds", odds),
        ("*do* explain", lambda p: odds(p) - leftover(p)),
        ("row only", lambda p: odds(p) - odds(p).mean(1)[:, None]),
        ("wrong sign", lambda p: odds(p) + odds(p).mean(1)[:, None] - odds(p).mean(1)),
        ("not its sum", lambda p: odds(p) - odds(p).sum(1)[:, None] + odds(p).sum(1)),
        (
            "not even Bradley-Terry",
            lambda p: odds(p) - (s := odds(p).sum(1) / (len(p) - 1))[:, None] + s,
        ),
        ("log-odds first", lambda p: p - p.mean(1)[:, None] + p.mean(1)),
        ("remainder in log-odds", lambda p: p - ((s := odds(p).mean(1))[:, None] - s).sigmoid()),
        ("sign is flipped", lambda p: -leftover(p)),
        ("log-odds first", lambda p: p - 0.5 - (s := (p - 0.5).mean(1))[:, None] + s),
        ("of the mean share", lambda p: odds(p) - (s := odds(p.mean(1)))[:, None] + s),
        ("the column's score only", lambda p: odds(p) - odds(p).mean(0, keepdim=True)),
        ("took off both", lambda p: odds(p) - (s := odds(p).mean(1))[:, None] - s),
        ("along the columns", lambda p: odds(p) - (s := odds(p).mean(1)) - s),
        ("is halved", lambda p: odds(p) - ((s := odds(p).mean(1))[:, None] - s) / 2),
        ("remainder in log-odds", lambda p: leftover(p).sigmoid()),
        ("These are sizes", lambda p: leftover(p).square().sqrt()),
        ("base 2", lambda p: (b := odds(p).double() / math.log(2)) - b.mean(1)[:, None] + b.mean(1)),
        ("below the diagonal", lambda p: torch.triu(leftover(p))),
        ("These are the scores", lambda p: odds(p).mean(1)),
    ],
}
