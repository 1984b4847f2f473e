"""Exercises of notebook 26: whose target is whose, the best beta of each, the frontier, reward at equal KL."""

# fmt: off

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, Judge, number

NOTEBOOK = "26_ppo_dpo_kto_side_by_side"

TARGETS = {"PPO": "a", "DPO": "a", "IPO": "b", "KTO": "c"}
CONFUSED = {
    ("PPO", "b"): "PPO adds up rewards; win rates, which end at 1, are what IPO adds up.",
    ("PPO", "c"): "PPO with a price on the KL never drops a response for good: exp(r / beta) is positive.",
    ("PPO", "d"): "The best response alone is what PPO would learn *without* the price of KL, beta = 0.",
    ("DPO", "b"): "DPO takes the log-odds of a preference, and under Bradley-Terry they are a difference of rewards; "
                  "IPO takes the preference itself.",
    ("DPO", "c"): "DPO has no threshold: it trains differences, so every response keeps a share.",
    ("DPO", "d"): "DPO ends at the best response alone only if that one is *always* preferred; these people sometimes "
                  "prefer the other one.",
    ("IPO", "a"): "IPO ends where PPO does only if win rates were rewards: it fits p(y ≻ μ), not r.",
    ("IPO", "c"): "IPO moves no log-ratio by more than 1/tau: no response is dropped.",
    ("IPO", "d"): "IPO moves no log-ratio by more than 1/tau, even where somebody always wins.",
    ("KTO", "a"): "KTO is no DPO without pairs: its loss is flat on both sides, so whoever wins less than half of the "
                  "time ends at nothing.",
    ("KTO", "b"): "KTO never weighs win rates in an exponent; what wins less than half of the time ends at nothing.",
    ("KTO", "d"): "KTO keeps *all* responses that win more often than not, not only the best.",
}


def _matched(answer: Any) -> str | None:
    if not isinstance(answer, dict) or set(answer) != set(TARGETS):
        return f'Answer with a letter for each of the four: {{"PPO": "a", "DPO": ...}}, got {answer!r:.60}.'
    for name, right in TARGETS.items():
        letter = answer[name].strip().lower() if isinstance(answer[name], str) else answer[name]
        if letter != right:
            return CONFUSED.get((name, letter), f"{name}: answer with one of the letters a, b, c, d, got {letter!r}.")
    return None


matched: Judge = _matched

own_target = Exercise(
    "own-target", NOTEBOOK, "whose target is whose", *(3, 5, 6),
    "All four are shown all comparisons there could be, made by people who prefer as Bradley and Terry have it. Where "
    "does each come to rest? Fill in a letter for each method in `prediction`; a letter may serve twice.\n\n"
    "- **a** every response in proportion to $\\pi_{ref}(y)\\,e^{r(y)/\\beta}$\n"
    "- **b** every response in proportion to $\\pi_{ref}(y)\\,e^{p(y\\succ\\mu)/\\beta}$, with $p(y\\succ\\mu)$ its "
    "win rate against what it is compared with\n"
    "- **c** nothing for what wins less than half of its comparisons, a share for everything else\n"
    "- **d** the best response alone",
    ("Ask of each loss: which number of a response does it see? A reward, a win rate, or a yes or no?",
     "log-odds of a preference = difference of rewards; a squared loss fits the preference itself; a bounded loss "
     "gives up what is called bad more often than good.",
     '{"PPO": "a", "DPO": "a", ...}; the other two have a letter each.'),
    "right: two share a target, two have their own. A table that compares their rewards compares targets.",
    judge=matched,
)

best_beta = Exercise(
    "best-beta", NOTEBOOK, "DPO's best beta", *(2, 4, 4),
    "Somebody tells you what a nat of KL is worth: 0.6 reward. You will be judged by gold reward − 0.6 · KL, and may "
    "choose DPO's β. You have all the comparisons you want. Which β? Put a number into `prediction_beta`.",
    ("DPO rests at the best policy for *some* objective. Which?",
     "ref exp(r / beta) / Z maximises E[r] - beta KL.",
     "The two objectives are the same when beta is the price."),
    "right: DPO's β *is* the price of a nat, in units of reward. No other method's β or τ is.",
    judge=number(
        0.6,
        (0.01, "That is best by reward alone; at 0.6 a nat it pays for two nats and gets too little."),
        (0.1, "0.1 is the default of many libraries, and no answer to a question with a price in it."),
        (0.3, "Half the price: it overspends. Every beta below the price buys nats that are not worth it."),
        (1.2, "Twice the price: it stays too close."),
        (1 / 0.6, "You turned it around: beta itself is the price of a nat."),
        (1.0, "1 would be right if a nat cost 1."),
        (0.0, "Without a price DPO moves without end, and KL costs you."),
    ),
)


def _beaten(kl: Tensor, gold: Tensor) -> Tensor:
    better = (kl[:, None] <= kl) & (gold[:, None] >= gold) & ((kl[:, None] < kl) | (gold[:, None] > gold))
    return better.any(0)


def _best_at_no_price(kl: Tensor, gold: Tensor) -> Tensor:
    left = gold - torch.linspace(0, 60, 6001).to(kl)[:, None] * kl
    return ~(left >= left.max(1, keepdim=True).values - 1e-12).any(0)


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


CLOUDS = (
    Case("five runs", {"kl": _doubles(2.0, 0.5, 1.0, 1.5, 0.2), "gold": _doubles(2.4, 1.2, 1.0, 2.0, 0.1)}),
    Case("one run best at both", {"kl": _doubles(1.0, 0.5, 2.0), "gold": _doubles(1.0, 2.0, 1.5)}),
    Case("twins, and a tie in KL", {"kl": _doubles(1.0, 1.0, 0.5, 0.5), "gold": _doubles(2.0, 2.0, 1.0, 0.7)}),
    Case("the same gold at two distances", {"kl": _doubles(3.0, 1.0, 2.0), "gold": _doubles(1.0, 1.0, 1.5)}),
    Case("the same gold, nothing in between", {"kl": _doubles(3.0, 1.0, 0.5), "gold": _doubles(1.0, 1.0, 0.2)}),
    Case("a run worse than the reference", {"kl": _doubles(0.0, 0.5, 4.0, 1.0), "gold": _doubles(0.2, -1.0, 5.0, 3.0)}),
)

frontier_dominance = Exercise(
    "frontier-dominance", NOTEBOOK, "beaten at every price", *(3, 5, 10),
    "Write `beaten(kl, gold)`: True `[K]` for every run that some other run beats *whatever a nat may cost*: the other "
    "one has no more `kl` `[K]` **and** no less `gold` `[K]`, and is strictly better in one of them. Two runs with the "
    "same numbers do not beat each other.",
    ("Compare every run with every other one: a table [K, K].",
     "i beats j if kl_i <= kl_j and gold_i >= gold_j, and one of the two is strict.",
     "((kl[:, None] <= kl) & (gold[:, None] >= gold) & ((kl[:, None] < kl) | (gold[:, None] > gold))).any(0)"),
    "right for six clouds: ties in KL, ties in gold, twins. What is left over is the frontier.",
    reference=_beaten, cases=CLOUDS,
    mistakes=(
        ("You rank by reward alone: a run that went further is not better for that.",
         lambda kl, gold: gold < gold.max()),
        ("You rank by KL alone: the nearest run has not learned anything yet.", lambda kl, gold: kl > kl.min()),
        ("You return the frontier itself, those that nobody beats: invert it.", lambda kl, gold: ~_beaten(kl, gold)),
        ("You ask who beats *another one*, not who is beaten: any() over the other dimension.",
         lambda kl, gold: ((kl[:, None] <= kl) & (gold[:, None] >= gold)
                           & ((kl[:, None] < kl) | (gold[:, None] > gold))).any(1)),
        ("Every run is beaten by itself here, since it is as near and as good: ask that one of the two be strict.",
         lambda kl, gold: ((kl[:, None] <= kl) & (gold[:, None] >= gold)).any(0)),
        ("You ask for strictly more gold: a run with the same gold and less KL beats, too.",
         lambda kl, gold: ((kl[:, None] <= kl) & (gold[:, None] > gold)).any(0)),
        ("You ask for strictly less KL: a run with the same KL and more gold beats, too.",
         lambda kl, gold: ((kl[:, None] < kl) & (gold[:, None] >= gold)).any(0)),
        ("Twins beat each other here: of two runs with the same numbers neither is strictly better.",
         lambda kl, gold: ((kl[:, None] <= kl) & (gold[:, None] >= gold) & ~torch.eye(len(kl)).bool()).any(0)),
        ("You ask which run is best at no price: it may lose to *different* runs at low and at high prices. Beaten "
         "means by one and the same run at all of them.", _best_at_no_price),
        ("Here no run is ever beaten. If you ask that *every* run beat it: one is enough, any() in place of all().",
         lambda kl, gold: kl < 0),
        ("You ask both to be strict: a run with the same KL and more gold beats, too.",
         lambda kl, gold: ((kl[:, None] < kl) & (gold[:, None] > gold)).any(0)),
        ("A run with more gold *or* less KL does not beat yet: it takes both.",
         lambda kl, gold: ((kl[:, None] < kl) | (gold[:, None] > gold)).any(0)),
        ("You want more KL: near the reference is cheaper.", lambda kl, gold: _beaten(-kl, gold)),
        ("You want less gold: the better run has more of it.", lambda kl, gold: _beaten(kl, -gold)),
        ("You compare gold per nat: a ratio sets a price of its own, and the question was *whatever* it costs.",
         lambda kl, gold: gold / kl < (gold / kl).max()),
    ),
)


def _between(kl: Tensor, gold: Tensor, at: Tensor, *, far: float | None = math.nan, sort: bool = True) -> Tensor:
    """Gold on the broken line through the points; ``far`` (None: the nearest end) outside of what was measured."""
    order = kl.argsort() if sort else torch.arange(len(kl))
    x, y = kl[order], gold[order]
    k = torch.searchsorted(x.contiguous(), at.contiguous()).clamp(1, len(x) - 1)
    share = (at - x[k - 1]) / (x[k] - x[k - 1])
    if far is None:
        share = share.clamp(0, 1)
    inside = (at >= x[0]) & (at <= x[-1])
    value = y[k - 1] + share * (y[k] - y[k - 1])
    return value if far in (None, math.inf) else torch.where(inside, value, far)


def _fitted(kl: Tensor, gold: Tensor, at: Tensor) -> Tensor:
    slope = ((kl - kl.mean()) * (gold - gold.mean())).sum() / ((kl - kl.mean()) ** 2).sum()
    return gold.mean() + slope * (at - kl.mean())


def _nearest(kl: Tensor, gold: Tensor, at: Tensor) -> Tensor:
    value = gold[(kl - at[:, None]).abs().argmin(1)]
    return torch.where((at >= kl.min()) & (at <= kl.max()), value, math.nan)


def _below(kl: Tensor, gold: Tensor, at: Tensor) -> Tensor:
    order = kl.argsort()
    found = gold[order][(torch.searchsorted(kl[order], at, right=True) - 1).clamp(0)]
    return torch.where((at >= kl.min()) & (at <= kl.max()), found, math.nan)


def _proportional(kl: Tensor, gold: Tensor, at: Tensor) -> Tensor:
    best = gold.argmax()
    return torch.where((at >= kl.min()) & (at <= kl.max()), gold[best] / kl[best] * at, math.nan)


SWEEPS = (
    Case("a sweep in order", {"kl": _doubles(0.1, 0.5, 1.5), "gold": _doubles(0.4, 1.2, 2.0),
                              "at": _doubles(0.3, 0.6, 1.0)}),
    Case("a sweep in the order of beta", {"kl": _doubles(2.0, 1.2, 0.4, 0.1), "gold": _doubles(2.4, 2.0, 1.0, 0.3),
                                          "at": _doubles(1.5, 0.4, 0.2, 2.0)}),
    Case("questions outside", {"kl": _doubles(1.0, 0.2, 0.6), "gold": _doubles(1.5, 0.5, 1.2),
                               "at": _doubles(0.1, 0.5, 1.3)}),
    Case("a sweep that went too far: gold falls again", {"kl": _doubles(0.3, 1.0, 2.5, 1.8),
                                                         "gold": _doubles(0.6, 1.9, 0.4, 1.4),
                                                         "at": _doubles(0.5, 1.5, 2.2)}),
)

equal_kl = Exercise(
    "reward-at-equal-kl", NOTEBOOK, "reward at the same distance", *(3, 5, 10),
    "Write `reward_at(kl, gold, at)`: a sweep of one method gave the points `kl` `[K]` and `gold` `[K]`, in any order. "
    "What does the method earn at the distances `at` `[M]`? Draw straight lines between neighbouring points. "
    "**Outside** of what was measured the answer is NaN: a sweep says nothing there.",
    ("Sort by KL first; then find the two neighbours of each question.",
     "gold_left + (at - kl_left) / (kl_right - kl_left) * (gold_right - gold_left)",
     "order = kl.argsort(), then torch.searchsorted; or numpy.interp(at, x, y, left=nan, right=nan)"),
    "right in order, out of order, on the points, and NaN outside. Now two methods can be compared: at one distance.",
    reference=_between, cases=SWEEPS,
    mistakes=(
        ("Outside of the sweep you return the nearest end: that distance was never measured, so NaN.",
         lambda kl, gold, at: _between(kl, gold, at, far=None)),
        ("Outside of the sweep you extended the last line: that distance was never measured, so NaN.",
         lambda kl, gold, at: _between(kl, gold, at, far=math.inf)),
        ("Outside of the sweep you return 0: that is a reward like any other. NaN says that nobody knows.",
         lambda kl, gold, at: _between(kl, gold, at, far=0.0)),
        ("You did not sort: a sweep in the order of beta falls in KL.",
         lambda kl, gold, at: _between(kl, gold, at, sort=False)),
        ("You sorted KL, but left gold in its old order.",
         lambda kl, gold, at: _between(kl.sort().values, gold, at)),
        ("You sorted KL and gold each by itself: a point must stay together.",
         lambda kl, gold, at: _between(kl.sort().values, gold.sort().values, at)),
        ("You sorted KL and gold each by itself: a point must stay together.",
         lambda kl, gold, at: _between(kl.sort().values, gold.sort().values.flip(0), at)),
        ("Gold and KL are exchanged: you look up a distance among rewards.",
         lambda kl, gold, at: _between(gold, kl, at)),
        ("You turned the points around instead of sorting them: a sweep may come in any order.",
         lambda kl, gold, at: _between(kl.flip(0), gold.flip(0), at, sort=False)),
        ("You drew one line through all points: draw one between each two neighbours.", _fitted),
        ("You took the nearest point: draw a line between the two neighbours.", _nearest),
        ("You took the point below: draw a line to the next one.", _below),
        ("A line from zero through the best run is not what the sweep measured: use the two neighbours.",
         _proportional),
    ),
)

EXERCISES = (own_target, best_beta, frontier_dominance, equal_kl)
