"""Answers a learner might give in notebook 34."""

import numpy as np
import torch


def swap_plain(there, back):
    return (torch.sigmoid(there) + torch.sigmoid(-back)) / 2, torch.sigmoid((there - back) / 2)


def swap_odds(there, back):
    """By probabilities of the loser, and by the geometric mean of the odds."""
    odds = (there.exp() / back.exp()).sqrt()
    return 0.5 * (1 / (1 + (-there).exp()) + 1 - 1 / (1 + (-back).exp())), odds / (1 + odds)


def mark_steps(logp):
    share = logp.exp() / logp.exp().sum(1, keepdim=True)
    n = logp.shape[1]
    mean = (share * torch.arange(1, n + 1)).sum(1)
    return 2 * (mean - 1) / (n - 1) - 1


def mark_numpy(logp):
    n = logp.shape[1]
    return [sum(np.exp(row) * np.linspace(-1, 1, n)) / sum(np.exp(row)) for row in logp.numpy()]


def crossing(human_cost, human_variance, ai_cost, ai_variance, bias):
    return (human_cost * human_variance - ai_cost * ai_variance) / bias**2


def crossing_bisect(human_cost, human_variance, ai_cost, ai_variance, bias):
    low, high = 1e-9, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        people = human_variance / (middle / human_cost)
        machine = ai_variance / (middle / ai_cost) + bias**2
        low, high = (middle, high) if people > machine else (low, middle)
    return low


def scale(logp):
    return torch.linspace(-1, 1, logp.shape[1], dtype=logp.dtype)


def places(logp):
    return torch.arange(1, logp.shape[1] + 1, dtype=logp.dtype)


RIGHT = {
    "predict-swap": ["b", " B "],
    "swap-labels": [swap_plain, swap_odds],
    "expected-mark": [mark_steps, mark_numpy],
    "crossing-budget": [crossing, crossing_bisect],
}

WRONG = {
    "predict-swap": [
        ("curve to be straight", "a"),
        ("the opinion shows", "c"),
        ("contradict each other", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.523),
    ],
    "swap-labels": [
        ("turn it round, sigma", lambda a, b: (torch.stack([a, b]).sigmoid().mean(0), swap_plain(a, b)[1])),
        ("turn it round, -back", lambda a, b: (swap_plain(a, b)[0], torch.stack([a, b]).mean(0).sigmoid())),
        ("turn it round", lambda a, b: (0.5 * (a.sigmoid() + b.sigmoid()), (0.5 * (a + b)).sigmoid())),
        ("divide by 2", lambda a, b: (swap_plain(a, b)[0], (a - b).sigmoid())),
        ("still in log-odds", lambda a, b: (swap_plain(a, b)[0], (a - b) / 2)),
        ("wrong way round", lambda a, b: tuple(reversed(swap_plain(a, b)))),
        ("wrong way round", lambda a, b: 2 * (swap_plain(a, b)[0],)),
        ("wrong way round", lambda a, b: 2 * (swap_plain(a, b)[1],)),
        ("labels for B", lambda a, b: tuple(1 - each for each in swap_plain(a, b))),
        ("one order only", lambda a, b: (a.sigmoid(), a.sigmoid())),
        ("one order only", lambda a, b: 2 * (torch.sigmoid(-b),)),
        ("probabilities are added", lambda a, b: (a.sigmoid() + (-b).sigmoid(), swap_plain(a, b)[1])),
        ("becomes 1 - p", lambda a, b: ((a.sigmoid() - b.sigmoid()) / 2, swap_plain(a, b)[1])),
        ("by a minus sign", lambda a, b: ((a.sigmoid() + (1 - b).sigmoid()) / 2, swap_plain(a, b)[1])),
        ("by a minus sign", lambda a, b: (swap_plain(a, b)[0], ((a + (1 - b)) / 2).sigmoid())),
        ("leave the threshold", lambda a, b: tuple((x > 0.5).float() for x in swap_plain(a, b))),
        ("averaged log p", lambda a, b: (swap_plain(a, b)[0], (a.sigmoid() * (-b).sigmoid()) ** 0.5)),
        ("These are still log-odds", lambda a, b: 2 * ((a - b) / 2,)),
        ("halve the log-odds", lambda a, b: (swap_plain(a, b)[0], 0.5 * torch.sigmoid(a - b))),
        ("sigma runs twice", lambda a, b: (swap_plain(a, b)[0], swap_plain(a, b)[0].sigmoid())),
    ],
    "expected-mark": [
        ("likeliest mark", lambda x: 2 * x.argmax(1) / (x.shape[1] - 1) - 1),
        ("number of the likeliest", lambda x: x.argmax(-1).double()),
        ("number of the likeliest", lambda x: x.argmax(-1) + 1.0),
        ("do not add up to 1", lambda x: x.exp() @ scale(x)),
        ("this is the mean mark".capitalize(), lambda x: (x.softmax(1) * places(x)).sum(1)),
        ("from 0 to 1", lambda x: ((x.softmax(1) @ places(x)) - 1) / (x.shape[1] - 1)),
        ("began at mark 1", lambda x: 2 * (x.softmax(1) @ places(x)) / (x.shape[1] - 1) - 1),
        ("n - 1 steps", lambda x: 2 * (x.softmax(1) @ places(x) - 1) / x.shape[1] - 1),
        ("upside down", lambda x: x.softmax(1).flip(1) @ scale(x)),
        ("needs probabilities", lambda x: x @ scale(x)),
        ("over the answers", lambda x: x.softmax(0) @ scale(x)),
        ("median mark", lambda x: scale(x)[(x.softmax(-1).cumsum(-1) < 0.5).sum(-1)]),
        ("counted from 0", lambda x: (x.softmax(1) * torch.arange(x.shape[1])).sum(1)),
        ("far the mean mark is from the middle", lambda x: x.softmax(1) @ (places(x) - places(x).mean())),
        ("n - 1 steps", lambda x: (x.softmax(1) @ places(x)) / x.shape[1]),
        ("n - 1 steps", lambda x: 2 * (x.softmax(1) @ places(x)) / x.shape[1] - 1),
        ("n - 1 steps", lambda x: x.softmax(1) @ (places(x) - places(x).mean()) / x.shape[1]),
        ("from 0 to 2", lambda x: 2 * (x.softmax(1) @ places(x) - 1) / (x.shape[1] - 1)),
        ("Nine marks are written", lambda x: (x.softmax(1) @ places(x) - 5) / 4),
        ("Ten marks are written", lambda x: (x.softmax(1) @ places(x) - 1) * 2 / 9 - 1),
        ("do not add up to 1", lambda x: 2 * (x.exp() @ places(x) - 1) / (x.shape[1] - 1) - 1),
        ("sum of all rows", lambda x: (x.exp() / x.exp().sum()) @ scale(x)),
        ("took its mean", lambda x: (x.softmax(1) * scale(x)).mean(1)),
        ("give it `logp`", lambda x: torch.exp(x).softmax(1) @ scale(x)),
        ("dtype=", lambda x: x.softmax(1) @ torch.linspace(-1, 1, x.shape[1])),
    ],
    "crossing-budget": [
        ("*squared* error", lambda ch, vh, ca, va, b: (ch * vh - ca * va) / abs(b)),
        ("waver, too", lambda ch, vh, ca, va, b: ch * vh / b**2),
        ("subtract it", lambda ch, vh, ca, va, b: (ch * vh + ca * va) / b**2),
        ("costs are missing", lambda ch, vh, ca, va, b: (vh - va) / b**2),
        ("divided by the cost", lambda ch, vh, ca, va, b: (vh / ch - va / ca) / b**2),
        ("number of human labels", lambda ch, vh, ca, va, b: crossing(ch, vh, ca, va, b) / ch),
        ("one root too many", lambda ch, vh, ca, va, b: crossing(ch, vh, ca, va, b) ** 0.5),
        ("sign is flipped", lambda ch, vh, ca, va, b: (ca * va - ch * vh) / b**2),
        ("square of the standard deviation", lambda ch, vh, ca, va, b: (ch * vh**2 - ca * va**2) / b**2),
        ("root of the variances", lambda ch, vh, ca, va, b: (ch * np.sqrt(vh) - ca * np.sqrt(va)) / b**2),
        ("root of the variances", lambda ch, vh, ca, va, b: (ch * np.sqrt(vh) - ca * np.sqrt(va)) / b),
        ("Upside down", lambda ch, vh, ca, va, b: b * b / (ch * vh - ca * va)),
        ("B stands below", lambda ch, vh, ca, va, b: (ch * vh - ca * va) * b * b),
        ("its own cost", lambda ch, vh, ca, va, b: (vh - va) / b**2 * ch),
        ("its own cost", lambda ch, vh, ca, va, b: (vh - va) / b**2 * (ch - ca)),
        ("its own cost", lambda ch, vh, ca, va, b: (ca * vh - ch * va) / b**2),
        ("number of AI labels", lambda ch, vh, ca, va, b: (ch / ca * vh - va) / b**2),
        ("stays whole", lambda ch, vh, ca, va, b: ch * vh - ca * (va + b * b)),
        ("counted twice", lambda ch, vh, ca, va, b: (ch * vh - ca * va) / b**2 - ca),
        ("then rounded", lambda ch, vh, ca, va, b: round(crossing(ch, vh, ca, va, b))),
    ],
}
