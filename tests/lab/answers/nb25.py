"""Answers a learner might give in notebook 25."""

import math

import torch
from torch.nn.functional import logsigmoid, softplus


def scaled(c, r, cr, rr, beta):
    return beta * (c - r - cr + rr)


def cdpo_softplus(c, r, cr, rr, beta, noise):
    h = scaled(c, r, cr, rr, beta)
    return (1 - noise) * softplus(-h) + noise * softplus(h)


def cdpo_logsigmoid(c, r, cr, rr, beta, noise):
    right, wrong = logsigmoid(beta * ((c - cr) - (r - rr))), logsigmoid(beta * ((r - rr) - (c - cr)))
    return -torch.lerp(right, wrong, noise)


def cdpo_shift(c, r, cr, rr, beta, noise):
    h = scaled(c, r, cr, rr, beta)
    return noise * h - logsigmoid(h)  # log sigma(h) - log sigma(-h) = h


def rdpo_softplus(c, r, cr, rr, beta, noise):
    h = scaled(c, r, cr, rr, beta)
    return ((1 - noise) * softplus(-h) - noise * softplus(h)) / (1 - 2 * noise)


def rdpo_shift(c, r, cr, rr, beta, noise):
    h = scaled(c, r, cr, rr, beta)
    return -logsigmoid(h) - noise / (1 - 2 * noise) * h


def cdpo_naive(c, r, cr, rr, beta, noise):
    p = torch.sigmoid(scaled(c, r, cr, rr, beta))
    return -(1 - noise) * torch.log(p) - noise * torch.log(1 - p)


def unflip(observed, noise):
    return (observed - noise) / (1 - 2 * noise)


def unflip_list(observed, noise):
    return [0.5 + (q - 0.5) / (1 - 2 * noise) for q in observed.tolist()]


RIGHT = {
    "predict-cdpo-noise": ["d", "D"],
    "cdpo-loss": [cdpo_softplus, cdpo_logsigmoid, cdpo_shift],
    "cdpo-rest": [21.97, 10 * math.log(9)],
    "rdpo-loss": [rdpo_softplus, rdpo_shift],
    "flip-correction": [unflip, unflip_list],
}

WRONG = {
    "predict-cdpo-noise": [
        ("what rDPO does", "a"),
        ("too cautious already", "b"),
        ("epsilon = 0", "c"),
        ("one of the letters", "e"),
        ("one of the letters", 0.2),
    ],
    "cdpo-loss": [
        ("weights are swapped", lambda c, r, cr, rr, b, e: cdpo_softplus(c, r, cr, rr, b, 1 - e)),
        (
            "1 - noise is missing",
            lambda c, r, cr, rr, b, e: (
                softplus(-scaled(c, r, cr, rr, b)) + e * softplus(scaled(c, r, cr, rr, b))
            ),
        ),
        (
            "second term is flipped",
            lambda c, r, cr, rr, b, e: (
                (1 - e) * softplus(-scaled(c, r, cr, rr, b)) - e * softplus(scaled(c, r, cr, rr, b))
            ),
        ),
        ("This is rDPO", rdpo_softplus),
        ("or h is turned around", lambda c, r, cr, rr, b, e: cdpo_softplus(cr, rr, c, r, b, e)),
        ("`noise` is ignored", lambda c, r, cr, rr, b, e: softplus(-scaled(c, r, cr, rr, b))),
        (
            "both terms have the same gap",
            lambda c, r, cr, rr, b, e: (
                (1 - e) * softplus(-scaled(c, r, cr, rr, b)) + e * softplus(-scaled(c, r, cr, rr, b))
            ),
        ),
        (
            "from 1",
            lambda c, r, cr, rr, b, e: (
                (1 - e) * softplus(-scaled(c, r, cr, rr, b)) + e * (1 - softplus(-scaled(c, r, cr, rr, b)))
            ),
        ),
        (
            "mixed the probabilities",
            lambda c, r, cr, rr, b, e: (
                -torch.log((1 - e) * torch.sigmoid(x := scaled(c, r, cr, rr, b)) + e * torch.sigmoid(-x))
            ),
        ),
        ("beta is missing", lambda c, r, cr, rr, b, e: cdpo_softplus(c, r, cr, rr, 1.0, e)),
        ("underflows", cdpo_naive),
        ("reduced", lambda *args: cdpo_softplus(*args).mean()),
    ],
    "cdpo-rest": [
        ("divide by beta", 2.197),
        ("multiplied by beta", 0.2197),
        ("That is DPO", math.inf),
        ("IPO", 5),
        ("hinge", 10),
        ("sign is flipped", -21.97),
        ("odds are", 10 * math.log(10)),
    ],
    "rdpo-loss": [
        ("this is cDPO", cdpo_softplus),
        ("is missing", lambda c, r, cr, rr, b, e: (1 - 2 * e) * rdpo_softplus(c, r, cr, rr, b, e)),
        (
            "first one is not",
            lambda c, r, cr, rr, b, e: (
                (softplus(-scaled(c, r, cr, rr, b)) - e * softplus(scaled(c, r, cr, rr, b))) / (1 - 2 * e)
            ),
        ),
        ("scaled DPO's loss up", lambda c, r, cr, rr, b, e: softplus(-scaled(c, r, cr, rr, b)) / (1 - e)),
        ("cut it at 0", lambda *args: torch.relu(rdpo_softplus(*args))),
        ("weights are swapped", lambda c, r, cr, rr, b, e: rdpo_softplus(r, c, rr, cr, b, e)),
        ("`noise` is ignored", lambda c, r, cr, rr, b, e: softplus(-scaled(c, r, cr, rr, b))),
        ("only rescales DPO", lambda c, r, cr, rr, b, e: softplus(-scaled(c, r, cr, rr, b)) / (1 - 2 * e)),
        ("b is negative", lambda c, r, cr, rr, b, e: cdpo_softplus(c, r, cr, rr, b, e) / (1 - 2 * e)),
        ("minimised", lambda *args: -rdpo_softplus(*args)),
    ],
    "flip-correction": [
        ("flipped once more", lambda q, e: (1 - e) * q + e * (1 - q)),
        ("stretch them again", lambda q, e: q - e),
        ("1 - noise", lambda q, e: (q - e) / (1 - e)),
        ("cut at 0", lambda q, e: unflip(q, e).clamp(0, 1)),
        ("*mean* the second", lambda q, e: q - e + e * q),
        ("*mean* the second", lambda q, e: (q - e + e * q) / (1 - e)),
        ("subtract noise", lambda q, e: q / (1 - 2 * e)),
        ("second response", lambda q, e: (1 - q - e) / (1 - 2 * e)),
    ],
}
