"""Exercises of notebook 17: what is paid against what is meant, how to see it coming, and what helps."""

# fmt: off

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "17_reward_hacking"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _gain(ref: Tensor, proxy: Tensor, gold: Tensor, beta: float) -> Tensor:
    policy = (ref.log() + proxy / beta).softmax(0)
    return ((policy - ref) * gold).sum()


def _worlds() -> tuple[Case, ...]:
    ref = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    pay, mean = torch.tensor([0.0, 1.0, 0.5, 2.0]).double(), torch.tensor([0.0, 1.0, 1.5, -1.0]).double()
    many = {"ref": _noise(1, 6).softmax(0), "proxy": _noise(2, 6), "gold": 1 + _noise(3, 6), "beta": 2.0}
    cold = {"ref": _noise(4, 5).softmax(0), "proxy": 3 * _noise(5, 5), "gold": _noise(6, 5), "beta": 0.001}
    return (
        Case("four responses, β = 0.5", {"ref": ref, "proxy": pay, "gold": mean, "beta": 0.5}),
        Case("six responses, β = 2", many),
        Case("four responses, β = 0.2", {"ref": ref, "proxy": pay, "gold": mean + 3, "beta": 0.2}),
        Case("β = 0.001", cold, True),
    )


def _naive(ref: Tensor, proxy: Tensor, gold: Tensor, beta: float) -> Tensor:
    weight = ref * (proxy / beta).exp()
    return (weight / weight.sum()) @ gold - ref @ gold


hacked_gain = Exercise(
    "hacked-gain", NOTEBOOK, "what is meant, when something else is paid", *(2, 5, 8),
    "Write `hacked_gain(ref, proxy, gold, beta)`: RL with price `beta` on the KL finds the best policy for the "
    "**proxy** rewards `[N]`, starting from the reference `ref` `[N]`. How much more **gold** reward than the "
    "reference does that policy earn on average? One number.",
    ("The policy never sees gold: the proxy decides where the probability goes, gold only judges.",
     "pi = ref exp(proxy / beta) / Z, and the gain is sum (pi - ref) gold.",
     "return ((ref.log() + proxy / beta).softmax(0) - ref) @ gold"),
    "right for three worlds, and for a price so small that exp(proxy / beta) overflows.",
    reference=_gain, cases=_worlds(),
    mistakes=(
        ("You let the policy see gold: only the proxy is paid, so only the proxy stands in the exponent.",
         lambda ref, proxy, gold, beta: _gain(ref, gold, gold, beta)),
        ("This is the proxy's gain: judge the policy by gold.",
         lambda ref, proxy, gold, beta: _gain(ref, proxy, proxy, beta)),
        ("This is the policy's gold reward: subtract the reference's.",
         lambda ref, proxy, gold, beta: (ref.log() + proxy / beta).softmax(0) @ gold),
        ("The reference is missing from the policy: it is proportional to ref · exp(proxy / beta).",
         lambda ref, proxy, gold, beta: ((proxy / beta).softmax(0) - ref) @ gold),
        ("You subtracted a plain average of gold: the reference weighs the responses by ref.",
         lambda ref, proxy, gold, beta: (ref.log() + proxy / beta).softmax(0) @ gold - gold.mean()),
        ("You multiplied by beta: a larger price must keep the policy closer to ref, so divide.",
         lambda ref, proxy, gold, beta: _gain(ref, proxy, gold, 1 / beta)),
        ("You averaged over responses: the weights add up to 1, so add up.",
         lambda ref, proxy, gold, beta: _gain(ref, proxy, gold, beta) / len(ref)),
        ("The sign is flipped: this is what the policy lost.",
         lambda ref, proxy, gold, beta: -_gain(ref, proxy, gold, beta)),
        ("ref stands in the exponent as it is: take its logarithm, or multiply by it outside.",
         lambda ref, proxy, gold, beta: ((ref + proxy / beta).softmax(0) - ref) @ gold),
        ("exp(proxy / beta) overflows for a small beta: take the softmax of ref.log() + proxy / beta.", _naive),
    ),
)


def _subsets(scores: Tensor, gold: Tensor, n: int) -> Tensor:
    best = [gold[max(chosen, key=lambda i: float(scores[i]))] for chosen in combinations(range(len(scores)), n)]
    return torch.stack(best).mean()


def _draws(seed: int, size: int, n: int) -> Case:
    return Case(f"best of {n} out of {size}", {"scores": _noise(seed, size), "gold": _noise(seed + 1, size), "n": n})


def _ranked(scores: Tensor, gold: Tensor, weight: Sequence[float]) -> Tensor:
    return torch.tensor(list(weight), dtype=torch.float64) @ gold[scores.argsort()]


def _best_of_n(scores: Tensor, gold: Tensor, n: int) -> Tensor:
    size = len(scores)
    return _ranked(scores, gold.double(), [math.comb(i, n - 1) / math.comb(size, n) for i in range(size)])


best_of_n_gold = Exercise(
    "best-of-n-gold", NOTEBOOK, "best of n from draws you already have", *(4, 4, 15),
    "You have drawn `N` responses to a prompt, with proxy `scores` `[N]` and `gold` rewards `[N]`. Write "
    "`best_of_n_gold(scores, gold, n)`: take every subset of `n` of them, in each the response with the highest "
    "score, and return the mean of their **gold** rewards. Listing the subsets is fine here; can you do without?",
    ("How many subsets of n have the i-th lowest score as their highest?",
     "Sort by score. The i-th lowest (i from 1) wins C(i - 1, n - 1) of the C(N, n) subsets.",
     "return sum(math.comb(i, n - 1) * g for i, g in enumerate(gold[scores.argsort()])) / math.comb(len(gold), n)"),
    "right: it equals the mean over all subsets for n = 1, for n = N, and between.",
    reference=_best_of_n, also=(_subsets,),
    cases=(_draws(1, 5, 2), _draws(3, 6, 3), _draws(5, 4, 1), _draws(7, 4, 4), _draws(9, 7, 4)),
    mistakes=(
        ("You returned the mean score: the score chooses, gold is what we ask about.",
         lambda s, g, n: _subsets(s, s, n)),
        ("You chose by gold: nobody has it when the choice is made. The highest *score* wins.",
         lambda s, g, n: _subsets(g, g, n)),
        ("You looked at one subset, the first n draws: all of them together are less noisy.",
         lambda s, g, n: g[s[:n].argmax()]),
        ("You cut the draws into blocks of n: there are many more subsets than that.",
         lambda s, g, n: torch.stack([g[i + int(s[i : i + n].argmax())] for i in range(0, len(s) - n + 1, n)]).mean()),
        ("You took the best of all draws: that is n = N.", lambda s, g, n: g[s.argmax()]),
        ("You averaged the n best draws: best of n keeps one of n.", lambda s, g, n: g[s.topk(n).indices].mean()),
        ("You drew with replacement: a subset holds each draw once. The weight is C(i-1, n-1) / C(N, n).",
         lambda s, g, n: _ranked(s, g, [((i + 1) ** n - i**n) / len(s) ** n for i in range(len(s))])),
        ("You took the lowest score of each subset: sort ascending, and let the highest win.",
         lambda s, g, n: _subsets(-s, g, n)),
        ("Off by one: of i draws with lower scores choose n - 1, so the weight is C(i - 1, n - 1) with i from 1.",
         lambda s, g, n: _ranked(s, g, [math.comb(i + 1, n - 1) / math.comb(len(s), n) for i in range(len(s))])),
        ("The weights must be divided by the number of all subsets, C(N, n).",
         lambda s, g, n: _ranked(s, g, [math.comb(i, n - 1) for i in range(len(s))])),
    ),
)


def _slope(y: Tensor, x: Tensor) -> Tensor:
    return (x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum()


def _fair(scores: Tensor, lengths: Tensor) -> Tensor:
    return scores - _slope(scores, lengths) * (lengths - lengths.mean())


def _essays() -> tuple[Case, ...]:
    words = torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=torch.float64)
    long = 40 * (0.5 * _noise(1, 8)).exp()
    return (
        Case("four responses", {"scores": torch.tensor([1.0, 1.0, 3.0, 3.0]).double(), "lengths": words}),
        Case("eight, longer ones score higher", {"scores": 2 + 0.05 * long + _noise(2, 8), "lengths": long}),
        Case("six, longer ones score lower", {"scores": _noise(3, 6) - 9 * _noise(4, 6), "lengths": 20 + _noise(4, 6)}),
        Case("nothing but length", {"scores": 0.1 * words, "lengths": words}),
    )


length_out = Exercise(
    "length-out", NOTEBOOK, "a score that length cannot buy", *(3, 4, 8),
    "Write `without_length(scores, lengths)`, both `[N]`: fit a straight line of the scores against the lengths by "
    "least squares, and take its slope out. What you return has the same mean as the scores and no correlation with "
    "length.",
    ("Ask of each response: how much of its score would one expect of a response of this length?",
     "score - slope (length - mean length), with slope = sum dL ds / sum dL dL, both centred.",
     "d = lengths - lengths.mean(); return scores - (d @ scores) / (d @ d) * d"),
    "right: the same mean, and length explains nothing any more.",
    reference=_fair, cases=_essays(),
    mistakes=(
        ("You moved the mean: subtract slope · (length - mean length), not slope · length.",
         lambda s, x: s - _slope(s, x) * x),
        ("The mean is gone: keep that of the scores.", lambda s, x: _fair(s, x) - s.mean()),
        ("You added length's part once more: subtract it.", lambda s, x: s + _slope(s, x) * (x - x.mean())),
        ("This is what length explains: subtract it from the scores.",
         lambda s, x: s.mean() + _slope(s, x) * (x - x.mean())),
        ("You divided by the length: a score per word makes the shortest answer the best.", lambda s, x: s / x),
        ("Your line goes through the origin: centre lengths and scores before you fit the slope.",
         lambda s, x: s - (x @ s) / (x @ x) * (x - x.mean())),
        ("Your line goes through the origin: centre lengths and scores before you fit the slope.",
         lambda s, x: s - (x @ s) / (x @ x) * x),
        ("The slope is upside down: divide by the spread of the lengths, not of the scores.",
         lambda s, x: s - _slope(x, s) * (x - x.mean())),
        ("This is the correlation: the slope has the lengths' variance below it, not both spreads.",
         lambda s, x: s - _slope(s, x) * x.std() / s.std() * (x - x.mean())),
        ("The slope is not divided by the number of responses again: sum over sum.",
         lambda s, x: s - _slope(s, x) / len(x) * (x - x.mean())),
    ),
)


def _run(gold: Sequence[float], patience: int) -> tuple[int, int]:
    """The best look before the stop, and the look at which the run stops."""
    i = best = 0
    while i + 1 < len(gold) and i - best < patience:
        i += 1
        best = i if gold[i] > gold[best] else best
    return best, i


def _stop(gold: Sequence[float], patience: int) -> int:
    return _run(gold, patience)[0]


def _falls(gold: Sequence[float], patience: int) -> int:
    """Counts falls from one look to the next, whatever the best was."""
    best = since = 0
    for i in range(1, len(gold)):
        since = since + 1 if gold[i] <= gold[i - 1] else 0
        best = i if gold[i] > gold[best] else best
        if since >= patience:
            break
    return best


def _never_reset(gold: Sequence[float], patience: int) -> int:
    best = since = 0
    for i in range(1, len(gold)):
        if gold[i] > gold[best]:
            best = i
        else:
            since += 1
        if since >= patience:
            break
    return best


def _ties(gold: Sequence[float], patience: int) -> int:
    best = since = 0
    for i in range(1, len(gold)):
        best, since = (i, 0) if gold[i] >= gold[best] else (best, since + 1)
        if since >= patience:
            break
    return best


RUNS = (
    Case("a bump, then a later, higher one", {"gold": [0.0, 1.0, 0.6, 0.5, 3.0, 2.0], "patience": 2}),
    Case("the same run with more patience", {"gold": [0.0, 1.0, 0.6, 0.5, 3.0, 2.0], "patience": 3}),
    Case("a jagged rise", {"gold": [0.0, 2.0, 1.0, 2.5, 1.5, 2.6, 2.0, 1.0, 4.0], "patience": 2}),
    Case("slowly up again below the best", {"gold": [0.0, 3.0, 1.0, 1.5, 2.0, 2.5, 9.0], "patience": 3}),
    Case("a plateau", {"gold": [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0], "patience": 3}),
    Case("up to the end", {"gold": [0.0, 1.0, 2.0, 3.0], "patience": 1}),
    Case("down from the start", {"gold": [0.5, 0.2, 0.1, 0.0], "patience": 2}),
)

early_stop = Exercise(
    "early-stop", NOTEBOOK, "stop in time, and keep the right weights", *(3, 4, 10),
    "A run is judged by `gold`, a list with one number for each look. It is stopped after `patience` looks in a row "
    "that bring **no new best** (the first look is a best; a tie is none). Write `weights_to_keep(gold, patience)`: "
    "the index of the best look among those that took place. What would have come after the stop, nobody sees.",
    ("Go through the looks in order; remember the best so far, and how long ago it was.",
     "New best: best = i, since = 0. Otherwise since += 1, and stop once since reaches patience.",
     "best, since = (i, 0) if gold[i] > gold[best] else (best, since + 1)"),
    "right for seven runs: bumps, plateaus, falls and a rise to the end.",
    reference=_stop, cases=RUNS,
    mistakes=(
        ("You looked at the whole run: after the stop nothing is seen any more.",
         lambda g, p: max(range(len(g)), key=lambda i: g[i])),
        ("This is where the run stops: by then it is `patience` looks too late. Keep the best look before.",
         lambda g, p: _run(g, p)[1]),
        ("You counted falls from one look to the next: what counts is how long ago the *best* was.", _falls),
        ("You never reset the count: a new best starts it again at 0.", _never_reset),
        ("A tie is no progress: ask for more than the best, not for as much.", _ties),
        ("You stopped one look too late: stop as soon as `patience` looks brought nothing.",
         lambda g, p: _stop(g, p + 1)),
        ("You stopped one look too early: allow `patience` looks without a new best.",
         lambda g, p: _stop(g, p - 1)),
        ("This is the gold reward itself: return the index of the look.", lambda g, p: g[_stop(g, p)]),
        ("Looks are counted from 0.", lambda g, p: _stop(g, p) + 1),
        ("You kept the first bump: wait for `patience` looks before you give up.",
         lambda g, p: next((i - 1 for i in range(1, len(g)) if g[i] <= g[i - 1]), len(g) - 1)),
    ),
)


predict_noise = Exercise(
    "predict-noise", NOTEBOOK, "is noise enough for a hack?", *(2, 4, 3),
    "Take away the flaw. The proxy is now gold plus **noise** that has nothing to do with gold: proxy = z + ε, gold = "
    "z, both Gaussian. As β falls, the policy chases ever higher proxies. The gold reward (a) rises, turns, and falls "
    "below its start; (b) goes on rising, but less than the proxy; (c) stays where it was; (d) falls from the "
    "beginning. Put your letter into `prediction`.",
    ("Of a very high proxy, what part is quality and what part luck, on average?",
     "With equal spreads E[z | proxy] = proxy / 2: a straight line, whatever the height.",
     'prediction = "b"'),
    "right: noise alone dilutes the reward, it does not turn it round. That takes a flaw that harms more, the more "
    "of it there is.",
    judge=choice(
        "b",
        a="No: for that the highest proxies must be *bad*. Here they are good and lucky in equal parts, at any height.",
        c="No: a high proxy is still a sign of quality. With equal spreads half of each point of proxy is real.",
        d="No: the first steps follow a proxy that agrees with gold better than a coin does; why should they harm?",
    ),
)

EXERCISES = (hacked_gain, predict_noise, early_stop, best_of_n_gold, length_out)
