"""Answers a learner might give in notebook 16."""

import numpy as np
import torch


def pieces_loop(helpful, safe, unsafe, threshold):
    rows = zip(helpful.tolist(), safe.tolist(), unsafe.tolist(), strict=True)
    return [s if tagged or s < threshold else h for h, s, tagged in rows]


def pieces_mask(helpful, safe, unsafe, threshold):
    guarded = (unsafe | (safe < threshold)).to(helpful)
    return guarded * safe + (1 - guarded) * helpful


def pieces_numpy(helpful, safe, unsafe, threshold):
    return np.where(unsafe.numpy() | (safe.numpy() < threshold), safe.numpy(), helpful.numpy())


def resting_roots(prob, margin):
    """By the companion matrix of the quadratic."""
    gaps = []
    for p, m in zip(prob.tolist(), margin.tolist(), strict=True):
        gaps.append(np.log(max(np.roots([1 - p, -(2 * p - 1) * np.exp(m), -p]))))
    return torch.tensor(np.array(gaps))


def resting_bisection(prob, margin):
    low, high = torch.full_like(prob, -20), torch.full_like(prob, 20)
    for _ in range(80):
        d = (low + high) / 2
        pulled_up = prob * torch.sigmoid(margin - d) > (1 - prob) * torch.sigmoid(margin + d)
        low, high = torch.where(pulled_up, d, low), torch.where(pulled_up, high, d)
    return d


def resting_wrong_root(prob, margin):
    """The quadratic's negative root, whose logarithm is none."""
    b = (2 * prob - 1) * margin.exp()
    return ((b - (b**2 + 4 * prob * (1 - prob)).sqrt()) / (2 * (1 - prob))).log()


def only_the_first(prob, margin):
    low, high = torch.full_like(prob, -20), torch.full_like(prob, 20)
    for _ in range(80):
        d = (low + high) / 2
        pulled_up = prob * torch.sigmoid(margin - d) > (1 - prob) * torch.sigmoid(d)
        low, high = torch.where(pulled_up, d, low), torch.where(pulled_up, high, d)
    return d


def resting_newton(prob, margin):
    d = torch.zeros_like(prob)
    for _ in range(60):
        up, down = torch.sigmoid(margin - d), torch.sigmoid(margin + d)
        slope = prob * up - (1 - prob) * down
        d = d + (slope / (prob * up * (1 - up) + (1 - prob) * down * (1 - down))).clamp(-1, 1)
    return d


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
    "resting-gap": [resting_roots, resting_bisection, resting_newton],
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
    "resting-gap": [
        ("margin is missing", lambda p, m: (p / (1 - p)).log()),
        ("added in full", lambda p, m: (p / (1 - p)).log() + m),
        ("taken off", lambda p, m: (p / (1 - p)).log() - m),
        ("Each side", lambda p, m: torch.where(p > 0.5, m, torch.where(p < 0.5, -m, 0)) + torch.logit(p)),
        ("sign is flipped", lambda p, m: resting_bisection(p, -m)),
        ("Only the first", only_the_first),
        ("Only the second", lambda p, m: -only_the_first(1 - p, m)),
        ("gap is its logarithm", lambda p, m: resting_bisection(p, m).exp()),
        ("other root", lambda p, m: resting_wrong_root(p, m)),
        ("how far the margin moves", lambda p, m: resting_bisection(p, m) - (p / (1 - p)).log()),
        ("second over the first", lambda p, m: resting_bisection(1 - p, m)),
        ("σ(d)", lambda p, m: torch.sigmoid(resting_bisection(p, m))),
        ("multiplied by e^m", lambda p, m: m.exp() * (p.log() - (1 - p).log())),
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
