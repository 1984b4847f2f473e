"""Exercises of notebook 35: what revisions leave, labels by a constitution, and the policy between help and harm."""

# fmt: off

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "35_constitutional_ai"
POINTS = 400 / math.log(10)

predict_harm_left = Exercise(
    "predict-harm-left", NOTEBOOK, "four rounds", *(2, 5, 3),
    "A reply contains one bad idea, which breaks one principle of a constitution of four. Each round draws one "
    "principle at random, and the critic finds what breaks it with probability 0.8; what is found is revised away. "
    "After four rounds the bad idea is still there with probability\n\n"
    "a) 0.2 %: it was overlooked four times, and 0.2⁴ = 0.0016\n\n"
    "b) 20 %: in four rounds each of four principles has its turn, and then it is overlooked once in five\n\n"
    "c) 32 %: three principles in four are the wrong ones, and 0.75⁴ = 0.316\n\n"
    "d) 41 %\n\n"
    "Put the letter into `prediction`.",
    ("What must happen in one round for the bad idea to go?",
     "The right principle must be drawn (one in four) *and* the critic must find it (0.8).",
     "One round leaves it with 1 - 0.8/4 = 0.8; four rounds: 0.8 to the fourth power."),
    "right: (1 - 0.8/4)⁴ = 0.41. The draw divides the critic's recall by the number of principles.",
    judge=choice(
        "d",
        a="The critic can only find it when its principle is drawn, in one round of four.",
        b="The draws do not take turns: all four rounds can draw other principles, and 0.75⁴ = 32 % of all runs do.",
        c="So often its principle is never drawn. But when it is drawn, the critic may overlook the bad idea as well.",
    ),
)


def _round(lands: Tensor, recall: float) -> Tensor:
    n = lands.shape[1]
    return recall * one_hot(lands, n).double().mean(0) + (1 - recall) * torch.eye(n, dtype=torch.float64)


def _together(lands: Tensor) -> Tensor:
    at = torch.arange(lands.shape[1])
    for row in lands:
        at = row[at]
    return one_hot(at, lands.shape[1]).double()


def _lands(label: str, rules: list[list[int]], recall: float) -> Case:
    return Case(label, {"lands": torch.tensor(rules), "recall": recall})


revision_round = Exercise(
    "revision-round", NOTEBOOK, "a round is a matrix", *(3, 4, 10),
    "There are n replies and P principles. `lands` `[P, n]` (whole numbers) says which reply each one becomes when it "
    "is revised under each principle: `lands[p, i] == i` where reply i keeps principle p. Write "
    "`revision_round(lands, recall)`: the matrix `[n, n]` whose entry `[i, j]` is the probability that reply i is "
    "reply j after one round. One principle is drawn, all alike; with probability 1 - `recall` the critic overlooks "
    "everything.",
    ("Each row is a law over the next reply. Which two things are left to chance?",
     "recall times the mean over principles of (1 where the reply lands, else 0), plus 1 - recall on the diagonal.",
     "return recall * torch.nn.functional.one_hot(lands, n).double().mean(0) + (1 - recall) * torch.eye(n)"),
    "right: a law times this matrix is the law one round later, and k rounds are its k-th power.",
    reference=_round,
    cases=(_lands("two principles, three replies", [[0, 0, 2], [0, 1, 0]], 0.8),
           _lands("three principles, four replies", [[0, 0, 2, 2], [0, 1, 0, 1], [1, 1, 2, 3]], 0.5),
           _lands("one principle", [[1, 1, 2]], 0.9)),
    mistakes=(
        ("Rows and columns are swapped: row i holds what becomes *of* reply i.", lambda x, q: _round(x, q).T),
        ("Where the critic overlooks something the reply stays as it is: 1 - recall belongs on the diagonal.",
         lambda x, q: q * one_hot(x, x.shape[1]).double().mean(0)),
        ("You left out the recall: a critic who overlooks leaves the reply as it is.", lambda x, q: _round(x, 1.0)),
        ("You keep all principles at once: a round draws one of them.",
         lambda x, q: q * _together(x) + (1 - q) * torch.eye(x.shape[1])),
        ("You add up the principles: one is drawn, so take their mean.",
         lambda x, q: q * one_hot(x, x.shape[1]).double().sum(0) + (1 - q) * torch.eye(x.shape[1])),
        ("recall is the chance to *find* it; you used it as the chance to overlook.",
         lambda x, q: _round(x, 1 - q)),
        ("You divided by the number of replies: the mean is over the principles.",
         lambda x, q: q * one_hot(x, x.shape[1]).double().sum(0) / x.shape[1] + (1 - q) * torch.eye(x.shape[1])),
        ("Only the first principle is ever drawn.", lambda x, q: _round(x[:1], q)),
    ),
)


def _left(one: float, both: float, recall: float, principles: int, revisions: int) -> float:
    a, b = (1 - recall / principles) ** revisions, (1 - 2 * recall / principles) ** revisions
    return one * a + both * (2 * a - b)


def _harm(label: str, *values: float) -> Case:
    return Case(label, dict(zip(("one", "both", "recall", "principles", "revisions"), values, strict=True)))


def _waits(recall: float, principles: int, revisions: int) -> float:
    return (1 - recall / principles) ** revisions


harm_left = Exercise(
    "harm-left", NOTEBOOK, "one bad idea, or two", *(3, 4, 10),
    "A share `one` of all replies breaks one principle, another share `both` breaks two different ones. Each of "
    "`revisions` rounds draws one of the `principles` (a number, P) and finds what breaks it with probability "
    "`recall`. Write `harm_left(one, both, recall, principles, revisions)`: the share of replies that still breaks at "
    "least one.",
    ("For two: P(A or B left) = P(A left) + P(B left) - P(both left).",
     "One is left with (1 - q/P)^k. Both are left if no round finds either of them: (1 - 2q/P)^k.",
     "a, b = (1 - recall / principles)**revisions, (1 - 2 * recall / principles)**revisions; one*a + both*(2*a - b)"),
    "right: two bad ideas wait for each other, since a round sees to one of them at most.",
    reference=_left,
    cases=(_harm("four principles", 0.4, 0.5, 0.8, 4, 3), _harm("two principles", 0.2, 0.3, 0.6, 2, 4),
           _harm("five, one round", 0.5, 0.1, 1.0, 5, 1)),
    mistakes=(
        ("A round draws one principle only: a bad idea is found with probability recall / principles.",
         lambda o, b, q, p, k: (o + b) * (1 - q) ** k),
        ("A round draws one principle only: divide the recall by their number.",
         lambda o, b, q, p, k: _left(o, b, q, 1, k)),
        ("Two bad ideas take longer than one: either of them may be left.",
         lambda o, b, q, p, k: (o + b) * _waits(q, p, k)),
        ("You count two bad ideas as if they were drawn for independently. A round that sees to one leaves the other: "
         "both are left with (1 - 2q/P)^k, not with (1 - q/P)^(2k).",
         lambda o, b, q, p, k: o * _waits(q, p, k) + b * (1 - (1 - _waits(q, p, k)) ** 2)),
        ("Replies with both left are counted twice: take (1 - 2q/P)^k off.",
         lambda o, b, q, p, k: (o + 2 * b) * _waits(q, p, k)),
        ("That is the share in which *both* are left; one of them is harm enough.",
         lambda o, b, q, p, k: o * _waits(q, p, k) + b * (1 - 2 * q / p) ** k),
        ("The replies with two bad ideas are missing.", lambda o, b, q, p, k: o * _waits(q, p, k)),
        ("This is the share without harm: subtract it from one + both.",
         lambda o, b, q, p, k: o + b - _left(o, b, q, p, k)),
        ("Rounds multiply what is left; you subtracted the same amount for each.",
         lambda o, b, q, p, k: o * (1 - k * q / p) + b * (2 * (1 - k * q / p) - (1 - 2 * k * q / p))),
    ),
)


def _label(first: Tensor, second: Tensor, temperature: float, confident: float) -> Tensor:
    return ((second - first) / temperature).sigmoid().clamp(1 - confident, confident).mean(1)


def _pairs(label: str, seed: int, rules: int, temperature: float, confident: float) -> Case:
    draws = torch.Generator().manual_seed(seed)
    counts = [torch.randint(3, (5, rules), generator=draws).double() for _ in range(2)]
    counts[0][0], counts[1][0] = 0.0, torch.arange(rules).double() + 1
    given = {"first": counts[0], "second": counts[1]}
    return Case(label, {**given, "temperature": temperature, "confident": confident})


mean_label = Exercise(
    "mean-label", NOTEBOOK, "the label of a whole constitution", *(3, 4, 10),
    "N pairs of replies, P principles: `first` and `second` `[N, P]` count the phrases of either reply that break each "
    "principle. Asked under one principle, a judge says that the first is better with probability "
    "σ((second - first)/`temperature`), held between 1 - `confident` and `confident`. For each pair a principle is "
    "drawn. Write `mean_label(first, second, temperature, confident)`: the label that a pair gets on average, `[N]`.",
    ("In which order do the sigmoid, the clamp and the mean over the principles come?",
     "Each draw gives a clamped probability; the average over the draws is the mean of those P numbers.",
     "return ((second - first) / temperature).sigmoid().clamp(1 - confident, confident).mean(1)"),
    "right: most principles have nothing to say about most pairs, and their coins pull the label towards one half.",
    reference=_label,
    cases=(_pairs("clamped to 60 %", 0, 3, 0.5, 0.6), _pairs("not clamped", 1, 4, 1.0, 1.0),
           _pairs("two principles, 80 %", 2, 2, 0.5, 0.8)),
    mistakes=(
        ("The fewer phrases break a principle, the better: you have the labels for the second.",
         lambda a, b, t, c: _label(b, a, t, c)),
        ("The judge is too sure each time it is asked, so clamp each probability, and then take the mean.",
         lambda a, b, t, c: ((b - a) / t).sigmoid().mean(1).clamp(1 - c, c)),
        ("You asked under all principles at once: one is drawn, so the mean is over probabilities, not over counts.",
         lambda a, b, t, c: ((b - a).sum(1) / t).sigmoid().clamp(1 - c, c)),
        ("You took the mean of the counts: the sigmoid comes first, the mean over the draws last.",
         lambda a, b, t, c: ((b - a).mean(1) / t).sigmoid().clamp(1 - c, c)),
        ("The clamp is missing.", lambda a, b, t, c: _label(a, b, t, 1.0)),
        ("You multiplied by the temperature.", lambda a, b, t, c: _label(a, b, 1 / t, c)),
        ("The temperature is missing.", lambda a, b, t, c: _label(a, b, 1.0, c)),
        ("You clamped above only: below 1 - confident is too sure as well.",
         lambda a, b, t, c: ((b - a) / t).sigmoid().clamp(max=c).mean(1)),
        ("You summed over the principles: the label is their mean.",
         lambda a, b, t, c: ((b - a) / t).sigmoid().clamp(1 - c, c).sum(1)),
        ("These are verdicts, 0 or 1: the labels stay soft.",
         lambda a, b, t, c: (((b - a).sign() + 1) / 2).clamp(1 - c, c).mean(1)),
    ),
)


def _law(tuned: Tensor, helpful: Tensor, harmless: Tensor, weight: float, beta: float) -> Tensor:
    return (tuned.log() + (helpful + weight * harmless) / beta).softmax(0)


def _stage(label: str, seed: int, n: int, weight: float, beta: float) -> Case:
    draws = torch.Generator().manual_seed(seed)
    tuned = torch.rand(n, generator=draws, dtype=torch.float64) + 0.1
    helpful, harmless = torch.randn(2, n, generator=draws, dtype=torch.float64)
    rewards = {"helpful": helpful, "harmless": harmless}
    return Case(label, {"tuned": tuned / tuned.sum(), **rewards, "weight": weight, "beta": beta})


two_rewards = Exercise(
    "rl-cai-law", NOTEBOOK, "where reinforcement ends", *(2, 5, 8),
    "RL-CAI starts from the fine-tuned law `tuned` `[n]`, is paid `helpful` `[n]` (learned from people) plus "
    "`weight` times `harmless` `[n]` (learned from the AI's labels), and pays `beta` for each nat of KL to where it "
    "started. Write `rl_cai(tuned, helpful, harmless, weight, beta)`: the law at which it ends, `[n]`.",
    ("This is the optimum that you know from one reward. What is the reward here?",
     "tuned times exp(reward / beta), made to sum to 1, with reward = helpful + weight * harmless.",
     "return (tuned.log() + (helpful + weight * harmless) / beta).softmax(0)"),
    "right: one law, two rewards, and the exchange rate between them is the weight.",
    reference=_law,
    cases=(_stage("five replies", 0, 5, 2.0, 0.5), _stage("four replies", 1, 4, 0.5, 1.5),
           _stage("six replies", 2, 6, 3.0, 0.3)),
    mistakes=(
        ("The start is missing: without `tuned` the KL would be to the uniform law.",
         lambda s, a, h, w, b: ((a + w * h) / b).softmax(0)),
        ("You multiplied by beta: a dear KL must keep the policy closer to its start.",
         lambda s, a, h, w, b: (s.log() + (a + w * h) * b).softmax(0)),
        ("beta is missing.", lambda s, a, h, w, b: (s.log() + a + w * h).softmax(0)),
        ("beta divides both rewards, not one of them.", lambda s, a, h, w, b: (s.log() + a / b + w * h).softmax(0)),
        ("beta divides both rewards, not one of them.", lambda s, a, h, w, b: (s.log() + a + w * h / b).softmax(0)),
        ("The weight stands before the wrong reward: harmless is weighed.",
         lambda s, a, h, w, b: (s.log() + (w * a + h) / b).softmax(0)),
        ("The task adds weight * harmless to the whole of helpful: no 1 - weight.",
         lambda s, a, h, w, b: (s.log() + ((1 - w) * a + w * h) / b).softmax(0)),
        ("The weight is missing.", lambda s, a, h, w, b: (s.log() + (a + h) / b).softmax(0)),
        ("The help term is missing.", lambda s, a, h, w, b: (s.log() + w * h / b).softmax(0)),
        ("harmless is a reward: add it.", lambda s, a, h, w, b: _law(s, a, -h, w, b)),
        ("It does not sum to 1: divide by the sum.", lambda s, a, h, w, b: s * ((a + w * h) / b).exp()),
        ("Inside the softmax stands log(tuned), not tuned.", lambda s, a, h, w, b: (s + (a + w * h) / b).softmax(0)),
    ),
)


def _wins(law: Tensor, other: Tensor, score: Tensor) -> float:
    return (law @ (score[:, None] - score).sigmoid() @ other).item()


def _meeting(label: str, seed: int, n: int) -> Case:
    draws = torch.Generator().manual_seed(seed)
    law, other = (2 * torch.randn(2, n, generator=draws, dtype=torch.float64)).softmax(1)
    return Case(label, {"law": law, "other": other, "score": 2 * torch.randn(n, generator=draws, dtype=torch.float64)})


def _odds(wins: float) -> float:
    return math.log10(wins / (1 - wins))


elo_gap = Exercise(
    "elo-gap", NOTEBOOK, "how far above", *(3, 4, 10),
    "Two models, the laws `law` and `other` `[n]` over the same n replies, meet: each draws a reply, and a rater "
    "prefers reply i to reply j with probability σ(`score[i]` - `score[j]`). Write `elo_gap(law, other, score)`: by "
    "how many Elo points the first stands above the second: 400 times the decimal logarithm of its odds of winning.",
    ("How often does `law` win, over all pairs of replies that can meet?",
     "w = Σ_ij law[i] · other[j] · σ(score[i] - score[j]), and the gap is 400 log10(w / (1 - w)).",
     "wins = law @ (score[:, None] - score).sigmoid() @ other; return 400 * torch.log10(wins / (1 - wins))"),
    "right: a gap of 400 is odds of ten to one.",
    reference=lambda law, other, score: 400 * _odds(_wins(law, other, score)),
    cases=(_meeting("four replies", 0, 4), _meeting("six replies", 1, 6), _meeting("three replies", 2, 3)),
    mistakes=(
        ("You compare the mean scores. Replies meet, not averages: take the mean of the sigmoids.",
         lambda p, q, s: POINTS * ((p - q) @ s).item()),
        ("That is the natural logarithm: Elo takes the decimal one.",
         lambda p, q, s: 400 * _odds(_wins(p, q, s)) * math.log(10)),
        ("That is the share of wins: turn it into points.", _wins),
        ("That is the log of the share of wins: the odds are w / (1 - w).",
         lambda p, q, s: 400 * math.log10(_wins(p, q, s))),
        ("The sign is flipped: who wins more stands higher.", lambda p, q, s: -400 * _odds(_wins(p, q, s))),
        ("The better reply does not always win: σ of the difference, not its sign.",
         lambda p, q, s: 400 * _odds((p @ ((s[:, None] - s).sign() + 1) @ q).item() / 2)),
        ("You drew both replies from the same law, which beats itself in half of the cases.",
         lambda p, q, s: 0.0),
        ("The factor 400 is missing.", lambda p, q, s: _odds(_wins(p, q, s))),
    ),
)

predict_no_help = Exercise(
    "predict-no-help", NOTEBOOK, "harmlessness alone", *(2, 5, 3),
    "Now leave the help term out: RL-CAI is paid for harmlessness only, with labels by three principles (no damage, no "
    "deceit, keep out of quarrels: any advice breaks the third). It becomes\n\n"
    "a) evasive in most replies\n\n"
    "b) harmless and helpful: the helpful samples of the fine-tuning keep it helpful\n\n"
    "c) evasive in about 28 %, as SL-CAI was: evasion is neither rewarded nor punished\n\n"
    "d) harmful: without the help term there is nothing that it could do well\n\n"
    "Put the letter into `prediction`.",
    ("Which of the sixteen replies breaks none of the three principles?",
     "Only one: the evasive reply. What does a preference model say of the only reply that never loses?",
     "The evasive reply gets the highest reward, and nothing pays for anything else."),
    "right: more than four replies in five say “I cannot help with that.” The rules did not ask for it; one of them "
    "forbids advice, and nothing pays for it.",
    judge=choice(
        "a",
        b="The start weighs in, but a reward for saying nothing outweighs it. Which replies break no principle?",
        c="That would be so if only the two bad ideas were forbidden. What does the third principle say about advice?",
        d="Harm is what the labels punish most: two bad ideas break two principles.",
    ),
)

EXERCISES = (predict_harm_left, revision_round, harm_left, mean_label, two_rewards, elo_gap, predict_no_help)
