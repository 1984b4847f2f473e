"""Answers a learner might give in notebook 22."""

import math

import numpy as np
import torch
from torch.nn.functional import logsigmoid, mse_loss, relu


def gap(c, r, cr, rr):
    return c - r - (cr - rr)


def ipo_square(c, r, cr, rr, tau):
    return (gap(c, r, cr, rr) - 0.5 / tau) ** 2


def ipo_mse(c, r, cr, rr, tau):
    h = gap(c, r, cr, rr)
    return mse_loss(h, torch.full_like(h, 1 / (2 * tau)), reduction="none")


def ipo_expanded(c, r, cr, rr, tau):
    ratio_w, ratio_l = c - cr, r - rr
    return ((2 * tau * (ratio_w - ratio_l) - 1) / (2 * tau)).square()


def rest_softmax(ref, preference, mu, tau):
    return torch.softmax(torch.log(ref) + (preference * mu).sum(dim=1) / tau, dim=0)


def rest_centred(ref, preference, mu, tau):
    pull = torch.stack([((row - 0.5) * mu).sum() for row in preference]) / tau
    weight = ref * torch.exp(pull - pull.max())
    return weight / weight.sum()


def rest_numpy(ref, preference, mu, tau):
    f = np.log(ref.numpy()) + preference.numpy() @ mu.numpy() / tau
    odds = np.exp(f - f.max())
    return odds / odds.sum()


def rest_naive(ref, preference, mu, tau):
    odds = ref * torch.exp((preference * mu).sum(1) / tau)
    return odds / odds.sum()


def ratio_where(logp, ref_logp, mask, average):
    per_token = (logp - ref_logp).masked_fill(~mask, 0.0)
    return per_token.sum(-1) / mask.sum(-1) if average else per_token.sum(-1)


def ratio_rows(logp, ref_logp, mask, average):
    rows = []
    for p, q, m in zip(logp, ref_logp, mask, strict=True):
        ratio = p[m] - q[m]
        rows.append(ratio.mean() if average else ratio.sum())
    return torch.stack(rows)


RIGHT = {
    "predict-dpo-margin": ["c", " C "],
    "ipo-loss": [ipo_square, ipo_mse, ipo_expanded],
    "ipo-optimum": [rest_softmax, rest_centred, rest_numpy],
    "average-or-sum": [ratio_where, ratio_rows],
    "predict-averaged-ipo": [40, 8 / (2 * 0.1)],
}

WRONG = {
    "predict-dpo-margin": [
        ("hinge", "a"),
        ("IPO's resting place", "b"),
        ("nowhere 0", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 3),
    ],
    "ipo-loss": [
        ("half of 1/tau", lambda c, r, cr, rr, t: (gap(c, r, cr, rr) - 1 / t) ** 2),
        ("tau/2", lambda c, r, cr, rr, t: (gap(c, r, cr, rr) - 1 / 2 * t) ** 2),
        ("tau^2 times", lambda c, r, cr, rr, t: (t * gap(c, r, cr, rr) - 0.5) ** 2),
        ("DPO's loss", lambda c, r, cr, rr, t: -logsigmoid(t * gap(c, r, cr, rr))),
        ("pulls back", lambda c, r, cr, rr, t: relu(1 / (2 * t) - gap(c, r, cr, rr)) ** 2),
        ("squares it", lambda c, r, cr, rr, t: abs(gap(c, r, cr, rr) - 1 / (2 * t))),
        ("reference is missing", lambda c, r, cr, rr, t: (c - r - 1 / (2 * t)) ** 2),
        ("wrong sign", lambda c, r, cr, rr, t: ((c + cr) - (r + rr) - 1 / (2 * t)) ** 2),
        ("swapped", lambda c, r, cr, rr, t: ((r - rr) - (c - cr) - 1 / (2 * t)) ** 2),
        ("tau stands twice", lambda c, r, cr, rr, t: (t * gap(c, r, cr, rr) - 0.5 / t) ** 2),
        ("no target", lambda c, r, cr, rr, t: (gap(c, r, cr, rr) - t) ** 2),
        ("dropped the target", lambda c, r, cr, rr, t: gap(c, r, cr, rr) ** 2),
        ("reduced", lambda c, r, cr, rr, t: ipo_square(c, r, cr, rr, t).mean()),
        (
            "no gradient",
            lambda c, r, cr, rr, t: ipo_square(c.detach(), r.detach(), cr, rr, t) + 0 * c + 0 * r,
        ),
    ],
    "ipo-optimum": [
        ("reference is missing", lambda p, P, m, t: ((P * m).sum(1) / t).softmax(0)),
        ("mu is missing", lambda p, P, m, t: (p.log() + P.mean(1) / t).softmax(0)),
        ("counted defeats", lambda p, P, m, t: (p.log() + m @ P / t).softmax(0)),
        ("multiplied by tau", lambda p, P, m, t: (p.log() + t * (P @ m)).softmax(0)),
        ("wins / tau", lambda p, P, m, t: (p.log() + P @ m / (2 * t)).softmax(0)),
        ("where the reference belongs", lambda p, P, m, t: (m.log() + P @ m / t).softmax(0)),
        ("where mu belongs", lambda p, P, m, t: (p.log() + P @ p / t).softmax(0)),
        ("DPO's mapping", lambda p, P, m, t: (p.log() + (torch.log(P / (1 - P)) * m).sum(1) / t).softmax(0)),
        ("log ref by tau", lambda p, P, m, t: ((p.log() + (P * m).sum(1)) / t).softmax(0)),
        ("tau is missing", lambda p, P, m, t: (p.log() + (P * m).sum(1)).softmax(0)),
        ("logits of the policy", lambda p, P, m, t: torch.log(p) + (P * m).sum(1) / t),
        ("Exponentiated twice", lambda p, P, m, t: torch.softmax(p * torch.exp(P @ m / t), 0)),
        ("exchanged", lambda p, P, m, t: (m.log() + (P * p).sum(1) / t).softmax(0)),
        ("overflows", rest_naive),
    ],
    "average-or-sum": [
        ("wrong way round", lambda p, q, m, a: ratio_where(p, q, m, not a)),
        ("always the sum", lambda p, q, m, a: ratio_where(p, q, m, False)),
        ("always the mean", lambda p, q, m, a: ratio_where(p, q, m, True)),
        ("width of the table", lambda p, q, m, a: ratio_where(p, q, m, False) / (p.size(1) if a else 1)),
        ("all tokens in the batch", lambda p, q, m, a: ratio_where(p, q, m, False) / (m.sum() if a else 1)),
        ("use the mask", lambda p, q, m, a: (p - q).mean(1) if a else (p - q).sum(1)),
        ("not a ratio", lambda p, q, m, a: ratio_where(p, torch.zeros_like(q), m, a)),
        ("torch.where", lambda p, q, m, a: (m * (p - q)).sum(1) / (m.sum(1) if a else 1)),
    ],
    "predict-averaged-ipo": [
        ("the sum's", 5),
        ("5/8", 5 / 8),
        ("2 tokens", 10),
        ("not 1/tau", 80),
        ("10/8", 1.25),
        ("loss at the start", 25),
        ("too large", math.exp(40)),
        ("Answer with a number", "40 nats"),
    ],
}
