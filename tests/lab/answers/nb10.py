"""Answers a learner might give in notebook 10."""

# ruff: noqa: B905  (learners do not write strict=)

import numpy as np
import torch
import torch.nn.functional as F


def loss_bce(rewards_a, rewards_b, label):
    ahead = (rewards_a - rewards_b).sum(-1)
    return F.binary_cross_entropy_with_logits(ahead, label, reduction="none")


def loss_softmax(rewards_a, rewards_b, label):
    worth = torch.stack([rewards_a.sum(1), rewards_b.sum(1)], 1)
    logp = torch.log_softmax(worth, 1)
    return -(label * logp[:, 0] + (1 - label) * logp[:, 1])


def loss_loop(rewards_a, rewards_b, label):
    out = []
    for a, b, y in zip(rewards_a, rewards_b, label):
        d = sum(a) - sum(b)
        out.append(F.softplus(-d) * y + F.softplus(d) * (1 - y))
    return torch.stack(out)


def loss_mean(a, b, y):
    return loss_bce(a.mean(1, keepdim=True), b.mean(1, keepdim=True), y)


def loss_clamped(a, b, y):
    p = torch.sigmoid(a.sum(1) - b.sum(1)).clamp(1e-6, 1 - 1e-6)
    return -y * p.log() - (1 - y) * (1 - p).log()


def loss_naive(a, b, y):
    ea, eb = a.sum(1).exp(), b.sum(1).exp()
    p = ea / (ea + eb)
    return -y * torch.log(p) - (1 - y) * torch.log(1 - p)


def loss_detached(a, b, y):
    return loss_bce(a, b.detach(), y)


def loss_hard(a, b, y):
    winner = torch.where(y[:, None] == 1, a, b).sum(1)
    loser = torch.where(y[:, None] == 1, b, a).sum(1)
    return -F.logsigmoid(winner - loser)


def noisy_where(prob, error):
    return torch.lerp(prob, torch.full_like(prob, 0.5), error)


def noisy_numpy(prob, error):
    p = prob.numpy()
    return np.stack([1 - error, error]) @ np.stack([p, np.full_like(p, 0.5)])


def quarrel_by_hand(worth_a, worth_b):
    p = 1 / (1 + torch.exp(worth_b - worth_a))
    return (p**2).mean(0) - p.mean(0) ** 2


def quarrel_loop(worth_a, worth_b):
    members, pairs = worth_a.shape
    out = torch.zeros(pairs)
    for n in range(pairs):
        out[n] = torch.var(
            torch.tensor([torch.sigmoid(worth_a[m, n] - worth_b[m, n]) for m in range(members)])
        )
    return out


def voice_loop(rewards):
    total = 0
    for member in rewards:
        total = total + (member - member.mean()) / member.std()
    return total / len(rewards)


def voice_numpy(rewards):
    r = rewards.numpy()
    return ((r - r.mean(axis=1)[:, None]) / r.std(axis=1)[:, None]).mean(axis=0)


RIGHT = {
    "segment-loss": [loss_bce, loss_softmax, loss_loop],
    "rater-noise": [noisy_where, noisy_numpy, lambda p, e: p - e * p + 0.5 * e],
    "clip-disagreement": [quarrel_by_hand, quarrel_loop],
    "one-scale": [voice_loop, voice_numpy],
    "predict-per-step": ["c", " C"],
}

WRONG = {
    "segment-loss": [
        ("You compared means", loss_mean),
        ("The sign is flipped", lambda a, b, y: loss_bce(b, a, y)),
        ("You left the label out", lambda a, b, y: F.softplus(b.sum(1) - a.sum(1))),
        ("A tie became a defeat", loss_hard),
        ("A tie became a victory", lambda a, b, y: loss_bce(a, b, y.ceil())),
        ("Ties cost nothing", lambda a, b, y: torch.where(y == 0.5, 0, loss_bce(a, b, y))),
        (
            "You compared step by step",
            lambda a, b, y: F.binary_cross_entropy_with_logits(
                a - b, y[:, None].expand_as(a), reduction="none"
            ).mean(1),
        ),
        ("You compared the last steps only", lambda a, b, y: loss_bce(a[:, -1:], b[:, -1:], y)),
        ("This is the probability", lambda a, b, y: torch.sigmoid((a - b).sum(1))),
        ("the squared error of the probability", lambda a, b, y: (torch.sigmoid((a - b).sum(1)) - y) ** 2),
        ("This is the log-likelihood", lambda a, b, y: -loss_bce(a, b, y)),
        ("NaN or infinity where the answer is finite", loss_naive),
        ("For example", loss_clamped),
        ("You reduced the result", lambda a, b, y: loss_bce(a, b, y).mean()),
        ("no gradient flows through `rewards_b`", loss_detached),
    ],
    "rater-noise": [
        ("it adds error / 2, not error", lambda p, e: p * (1 - e) + e),
        ("says the opposite", lambda p, e: p * (1 - e) + (1 - p) * e),
        ("You left the coin out", lambda p, e: p - e * p),
        ("the two weights must add up to 1", lambda p, e: p - p * e / 2 + e / 2),
        ("can exceed 1", lambda p, e: p + 0.5 * e),
        ("You clipped", lambda p, e: p.clamp(min=e / 2).clamp(max=1 - e / 2)),
        ("its half counts error times", lambda p, e: p * (1 - e) + 1 / 2),
        ("the wrong way round", lambda p, e: 0.5 * (1 - e) + e * p),
    ],
    "clip-disagreement": [
        ("without the sigmoid", lambda a, b: torch.var(a - b, dim=0)),
        ("variance over pairs", lambda a, b: torch.sigmoid(a - b).var(dim=1)),
        ("how unsure they are together", lambda a, b: (p := torch.sigmoid(a - b).mean(0)) - p**2),
        ("how unsure the average is", lambda a, b: (p := torch.sigmoid((a - b).mean(0))) * (1 - p)),
        ("how near 1/2", lambda a, b: 0.5 - (torch.sigmoid(a - b).mean(0) - 0.5).abs()),
        ("variance of votes", lambda a, b: ((a - b) > 0).double().var(0)),
        (
            "Subtract before the sigmoid",
            lambda a, b: (torch.sigmoid(a) - torch.sigmoid(b)).var(0, correction=0),
        ),
        ("You looked at clip a alone", lambda a, b: torch.sigmoid(a).var(0, correction=0)),
        ("standard deviation", lambda a, b: torch.sigmoid(a - b).std(0)),
        ("The sign is flipped", lambda a, b: -quarrel_by_hand(a, b)),
    ],
    "one-scale": [
        ("You averaged first", lambda r: (r.mean(0) - r.mean()) / r.mean(0).std()),
        ("You only averaged", lambda r: torch.mean(r, 0)),
        ("You only centred", lambda r: (r - r.mean(1)[:, None]).mean(0)),
        ("The mean is still in", lambda r: (r / r.std(1)[:, None]).mean(0)),
        ("by the variance", lambda r: ((r - r.mean(1)[:, None]) / r.var(1)[:, None]).mean(0)),
        ("over the members", lambda r: ((r - r.mean(0)) / r.std(0, correction=0)).mean(0)),
        ("each needs its own", lambda r: ((r - r.mean()) / r.std()).mean(0)),
        (
            "You added the members up",
            lambda r: ((r - r.mean(1)[:, None]) / r.std(1, correction=0)[:, None]).sum(0),
        ),
        ("The average over the members is missing", lambda r: (r - r.mean(1)[:, None]) / r.std(1)[:, None]),
    ],
    "predict-per-step": [
        ("T is the same for both", "a"),
        ("would you leave it?", "b"),
        ("both have grown", "d"),
        ("Answer with one of the letters", "the loss stays"),
        ("Answer with one of the letters", 3),
    ],
}
