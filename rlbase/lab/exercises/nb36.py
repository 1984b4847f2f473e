"""Exercises of notebook 36: what an audit of a file of preferences counts, and what it cannot say."""

# fmt: off

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "36_audit_a_dataset"


def _at_most(k: int, n: int) -> float:
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def _chance(c: int, r: int) -> float:
    return min(1.0, 2 * _at_most(min(c, r), c + r))


def _split(label: str, chosen: int, rejected: int) -> Case:
    return Case(label, {"chosen": chosen, "rejected": rejected})


split_chance = Exercise(
    "split-chance", NOTEBOOK, "as uneven as this, by a coin", *(3, 5, 8),
    "A word stands only in the chosen response of `chosen` pairs, and only in the rejected one of `rejected` pairs. "
    "Write `split_chance(chosen, rejected)`: how likely is a split that is **at least as uneven, to either side**, if "
    "a fair coin decided each of these pairs? Both are whole numbers; the answer is exact, and at most 1.",
    ("Under the coin, the number of pairs on one side is binomial, with n = chosen + rejected and 1/2.",
     "Add up the probabilities of 0 to k, with k the smaller of the two, and double it for the other side.",
     "n, k = chosen + rejected, min(chosen, rejected); "
     "return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)"),
    "right: the two-sided binomial test, exact. 9 to 1 has a chance of 2 (1 + 10) / 1024 = .021.",
    reference=_chance,
    cases=(_split("9 to 1", 9, 1), _split("12 to 4", 12, 4), _split("3 to 8", 3, 8), _split("5 to 5", 5, 5),
           _split("none to 6", 0, 6), _split("40 to 22", 40, 22)),
    mistakes=(
        ("One side only: nobody said beforehand which side the word would favour. Double it.",
         lambda c, r: _at_most(min(c, r), c + r)),
        ("Not capped: at an even split the two tails overlap, and no chance exceeds 1.",
         lambda c, r: 2 * _at_most(min(c, r), c + r)),
        ("That is the chance of exactly this split. Add all that are more uneven.",
         lambda c, r: math.comb(c + r, c) / 2 ** (c + r)),
        ("Exactly this split, doubled. Add all that are more uneven.",
         lambda c, r: min(1.0, 2 * math.comb(c + r, c) / 2 ** (c + r))),
        ("You began at the chosen side, whichever is smaller: it is the smaller count that lies in the tail.",
         lambda c, r: min(1.0, 2 * _at_most(c, c + r))),
        ("You left out the split itself: at least as uneven, so k belongs to the tail.",
         lambda c, r: min(1.0, 2 * _at_most(min(c, r) - 1, c + r))),
        ("That is the chance of a *less* uneven split: 1 minus it.", lambda c, r: 1 - _chance(c, r)),
        ("The normal approximation: near, but the task asks for the exact sum.",
         lambda c, r: math.erfc(abs(c - r) / math.sqrt(2 * (c + r)))),
        ("That is how often the word was chosen, not how surprising it is.", lambda c, r: c / (c + r)),
        ("That is the share of the smaller side, not how surprising it is.", lambda c, r: min(c, r) / (c + r)),
        ("One side only, and always the chosen one: both sides count, so take the smaller count and double.",
         lambda c, r: _at_most(r, c + r)),
        ("One side only, and always the rejected one: both sides count, so take the smaller count and double.",
         lambda c, r: _at_most(c, c + r)),
        ("You began at the rejected side, whichever is smaller: it is the smaller count that lies in the tail.",
         lambda c, r: min(1.0, 2 * _at_most(r, c + r))),
        ("You added up everything below the *larger* count: the tail ends at the smaller one.",
         lambda c, r: _at_most(max(c, r), c + r)),
        ("You added up everything below the *larger* count: the tail ends at the smaller one.",
         lambda c, r: min(1.0, 2 * _at_most(max(c, r), c + r))),
        ("These are numbers of ways, not chances: divide by 2 ** n.",
         lambda c, r: 2.0 * 2 ** (c + r) * _at_most(min(c, r), c + r)),
        ("Half of the split itself is left out (a mid-p value): at least as uneven has all of it.",
         lambda c, r: _at_most(min(c, r), c + r) + _at_most(min(c, r) - 1, c + r)),
        ("The normal approximation: near, but the task asks for the exact sum.",
         lambda c, r: math.erfc(max(abs(c - r) - 1, 0) / math.sqrt(2 * (c + r)))),
        ("That is how many standard deviations the split is off: asked is its chance.",
         lambda c, r: (c - r) / math.sqrt(c + r)),
        ("That is the chance that *all* pairs fall on one side.", lambda c, r: 2.0 / 2 ** (c + r)),
        ("That is a verdict at .05: asked is the chance itself.", lambda c, r: float(_chance(c, r) < 0.05)),
    ),
)


def _ranks(p: Tensor) -> Tensor:
    return p.argsort().argsort() + 1


def _kept(p: Tensor, line: Tensor) -> Tensor:
    """1 for all chances up to the largest one below its line."""
    below = p[p <= line]
    return (p <= below.max()).double() if len(below) else torch.zeros(len(p)).double()


def _hochberg(p: Tensor, q: float) -> Tensor:
    return _kept(p, q * _ranks(p) / len(p))


def _line(n: int) -> Tensor:
    return torch.arange(1, n + 1) / n


def _stops(p: Tensor, q: float, line: Callable[[int], Tensor] = _line) -> Tensor:
    low = p.sort().values <= q * line(len(p))
    return (_ranks(p) <= low.double().cumprod(0).sum()).double()


def _without_last(p: Tensor, q: float) -> Tensor:
    found = _hochberg(p, q)
    return torch.where(p == (p * found).max(), 0.0, found)


def _adjusted(p: Tensor, q: float) -> Tensor:
    raised = p.sort().values * len(p) / torch.arange(1, len(p) + 1)
    return raised.flip(0).cummin(0).values.flip(0)[_ranks(p) - 1]


def _many(label: str, rate: float, *chances: float) -> Case:
    return Case(label, {"chances": torch.tensor(chances).double(), "rate": rate})


false_discoveries = Exercise(
    "false-discoveries", NOTEBOOK, "many words at once", *(3, 5, 9),
    "Write `discoveries(chances, rate)`. `chances` `[N]` are the chances of `N` words, in any order. Sort them; look "
    "for the **largest** rank $i$ (from 1) with $p_{(i)}\\le\\text{rate}\\cdot i/N$; that word and all with a smaller "
    "chance are discoveries, also those above their own line. Return `[N]`, in the order you were given: 1 for a "
    "discovery, 0 for the rest. This is the procedure of Benjamini and Hochberg (1995).",
    ("Sort, and compare each chance with a line that rises with the rank.",
     "Find the last rank at or below its line; its chance is the limit. No rank: no discovery.",
     "s = chances.sort().values; ok = s <= rate * torch.arange(1, len(s) + 1) / len(s); "
     "return (chances <= s[ok].max()).double() if ok.any() else torch.zeros_like(chances)"),
    "right: of the discoveries, on average no more than the rate are due to chance.",
    reference=_hochberg,
    cases=(
        _many("one is above its line and still counts", 0.05, 0.9, 0.039, 0.001, 0.0295, 0.028),
        _many("six words, unsorted", 0.05, 0.3, 0.012, 0.04, 0.0005, 0.7, 0.02),
        _many("a rate of one fifth", 0.2, 0.5, 0.15, 0.01, 0.11, 0.95, 0.3, 0.05),
        _many("no discovery", 0.05, 0.2, 0.6, 0.045),
        _many("all of them", 0.05, 0.046, 0.01, 0.03),
        _many("four of six", 0.05, 0.02, 0.9, 0.011, 0.001, 0.3, 0.009),
    ),
    mistakes=(
        ("No correction: among 60 words without a meaning, three are below .05.",
         lambda p, q: (p <= q).double()),
        ("That is Bonferroni's limit, rate / N for all: it allows hardly a single false word in the whole list. The "
         "line here rises with the rank.", lambda p, q: (p <= q / len(p)).double()),
        ("You stopped at the first that is above its line: go to the *last* one below.", _stops),
        ("You kept only those below their own line: all with a smaller chance than the last one belong to it.",
         lambda p, q: (p <= q * _ranks(p) / len(p)).double()),
        ("The ranks run the wrong way: the smallest chance has rank 1.",
         lambda p, q: _kept(p, q * (len(p) + 1 - _ranks(p)) / len(p))),
        ("Ranks are counted from 1: with 0, the first word could never be found.",
         lambda p, q: _kept(p, q * (_ranks(p) - 1) / len(p))),
        ("The answer is in sorted order: put it back in the order you were given.",
         lambda p, q: _hochberg(p.sort().values, q)),
        ("Turned around: 1 is for a discovery.", lambda p, q: 1 - _hochberg(p, q)),
        ("Divide by N: without it nearly everything lies below the line.",
         lambda p, q: _kept(p, q * _ranks(p).double())),
        ("These are chances multiplied by N / rank: compare them with the rate, from the last one down.",
         lambda p, q: p * len(p) / _ranks(p)),
        ("These are adjusted chances: compare them with the rate.", _adjusted),
        ("The line is compared with the chances as they came: sort them first.",
         lambda p, q: (p <= q * torch.arange(1, len(p) + 1) / len(p)).double()),
        ("argsort says which chance comes first, and not which rank each one has: that is argsort of the argsort.",
         lambda p, q: _kept(p, q * (p.argsort() + 1) / len(p))),
        ("The last one at or below its line is missing: it is a discovery, too.", _without_last),
        ("The answer is in sorted order: put it back in the order you were given.",
         lambda p, q: ((s := p.sort().values) <= q * _ranks(s) / len(s)).double()),
        ("That is Holm's procedure, rate / (N + 1 - rank) down to the first failure: it guards against a *single* "
         "false word. The line here is rate times rank / N.",
         lambda p, q: _stops(p, q, lambda n: 1 / torch.arange(n, 0, -1))),
        ("That is Hochberg's line, rate / (N + 1 - rank): it guards against a *single* false word. The line here is "
         "rate times rank / N.", lambda p, q: _kept(p, q / (len(p) + 1 - _ranks(p)))),
        ("That is Benjamini and Yekutieli's line, for any dependence: leave out the sum of 1 / i.",
         lambda p, q: _hochberg(p, q / sum(1 / i for i in range(1, len(p) + 1)))),
    ),
)


def _doubling(share: float, times: float) -> float:
    return math.log(share / (1 - share)) / math.log2(times)


def _longer(label: str, share: float, times: float) -> Case:
    return Case(label, {"share": share, "times": times})


twice_as_long = Exercise(
    "twice-as-long", NOTEBOOK, "log-odds for twice the length", *(2, 4, 5),
    "All pairs of a file have the same ratio: one response is `times` as long as the other (above 1), and it was "
    "chosen in a `share` of them. In a Bradley-Terry model with the reward $w\\log_2(\\text{length})$, what is $w$, "
    "the log-odds for **twice** the length? Write `twice(share, times)`; the arguments are numbers.",
    ("Which gap does the reward have in such a pair? And which gap makes the longer one win a `share`?",
     "w log2(times) = log(share / (1 - share)).",
     "return math.log(share / (1 - share)) / math.log2(times)"),
    "right, also below one half, where w is negative: length is then disliked.",
    reference=_doubling,
    cases=(_longer("twice as long", 0.8, 2.0), _longer("four times", 0.9, 4.0), _longer("half as long again", 0.6, 1.5),
           _longer("the shorter one is liked", 0.3, 3.0)),
    mistakes=(
        ("That is the gap for `times` the length: divide by the number of doublings, log2(times).",
         lambda s, t: _doubling(s, 2)),
        ("One kind of logarithm for both: odds take the natural one, which sigma undoes, and doublings are counted by "
         "log2.", lambda s, t: _doubling(s, 2) / math.log(t)),
        ("Divide by the number of doublings, log2(times), not by `times`.", lambda s, t: _doubling(s, 2) / t),
        ("Divide: four times the length is *two* doublings, so one is worth half.",
         lambda s, t: _doubling(s, 2) * math.log2(t)),
        ("`times` over 2 is not the number of doublings: log2(times).", lambda s, t: _doubling(s, 2) / (t / 2)),
        ("The logarithm of the share alone is not its log-odds.", lambda s, t: math.log(s) / math.log2(t)),
        ("A share above one half is no log-odds: log(share / (1 - share)).",
         lambda s, t: (s - 0.5) / math.log2(t)),
        ("These are odds: take their logarithm.", lambda s, t: s / (1 - s) / math.log2(t)),
        ("Log-odds to base 10: sigma takes natural ones.", lambda s, t: _doubling(s, t) / math.log(10)),
        ("Turned around: this is for half the length.", lambda s, t: -_doubling(s, t)),
        ("That is a probability: leave it in log-odds.", lambda s, t: 1 / (1 + math.exp(-_doubling(s, t)))),
        ("The size alone: below one half w is negative, length is then disliked.", lambda s, t: abs(_doubling(s, t))),
        ("`times` - 1 is not the number of doublings: log2(times).", lambda s, t: _doubling(s, 2) / (t - 1)),
        ("The audit adds 1 to a number of *words*; here the ratio is given: log2(times).",
         lambda s, t: _doubling(s, 2) / math.log2(t + 1)),
        ("Upside down: log-odds stand above the bar, doublings below it.", lambda s, t: 1 / _doubling(s, t)),
        ("The quotient of the two logarithms is not the logarithm of the quotient: log(share) - log(1 - share).",
         lambda s, t: math.log(s) / math.log(1 - s) / math.log2(t)),
        ("A share above one half is no log-odds: log(share / (1 - share)).", lambda s, t: (2 * s - 1) / math.log2(t)),
        ("sigma turns log-odds into a share; here its inverse is needed, log(share / (1 - share)).",
         lambda s, t: 1 / (1 + math.exp(-s)) / math.log2(t)),
        ("You took the ratio of lengths off the odds: w *multiplies* the number of doublings, so divide by it.",
         lambda s, t: _doubling(s, 2) - math.log(t)),
        ("You took the doublings off: w *multiplies* their number, so divide by it.",
         lambda s, t: _doubling(s, 2) - math.log2(t)),
        ("Doublings are counted by log2, not by log10.", lambda s, t: _doubling(s, 2) / math.log10(t)),
    ),
)

predict_faultless = Exercise(
    "predict-faultless", NOTEBOOK, "a rater without a fault", *(2, 5, 3),
    "A rater answers by the gold preference alone, which pays for meeting the request and for speaking of up to three "
    "topics, and for length nothing. What will the audit of their file say of length?\n\n"
    "a) the longer one is chosen in about half of the pairs: length is worth nothing to this rater\n\n"
    "b) the longer one is chosen clearly more often, and the rater has no liking for length\n\n"
    "c) the longer one is chosen clearly more often, so the rater has a hidden liking for length\n\n"
    "d) the shorter one is chosen more often\n\n"
    "Put the letter into `prediction_faultless`.",
    ("The audit sees the texts and who was chosen, never the reasons.",
     "What does a review need in order to speak of three topics instead of one?",
     "Words. So topics and length go together in the texts, whoever rates them."),
    "right: a correlation, and not a fault. What is paid for takes words.",
    judge=choice(
        "b",
        a="Worth nothing in itself. But topics take words, so what is worth something is longer.",
        c="Clearly more often, yes. But we made this rater: the liking is 0.0. A correlation was taken for a reason.",
        d="Nothing here punishes length between 12 and 40 words, and more topics need more of them.",
    ),
)

predict_folds = Exercise(
    "predict-folds", NOTEBOOK, "held out, but from what?", *(2, 5, 3),
    "400 pairs of ten prompts. Each prompt's good answers have words of their own, and so have its bad ones; no word "
    "stands under two prompts. One fifth of the *pairs* is held out, drawn by lot; length and telling words are fitted "
    "on the rest. How often are they right on the held-out pairs, and on a new prompt?\n\n"
    "a) about half of the time on both\n\n"
    "b) nearly always on the held-out pairs; half of the time on a new prompt\n\n"
    "c) nearly always on both: the held-out pairs were not fitted either\n\n"
    "d) half of the time on the held-out pairs; nearly always on a new prompt\n\n"
    "Put the letter into `prediction_folds`.",
    ("How many pairs of the same prompt stand on the other side?",
     "About 32 of its 40 pairs are fitted: its words are known.",
     "A new prompt has none of these words."),
    "right: held out must mean what will be new later. Prompts will be.",
    judge=choice(
        "b",
        a="Of each prompt, about 32 of 40 pairs are in the fit: its words are known, and the held-out ones are easy.",
        c="Not fitted, but their words were: the other pairs of the same prompt have them. A new prompt has none.",
        d="The other way round: what was learned are the words of the ten prompts.",
    ),
)

EXERCISES = (split_chance, false_discoveries, twice_as_long, predict_faultless, predict_folds)
