"""Answers a learner might give in notebook 31."""

import math

import torch

from rlbase.feedback import importance_weights


def pair_weights(target, source, one, other):
    return (target / source)[one] * (target / source)[other]


def pair_weights_package(target, source, one, other):
    each = importance_weights(target, source)
    return torch.stack([each[one], each[other]]).prod(0)


def pair_weights_loop(target, source, one, other):
    return [
        target[i] * target[j] / (source[i] * source[j])
        for i, j in zip(one.tolist(), other.tolist(), strict=True)
    ]


def size(weights):
    return weights.sum() ** 2 / (weights**2).sum()


def size_normalised(weights):
    share = weights / weights.sum()
    return 1 / torch.dot(share, share)


def posterior(prior, answers, accuracy):
    says = torch.where(answers.isnan(), 0, 2 * answers - 1)
    return (prior.logit() + says @ accuracy.logit()).sigmoid()


def posterior_bayes(prior, answers, accuracy):
    first, second = prior.clone(), 1 - prior
    for m in range(answers.shape[1]):
        y, a = answers[:, m], accuracy[m]
        first = first * torch.where(y == 1, a, torch.where(y == 0, 1 - a, 1.0))
        second = second * torch.where(y == 1, 1 - a, torch.where(y == 0, a, 1.0))
    return first / (first + second)


def gain(difference, logit, known):
    p = logit.sigmoid()
    return torch.log1p(p * (1 - p) * ((difference @ torch.linalg.inv(known)) * difference).sum(1))


def gain_by_determinants(difference, logit, known):
    found = []
    for z, d in zip(difference, logit, strict=True):
        p = torch.sigmoid(d)
        found.append(torch.logdet(known + p * (1 - p) * torch.outer(z, z)) - torch.logdet(known))
    return torch.stack(found)


RIGHT = {
    "predict-more-labels": ["c", " C"],
    "pair-weights": [pair_weights, pair_weights_package, pair_weights_loop],
    "effective-size": [size, size_normalised, lambda w: len(w) / (1 + w.var(correction=0) / w.mean() ** 2)],
    "belief-shift": [0.8, -0.4 + 1.2],
    "rater-posterior": [posterior, posterior_bayes],
    "information-gain": [gain, gain_by_determinants],
}

WRONG = {
    "predict-more-labels": [
        ("falls as 1/n", "a"),
        ("how *chance* falls", "b"),
        ("averaged, not added", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.75),
    ],
    "pair-weights": [
        ("upside down", lambda p, s, i, j: (s / p)[i] * (s / p)[j]),
        ("Only the first", lambda p, s, i, j: p[i] / s[i]),
        ("Only the second", lambda p, s, i, j: p[j] / s[j]),
        ("independent draws multiply", lambda p, s, i, j: p[i] / s[i] + p[j] / s[j]),
        ("You averaged", lambda p, s, i, j: torch.stack([p[i] / s[i], p[j] / s[j]]).mean(0)),
        ("the root", lambda p, s, i, j: pair_weights(p, s, i, j) ** 0.5),
        ("`source` is missing", lambda p, s, i, j: p[i] * p[j]),
        ("`target` is missing", lambda p, s, i, j: 1 / s[i] / s[j]),
        ("You normalised", lambda p, s, i, j: pair_weights(p, s, i, j) / pair_weights(p, s, i, j).sum()),
        ("two ratios, and multiply", lambda p, s, i, j: (p[i] + p[j]) / (s[i] + s[j])),
        ("One `source`", lambda p, s, i, j: p[i] * p[j] / s[j]),
        ("One `target`", lambda p, s, i, j: p[i] / s[i] / s[j]),
        ("You normalised", lambda p, s, i, j: pair_weights(p, s, i, j) / pair_weights(p, s, i, j).mean()),
        ("One ratio", lambda p, s, i, j: p[i] / s[i] * s[j] / p[j]),
    ],
    "effective-size": [
        ("Upside down", lambda w: (w**2).sum() / w.sum() ** 2),
        ("share that is left", lambda w: w.mean() ** 2 / (w**2).mean()),
        ("forgot to divide", lambda w: w.sum() ** 2),
        ("in their own unit", torch.sum),
        ("divide the weights by their sum", lambda w: 1 / torch.dot(w, w)),
        ("not n²", lambda w: len(w) ** 2 / torch.dot(w, w)),
        ("The sum must be squared", lambda w: w.sum() / torch.dot(w, w)),
        ("You took the root", lambda w: w.sum() / w.norm()),
        ("by the number of labels", lambda w: w.sum() * w.mean()),
        ("correction=0", lambda w: len(w) / (1 + (w.std() / w.mean()) ** 2)),
        ("rounded", lambda w: round(float(size(w)))),
        ("rounded", lambda w: int(size(w))),
        ("You counted the labels", len),
        ("above 0", torch.count_nonzero),
        ("Sum over the largest", lambda w: w.sum() / w.max()),
        ("entropy", lambda w: torch.exp(-(q := w[w > 0] / w.sum()).dot(q.log()))),
    ],
    "belief-shift": [
        ("That is gold", -0.4),
        ("belief alone", 1.2),
        ("sign of the belief", -1.6),
        ("likes the house *less*", 1.6),
        ("no average", 0.4),
        ("is the probability", 1 / (1 + math.exp(-0.8))),
        ("You multiplied", -0.4 * 1.2),
        ("are the odds", math.exp(0.8)),
        ("sigma(1.2)", 0.7685),
    ],
    "rater-posterior": [
        ("`prior` is missing", lambda q, y, a: posterior(torch.full_like(q, 0.5), y, a)),
        (
            "taken for `second`",
            lambda q, y, a: posterior(q, y.nan_to_num(0), a),
        ),
        ("taken for `first`", lambda q, y, a: posterior(q, y.nan_to_num(1), a)),
        ("Only the answers `first`", lambda q, y, a: (q.logit() + y.nan_to_num(0) @ a.logit()).sigmoid()),
        (
            "same say",
            lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0).sum(1)).sigmoid(),
        ),
        ("accuracy itself", lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0) @ a).sigmoid()),
        ("accuracy - 1/2", lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0) @ (a - 0.5)).sigmoid()),
        ("accuracy - 1/2", lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0) @ (2 * a - 1)).sigmoid()),
        ("log a", lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0) @ a.log()).sigmoid()),
        ("turn them into a probability", lambda q, y, a: posterior(q, y, a).logit()),
        ("probability of the second", lambda q, y, a: 1 - posterior(q, y, a)),
        ("turned round", lambda q, y, a: posterior(q, 1 - y, a)),
        ("Not normalised", lambda q, y, a: q * torch.where(y == 1, a, torch.where(y == 0, 1 - a, 1)).prod(1)),
        ("log(a/(1-a)) negative", lambda q, y, a: posterior(q, y, torch.maximum(a, 1 - a))),
        ("no say at all", lambda q, y, a: posterior(q, y, a.clamp(min=0.5))),
        ("counts half", lambda q, y, a: (q.logit() + (y - 0.5).nan_to_num(0) @ a.logit()).sigmoid()),
        (
            "The logarithm is missing",
            lambda q, y, a: (q.logit() + (2 * y - 1).nan_to_num(0) @ (a / (1 - a))).sigmoid(),
        ),
        ("You decided", lambda q, y, a: posterior(q, y, a).round()),
        ("NaN spreads", lambda q, y, a: (q.logit() + (2 * y - 1) @ a.logit()).sigmoid()),
    ],
    "information-gain": [
        ("is missing: an answer", lambda z, d, h: torch.log1p((z @ h.inverse() * z).sum(1))),
        ("p instead of p (1 - p)", lambda z, d, h: torch.log1p(d.sigmoid() * (z @ h.inverse() * z).sum(1))),
        (
            "must be inverted",
            lambda z, d, h: torch.log1p(d.sigmoid() * (1 - d.sigmoid()) * (z @ h * z).sum(1)),
        ),
        ("H is missing", lambda z, d, h: torch.log1p(d.sigmoid() * (1 - d.sigmoid()) * (z * z).sum(1))),
        ("this factor, less 1", lambda z, d, h: torch.expm1(gain(z, d, h))),
        ("The 1 is missing", lambda z, d, h: torch.log(torch.expm1(gain(z, d, h)))),
        (
            "only the diagonal",
            lambda z, d, h: torch.log1p(d.sigmoid() * (1 - d.sigmoid()) * (z * z / h.diag()).sum(1)),
        ),
        ("sign is flipped", lambda z, d, h: -gain(z, d, h)),
        ("log det afterwards", lambda z, d, h: gain_by_determinants(z, d, h) + h.logdet()),
        ("subtracted determinants", lambda z, d, h: h.det() * (gain(z, d, h).exp() - 1)),
        ("is 1/4 only", lambda z, d, h: torch.log1p((z @ h.inverse() * z).sum(1) / 4)),
        ("Halved", lambda z, d, h: 0.5 * gain(z, d, h)),
        ("reduced", lambda z, d, h: gain(z, d, h).sum()),
    ],
}
