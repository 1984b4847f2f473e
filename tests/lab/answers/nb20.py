"""Answers a learner might give in notebook 20."""

import math

import torch
from torch.nn import functional as F


def reward_where(logp, ref_logp, mask, beta):
    zero = torch.zeros_like(logp)
    return beta * (torch.where(mask, logp, zero).sum(-1) - torch.where(mask, ref_logp, zero).sum(-1))


def reward_rows(logp, ref_logp, mask, beta):
    return torch.stack([beta * (a[m] - b[m]).sum() for a, b, m in zip(logp, ref_logp, mask, strict=True)])


def reward_times(logp, ref_logp, mask, beta):
    return beta * (mask * (logp - ref_logp)).sum(dim=1)


def loss_logsigmoid(cl, rl, cr, rr, beta):
    return -F.logsigmoid(beta * ((cl - rl) - (cr - rr)))


def loss_two(cl, rl, cr, rr, beta):
    scores = torch.stack([beta * (cl - cr), beta * (rl - rr)])
    return scores.logsumexp(0) - scores[0]


def loss_naive(cl, rl, cr, rr, beta):
    return -torch.log(torch.sigmoid(beta * (cl - cr) - beta * (rl - rr)))


def h(cl, rl, cr, rr):
    return cl - rl - cr + rr


def weight_one_minus(cl, rl, cr, rr, beta):
    return beta * (1 - torch.sigmoid(beta * h(cl, rl, cr, rr)))


def weight_softmax(cl, rl, cr, rr, beta):
    return beta * torch.stack([beta * (cl - cr), beta * (rl - rr)]).softmax(0)[1]


def rest_odds(ref, share, beta):
    odds = ref / (1 - ref) * (share / (1 - share)) ** (1 / beta)
    return odds / (1 + odds)


def rest_law(ref, share, beta):
    both = torch.stack([ref * share ** (1 / beta), (1 - ref) * (1 - share) ** (1 / beta)])
    return both[0] / both.sum(0)


def rest_loop(ref, share, beta):
    return [
        1 / (1 + ((1 - r) / r) * ((1 - s) / s) ** (1 / beta))
        for r, s in zip(ref.tolist(), share.tolist(), strict=True)
    ]


RIGHT = {
    "implicit-reward": [reward_where, reward_rows],
    "dpo-loss": [loss_logsigmoid, loss_two],
    "dpo-gradient-weight": [weight_one_minus, weight_softmax],
    "dpo-rest": [rest_odds, rest_law, rest_loop],
    "predict-chosen": ["c", " C "],
}

WRONG = {
    "implicit-reward": [
        ("*sum* of its tokens", lambda a, b, m, beta: reward_where(a, b, m, beta) / m.sum(1)),
        ("counted the padding", lambda a, b, m, beta: beta * (a.sum(1) - b.sum(1))),
        ("reference is missing", lambda a, b, m, beta: beta * torch.where(m, a, 0 * b).sum(1)),
        ("beta is missing", lambda a, b, m, beta: reward_rows(a, b, m, 1)),
        ("divided by beta", lambda a, b, m, beta: reward_rows(a, b, m, 1) / beta),
        ("sign is flipped", lambda a, b, m, beta: reward_where(b, a, m, beta)),
        ("the ratio pi / ref", lambda a, b, m, beta: beta * reward_rows(a, b, m, 1).exp()),
        ("divides log-probabilities", lambda a, b, m, beta: beta * torch.where(m, a / b, 0).sum(1)),
        ("policy's part only", lambda a, b, m, beta: torch.where(m, beta * a - b, 0).sum(1)),
        ("times a mask of 0", reward_times),
    ],
    "dpo-loss": [
        ("reference is missing", lambda a, b, c, d, beta: -F.logsigmoid(beta * (a - b))),
        ("swapped", lambda a, b, c, d, beta: loss_logsigmoid(b, a, d, c, beta)),
        ("minus in front", lambda a, b, c, d, beta: -loss_two(a, b, c, d, beta)),
        ("beta is missing", lambda a, b, c, d, beta: loss_two(a, b, c, d, 1)),
        ("outside of the logarithm", lambda a, b, c, d, beta: beta * loss_two(a, b, c, d, 1)),
        ("divided by beta", lambda a, b, c, d, beta: loss_two(a, b, c, d, 1 / beta)),
        ("probability that the chosen", lambda a, b, c, d, beta: torch.sigmoid(beta * h(a, b, c, d))),
        ("added the reference", lambda a, b, c, d, beta: loss_two(a, b, d, c, beta)),
        ("without its sigmoid", lambda a, b, c, d, beta: -beta * h(a, b, c, d)),
        ("policy's gap only", lambda a, b, c, d, beta: -F.logsigmoid(beta * (a - b) - (c - d))),
        (
            "ratios of probabilities",
            lambda a, b, c, d, beta: -F.logsigmoid(beta * (a.exp() / c.exp() - b.exp() / d.exp())),
        ),
        ("minus the probability", lambda a, b, c, d, beta: -torch.sigmoid(beta * h(a, b, c, d))),
        ("softplus or logsigmoid", loss_naive),
    ],
    "dpo-gradient-weight": [
        ("beta is missing in front", lambda a, b, c, d, beta: 1 - torch.sigmoid(beta * h(a, b, c, d))),
        ("right already", lambda a, b, c, d, beta: beta / (1 + torch.exp(-beta * h(a, b, c, d)))),
        ("sign is flipped", lambda a, b, c, d, beta: -weight_softmax(a, b, c, d, beta)),
        (
            "slope of the sigmoid",
            lambda a, b, c, d, beta: weight_softmax(a, b, c, d, beta) * torch.sigmoid(beta * h(a, b, c, d)),
        ),
        ("reference is missing", lambda a, b, c, d, beta: beta * torch.sigmoid(-beta * (a - b))),
        ("same for all pairs", lambda a, b, c, d, beta: torch.full_like(a, beta)),
        ("loss itself", loss_two),
        ("stands in front.", lambda a, b, c, d, beta: torch.sigmoid(beta * h(a, b, c, d))),
        ("in front twice", lambda a, b, c, d, beta: beta * weight_softmax(a, b, c, d, beta)),
    ],
    "dpo-rest": [
        ("share of people itself", lambda ref, share, beta: share.clone()),
        ("reference is missing", lambda ref, share, beta: rest_odds(torch.full_like(ref, 0.5), share, beta)),
        ("multiplied by beta", lambda ref, share, beta: rest_odds(ref, share, 1 / beta)),
        ("beta is missing", lambda ref, share, beta: ref * share / (ref * share + (1 - ref) * (1 - share))),
        ("sign is flipped", lambda ref, share, beta: rest_law(ref, 1 - share, beta)),
        (
            "exp(share / beta)",
            lambda ref, share, beta: (
                ref
                * (share / beta).exp()
                / (ref * (share / beta).exp() + (1 - ref) * ((1 - share) / beta).exp())
            ),
        ),
        ("divided both", lambda ref, share, beta: ((ref.logit() + share.logit()) / beta).sigmoid()),
        ("is not the log-odds", lambda ref, share, beta: (ref.log() + share.logit() / beta).sigmoid()),
        ("one response's weight", lambda ref, share, beta: ref * share ** (1 / beta)),
        ("without its Z", lambda ref, share, beta: ref * (share / (1 - share)) ** (1 / beta)),
        ("sigmoid is missing", lambda ref, share, beta: ref.logit() + share.logit() / beta),
    ],
    "predict-chosen": [
        ("Nothing in the loss asks", "a"),
        ("nothing can stay", "b"),
        ("short is the one", "d"),
        ("Answer with one of the letters", "e"),
        ("Answer with one of the letters", math.pi),
    ],
}
