"""Answers a learner might give in notebook 24."""

import torch
from torch.nn.functional import logsigmoid, softplus


def mean_where(logp, mask):
    return torch.where(mask, logp, torch.zeros(())).sum(1) / mask.sum(1)


def mean_loop(logp, mask):
    return torch.stack([row[held].mean() for row, held in zip(logp, mask, strict=True)])


def mean_filled(logp, mask):
    return logp.masked_fill(~mask, 0.0).sum(-1) / mask.float().sum(-1)


def odds_expm1(avg_logp):
    return avg_logp - torch.log(-torch.expm1(avg_logp))


def odds_inverse(avg_logp):
    return -torch.log(torch.expm1(-avg_logp.clamp(min=-80))) + (avg_logp - avg_logp.clamp(min=-80))


RIGHT = {
    "avg-logp": [mean_where, mean_loop, mean_filled],
    "simpo-loss": [
        lambda c, r, b, g: softplus(g - b * (c - r)),
        lambda c, r, b, g: -logsigmoid(b * (c - r - g / b)),
    ],
    "predict-simpo-gap": ["b", "B "],
    "orpo-log-odds": [odds_expm1, odds_inverse],
}

WRONG = {
    "avg-logp": [
        ("This is the sum", lambda x, m: x.masked_fill(~m, 0).sum(1)),
        ("width of the batch", lambda x, m: x.masked_fill(~m, 0).mean(1)),
        ("over padding", lambda x, m: x.mean(-1)),
        ("added padding up", lambda x, m: x.sum(-1)),
        ("added padding up", lambda x, m: x.sum(-1) / m.sum(-1)),
        (
            "first tokens",
            lambda x, m: torch.stack([r[: h.sum()].sum() / h.sum() for r, h in zip(x, m, strict=True)]),
        ),
        ("took the exponential", lambda x, m: mean_loop(x, m).exp()),
        ("all tokens in the batch", lambda x, m: x.masked_fill(~m, 0).sum(1) / m.sum()),
        ("mean length", lambda x, m: x.masked_fill(~m, 0).sum(1) / m.sum(1).float().mean()),
        ("left out of the count", lambda x, m: x.masked_fill(~m, 0).sum(1) / (m.sum(1) - 1)),
        (
            "mean probability",
            lambda x, m: torch.stack([r[h].exp().mean().log() for r, h in zip(x, m, strict=True)]),
        ),
        ("sign is flipped", lambda x, m: -mean_loop(x, m)),
        ("is NaN", lambda x, m: (x * m.float()).sum(1) / m.sum(1)),
        ("no gradient flows", lambda x, m: mean_where(x.detach(), m)),
    ],
    "simpo-loss": [
        ("wants the ratio", lambda c, r, b, g: -logsigmoid(b * (c - r - g))),
        ("sign of γ", lambda c, r, b, g: -logsigmoid(b * (c - r) + g)),
        ("γ is divided", lambda c, r, b, g: -logsigmoid(b * (c - r) - g / b)),
        ("β multiplies the whole loss", lambda c, r, b, g: -b * logsigmoid((c - r) - g)),
        ("γ is missing", lambda c, r, b, g: -logsigmoid(b * (c - r))),
        ("β is missing", lambda c, r, b, g: -logsigmoid(c - r - g)),
        ("are exchanged", lambda c, r, b, g: -logsigmoid(b * (r - c) - g)),
        ("probability itself", lambda c, r, b, g: torch.sigmoid(b * (c - r) - g)),
        ("KTO's shape", lambda c, r, b, g: 1 - torch.sigmoid(b * (c - r) - g)),
        ("a hinge", lambda c, r, b, g: torch.clamp(g - b * (c - r), min=0)),
        ("sign is flipped", lambda c, r, b, g: logsigmoid(b * (c - r) - g)),
        ("use softplus", lambda c, r, b, g: -torch.log(torch.sigmoid(b * (c - r) - g))),
    ],
    "predict-simpo-gap": [
        ("Who would be the one ahead", "a"),
        ("*always* wins", "c"),
        ("in units of β", "d"),
        ("one of the letters", 0),
        ("one of the letters", "nothing"),
    ],
    "orpo-log-odds": [
        ("This is log P", lambda x: x + 0),
        ("These are the odds", lambda x: torch.exp(x) / -torch.expm1(x)),
        ("sign is flipped", lambda x: torch.log(-torch.expm1(x)) - x),
        ("added log(1 - P)", lambda x: x + torch.log(-torch.expm1(x))),
        ("log P is missing", lambda x: -torch.log(-torch.expm1(x))),
        ("lost its digits", lambda x: x - torch.log(1 - torch.exp(x))),
        ("lost its digits", lambda x: x - torch.log1p(-torch.exp(x))),
        ("*logarithm*", lambda x: torch.log(x / (1 - x))),
        ("e^-x overflows", lambda x: -torch.expm1(-x).log()),
        ("wrong by several nats", lambda x: torch.logit(torch.exp(x), 1e-6)),
        ("no digits left", lambda x: torch.logit(torch.exp(x))),
    ],
}
