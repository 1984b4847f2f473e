"""Answers a learner might give in notebook 30."""

import math

import torch


def first_where(gap, position, shown_first):
    return torch.sigmoid(gap + torch.where(shown_first, position, -position))


def first_odds(gap, position, shown_first):
    found = []
    for d, stands in zip(gap.tolist(), shown_first.tolist(), strict=True):
        pull = d + position if stands else d - position
        found.append(1 / (1 + math.exp(-pull)) if pull > -500 else 0.0)
    return found


def first_signs(gap, position, shown_first):
    side = 2 * shown_first.to(gap.dtype) - 1
    return 1 - torch.sigmoid(-gap - side * position)


def by_logit(shown_first, shown_second):
    one, two = torch.logit(shown_first), torch.logit(shown_second)
    return (one + two) / 2, (one - two) / 2


def by_odds(shown_first, shown_second):
    one, two = shown_first / (1 - shown_first), shown_second / (1 - shown_second)
    return torch.log(torch.sqrt(one * two)), torch.log(torch.sqrt(one / two))


def same_sum(gap, position):
    p, q = torch.sigmoid(gap + position), torch.sigmoid(gap - position)
    return p * q + (1 - p) * (1 - q)


def same_complement(gap, position):
    p, q = torch.sigmoid(gap + position), torch.sigmoid(gap - position)
    return 1 - p * (1 - q) - q * (1 - p)


def swapped_by_hand(gap, position):
    first, second = (1 / (1 + torch.exp(-x)) for x in (gap + position, position - gap))
    return first * (1 - second) + (1 - first) * second


def half_only(shown_first, shown_second):
    return torch.logit((shown_first + shown_second) / 2), by_logit(shown_first, shown_second)[1]


RIGHT = {
    "position-odds": [first_where, first_odds, first_signs],
    "two-orders": [by_logit, by_odds],
    "rater-consistency": [same_sum, same_complement, swapped_by_hand],
    "twenty-labels": [0.88, 1.96 / math.sqrt(5)],
    "predict-confounded": ["d", " D", "d)"],
}

WRONG = {
    "position-odds": [
        ("place is ignored", lambda g, b, s: torch.sigmoid(g + b)),
        ("you add nothing", lambda g, b, s: torch.sigmoid(g + b * s)),
        ("sign is flipped", lambda g, b, s: first_where(g, -b, s)),
        ("first *response* was asked for", lambda g, b, s: torch.sigmoid(torch.where(s, g, -g) + b)),
        ("inside the sigmoid", lambda g, b, s: torch.sigmoid(g) + torch.where(s, b, -b)),
        ("sigmoid is missing", lambda g, b, s: g + torch.where(s, b, -b)),
        ("second response", lambda g, b, s: torch.sigmoid(-g - torch.where(s, b, -b))),
        ("`position` is ignored", lambda g, b, s: torch.sigmoid(g)),
        ("twice", lambda g, b, s: first_where(g, 2 * b, s)),
        (
            "the whole probability round",
            lambda g, b, s: torch.where(s, (g + b).sigmoid(), 1 - (g + b).sigmoid()),
        ),
        ("must be *added*", lambda g, b, s: torch.sigmoid(g - b * (1 - s.to(g)))),
        ("`gap` is ignored", lambda g, b, s: torch.sigmoid(torch.where(s, b, -b) * torch.ones_like(g))),
        ("over both places", lambda g, b, s: torch.stack([g + b, g - b]).sigmoid().mean(0)),
        ("multiplied two", lambda g, b, s: g.sigmoid() * (b * (2 * s.to(g) - 1)).sigmoid()),
        ("threshold", lambda g, b, s: first_where(g, b, s).round()),
        ("choose with torch.where", lambda g, b, s: g + b if s else g - b),
        ("reduced", lambda g, b, s: first_where(g, b, s).mean()),
    ],
    "two-orders": [
        ("averaged the shares", half_only),
        ("These are shares", lambda p, q: ((p + q) / 2, (p - q) / 2)),
        ("did not halve", lambda p, q: tuple(2 * x for x in by_logit(p, q))),
        ("*twice* the liking", lambda p, q: (by_logit(p, q)[0], 2 * by_logit(p, q)[1])),
        ("share of B", lambda p, q: by_logit(p, 1 - q)),
        ("wrong order", lambda p, q: list(by_logit(p, q))[::-1]),
        ("sign of the liking", lambda p, q: (by_logit(p, q)[0], -by_logit(p, q)[1])),
        ("liking still in it", lambda p, q: (torch.logit(p), by_logit(p, q)[1])),
        ("gap less the liking", lambda p, q: (torch.logit(q), by_logit(p, q)[1])),
        ("log(p/(1 - p))", lambda p, q: (torch.log(p * q) / 2, torch.log(p / q) / 2)),
        ("averaged the odds", lambda p, q: (torch.stack([p / (1 - p), q / (1 - q)]).mean(0), p - q)),
        ("take the gap off", lambda p, q: (by_logit(p, q)[0], torch.logit(p))),
        ("may be negative", lambda p, q: (by_logit(p, q)[0], abs(by_logit(p, q)[1]))),
        ("from the shares", lambda p, q: (by_logit(p, q)[0], torch.logit(p - q))),
    ],
    "rater-consistency": [
        ("*second* response both times", lambda g, b: torch.sigmoid(g + b) * torch.sigmoid(g - b)),
        (
            "places are swapped",
            lambda g, b: torch.sigmoid(g + b) ** 2 + (1 - torch.sigmoid(g + b)) ** 2,
        ),
        ("`position` is ignored", lambda g, b: same_sum(g, 0.0)),
        ("same *place*", lambda g, b: 1 - same_sum(g, b)),
        ("better one is named", lambda g, b: torch.sigmoid(g.abs())),
        ("*multiply*", lambda g, b: torch.sigmoid(g + b) + torch.sigmoid(g - b)),
        ("only how often the first", lambda g, b: torch.sigmoid(g + b)),
        ("*drawn*", lambda g, b: 1 - abs(torch.sigmoid(g + b) - torch.sigmoid(g - b))),
        ("counted the first response twice", lambda g, b: 2 * torch.sigmoid(g + b) * torch.sigmoid(g - b)),
        ("first *place* both", lambda g, b: torch.sigmoid(g + b) * (1 - torch.sigmoid(g - b))),
        ("on average", lambda g, b: torch.stack([g + b, g - b]).sigmoid().mean(0)),
    ],
    "twenty-labels": [
        ("standard error: the interval", 0.447),
        ("of the *share*", 0.219),
        ("standard error of the share", 0.1118),
        ("is 1/4", 0.438),
        ("whole width", 1.753),
        ("square root", 0.392),
        ("too large", 3),
        ("Nearly", 0.9),
        ("Nearly", 2 / math.sqrt(5)),
        ("90 %", 1.645 / math.sqrt(5)),
        ("root of the information", math.sqrt(5)),
    ],
    "predict-confounded": [
        ("a thousand equal numbers", "a"),
        ("Only the sum", "b"),
        ("what you believed before", "c"),
        ("one of the letters", "e"),
        ("one of the letters", 4),
    ],
}
