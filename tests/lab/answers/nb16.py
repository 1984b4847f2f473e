"""Answers a learner might give in notebook 16."""

import numpy as np
import torch
from torch.nn.functional import logsigmoid, softplus


def pieces_loop(helpful, safe, unsafe, threshold):
    rows = zip(helpful.tolist(), safe.tolist(), unsafe.tolist(), strict=True)
    return [s if tagged or s < threshold else h for h, s, tagged in rows]


def pieces_mask(helpful, safe, unsafe, threshold):
    guarded = (unsafe | (safe < threshold)).to(helpful)
    return guarded * safe + (1 - guarded) * helpful


def pieces_numpy(helpful, safe, unsafe, threshold):
    return np.where(unsafe.numpy() | (safe.numpy() < threshold), safe.numpy(), helpful.numpy())


def margin_softplus(chosen, rejected, margin):
    return softplus(rejected - chosen + margin)


def margin_package(chosen, rejected, margin):
    from rlbase.losses import bradley_terry

    return bradley_terry(chosen, rejected, margin=margin)


def margin_logaddexp(chosen, rejected, margin):
    gap = chosen - rejected - margin
    return torch.logaddexp(torch.zeros_like(gap), -gap)


def rescale_torch(prob):
    x = torch.logit(prob, eps=1e-6)
    return (x - x.mean()) / x.std()


def rescale_numpy(prob):
    p = np.clip(prob.numpy(), 1e-6, 1 - 1e-6)
    x = np.log(p) - np.log1p(-p)
    return (x - x.mean()) / x.std()


def z(x):
    return (x - x.mean()) / x.std()


RIGHT = {
    "piecewise-reward": [pieces_loop, pieces_mask, pieces_numpy],
    "margin-loss": [margin_softplus, margin_package, margin_logaddexp],
    "logit-whiten": [rescale_torch, rescale_numpy],
    "predict-threshold": ["c", "C "],
}

WRONG = {
    "piecewise-reward": [
        ("*and* an unsafe response", lambda h, s, u, t: pieces_mask(h, s, u & (s < t), 0.0)),
        ("the request only", lambda h, s, u, t: pieces_mask(h, s, u, -1.0)),
        ("the response only", lambda h, s, u, t: pieces_mask(h, s, u & False, t)),
        ("exchanged", lambda h, s, u, t: h + s - pieces_mask(h, s, u, t)),
        ("exactly at the threshold", lambda h, s, u, t: torch.where(torch.logical_or(u, s <= t), s, h)),
        ("compares helpfulness", lambda h, s, u, t: torch.where(u | (h < t), s, h)),
        ("multiplied", lambda h, s, u, t: s * h),
        ("smaller of the two", lambda h, s, u, t: torch.stack((h, s)).amin(0)),
        ("averaged", lambda h, s, u, t: torch.stack((h, s)).mean(0)),
    ],
    "margin-loss": [
        ("sign is flipped: added", lambda c, r, m: softplus(-(c - r + m))),
        ("outside the sigmoid", lambda c, r, m: softplus(r - c) + m),
        ("outside the sigmoid", lambda c, r, m: softplus(r - c) - m),
        ("multiplied the gap", lambda c, r, m: softplus((r - c) * m)),
        ("weighted the loss", lambda c, r, m: m * softplus(r - c)),
        ("margin is missing", lambda c, r, m: -logsigmoid(c - r)),
        ("are exchanged", lambda c, r, m: softplus(c - r + m)),
        ("log-likelihood", lambda c, r, m: -softplus(r - c + m)),
        ("hinge", lambda c, r, m: torch.relu(r - c + m)),
        ("averaged", lambda c, r, m: margin_softplus(c, r, m).mean()),
        ("underflows", lambda c, r, m: -torch.log(torch.sigmoid(c - r - m))),
    ],
    "logit-whiten": [
        ("logit is missing", z),
        ("the variance", lambda p: rescale_torch(p) / torch.logit(p, eps=1e-6).std()),
        ("spread is still there", lambda p: torch.logit(p, eps=1e-6) - torch.logit(p, eps=1e-6).mean()),
        ("mean is still there", lambda p: torch.logit(p, eps=1e-6) / torch.logit(p, eps=1e-6).std()),
        ("and so is the spread", lambda p: torch.logit(p, eps=1e-6)),
        ("another sigmoid", lambda p: z(torch.sigmoid(p))),
        ("sign is flipped", lambda p: -rescale_torch(p)),
        ("no finite logit", lambda p: z(torch.logit(p))),
    ],
    "predict-threshold": [
        ("A is the safest", "a"),
        ("more helpful", "b"),
        ("0.20 safe", "D"),
        ("best sum", "e"),
        ("below both", "f"),
        ("one of the letters", "g"),
        ("one of the letters", 3),
    ],
}
