"""Answers a learner might give in notebook 12."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F


def loss_softplus(chosen_reward, rejected_reward):
    return F.softplus(rejected_reward - chosen_reward)


def loss_logaddexp(chosen_reward, rejected_reward):
    return torch.logaddexp(chosen_reward, rejected_reward) - chosen_reward


def loss_two_classes(chosen_reward, rejected_reward):
    scores = torch.stack([chosen_reward, rejected_reward], 1)
    return F.cross_entropy(scores, torch.zeros(len(scores)).long(), reduction="none")


def margin_softplus(chosen_reward, rejected_reward, margin):
    return F.softplus(margin + rejected_reward - chosen_reward)


def margin_two_classes(chosen_reward, rejected_reward, margin):
    return loss_two_classes(chosen_reward - margin, rejected_reward)


def wise_loop(rewards):
    pairs = list(itertools.combinations(range(rewards.shape[1]), 2))
    return sum(-F.logsigmoid(rewards[:, i] - rewards[:, j]) for i, j in pairs) / len(pairs)


def wise_matrix(rewards):
    k = rewards.shape[1]
    gaps = rewards[:, :, None] - rewards[:, None, :]
    above = torch.ones(k, k).triu(1)
    return (F.softplus(-gaps) * above).sum((1, 2)) / above.sum()


def pairs_mean(pick):
    """Mean loss over the pairs of places that ``pick(K)`` names."""

    def loss(rewards):
        pairs = list(pick(rewards.shape[1]))
        return torch.stack([F.softplus(rewards[:, j] - rewards[:, i]) for i, j in pairs]).mean(0)

    return loss


def luce_loop(rewards):
    return sum(rewards[:, k:].logsumexp(1) - rewards[:, k] for k in range(rewards.shape[1]))


def last_loop(mask):
    return torch.stack([row.nonzero().max() for row in mask])


def last_flip(mask):
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


def last_numpy(mask):
    return [int(np.flatnonzero(row)[-1]) for row in mask.numpy()]


def last_before_padding(mask):
    found = []
    for row in mask.int().tolist():
        found.append(row.index(0) - 1 if 0 in row else -1)
    return found


def rules_plain(scores, penalty):
    mean = sum(scores) / len(scores)
    variance = sum((row - mean) ** 2 for row in scores) / len(scores)
    return mean, torch.stack(list(scores)).min(dim=0).values, mean - penalty * variance


def rules_numpy(scores, penalty):
    s = scores.numpy()
    return s.mean(0), s.min(0), s.mean(0) - penalty * s.var(0)


def with_rule(place, other):
    """The right answer, but for one of the three rules."""

    def answer(scores, penalty):
        parts = list(rules_plain(scores, penalty))
        parts[place] = other(scores, penalty)
        return parts

    return answer


RIGHT = {
    "bradley-terry-loss": [loss_softplus, loss_logaddexp, loss_two_classes],
    "margin": [margin_softplus, margin_two_classes],
    "k-wise-loss": [wise_loop, wise_matrix],
    "last-token-index": [last_loop, last_flip, last_numpy],
    "ensemble-rule": [rules_plain, rules_numpy],
    "bayes-ceiling": [
        lambda prob: sum(max(p, 1 - p) for p in prob.tolist()) / len(prob),
        lambda prob: 0.5 + (prob - 0.5).abs().mean(),
    ],
    "predict-constant": ["d", " D"],
}

WRONG = {
    "bradley-terry-loss": [
        ("The two are swapped", lambda c, r: F.softplus(c - r)),
        ("the probability of the comparison", lambda c, r: 1 / (1 + (r - c).exp())),
        ("The sign is flipped", lambda c, r: -F.softplus(r - c)),
        ("probability of the wrong answer", lambda c, r: 1 - torch.sigmoid(c - r)),
        ("sigmoid of each score", lambda c, r: F.softplus(torch.sigmoid(r) - torch.sigmoid(c))),
        ("as if they had been rated", lambda c, r: F.softplus(-c) + F.softplus(r)),
        ("the difference of the scores", lambda c, r: r - c),
        ("a hinge", lambda c, r: F.relu(1 - (c - r))),
        ("underflows", lambda c, r: -torch.log(torch.sigmoid(c - r))),
        ("reduced the result", lambda c, r: loss_softplus(c, r).mean()),
        ("no gradient flows through `chosen_reward`", lambda c, r: loss_softplus(c.detach(), r)),
    ],
    "margin": [
        ("The sign of the margin is flipped", lambda c, r, m: F.softplus(r - c - m)),
        ("added to the loss", lambda c, r, m: F.softplus(r - c) + m),
        ("taken off the loss", lambda c, r, m: F.softplus(r - c) - m),
        ("multiplies the loss", lambda c, r, m: m * F.softplus(r - c)),
        ("multiplies the gap", lambda c, r, m: F.softplus(m * (r - c))),
        ("ignored", lambda c, r, m: loss_softplus(c, r)),
        ("The two are swapped", lambda c, r, m: F.softplus(m + c - r)),
        ("a hinge", lambda c, r, m: F.relu(m - (c - r))),
        ("The sign is flipped", lambda c, r, m: -margin_softplus(c, r, m)),
        ("underflows", lambda c, r, m: -torch.log(torch.sigmoid(c - r - m))),
    ],
    "k-wise-loss": [
        ("The order is reversed", lambda r: wise_loop(r.flip(1))),
        ("added up the pairs", lambda r: wise_loop(r) * r.shape[1] * (r.shape[1] - 1) / 2),
        ("Only neighbours", pairs_mean(lambda k: [(i, i + 1) for i in range(k - 1)])),
        ("Only the best response", pairs_mean(lambda k: [(0, j) for j in range(1, k)])),
        ("both ways", pairs_mean(lambda k: itertools.permutations(range(k), 2))),
        ("The diagonal", pairs_mean(lambda k: itertools.combinations_with_replacement(range(k), 2))),
        ("You divided by K (K-1)", lambda r: wise_loop(r) / 2),
        ("all K x K entries", lambda r: wise_loop(r) * (r.shape[1] - 1) / (2 * r.shape[1])),
        ("You divided by K:", lambda r: wise_loop(r) * (r.shape[1] - 1) / 2),
        ("This is Plackett-Luce", luce_loop),
        ("The sign is flipped", lambda r: -wise_loop(r)),
        ("reduced the result", lambda r: wise_loop(r).mean()),
    ],
    "last-token-index": [
        ("You counted the real tokens", lambda mask: mask.int().sum(1) - 1),
        ("You read the last column", lambda mask: [mask.shape[1] - 1] * len(mask)),
        ("the first real token", lambda mask: torch.stack([row.nonzero().min() for row in mask])),
        ("counted from the right", lambda mask: mask.shape[1] - 1 - last_loop(mask)),
        ("One column too far", lambda mask: last_loop(mask) + 1),
        ("before the first padding", last_before_padding),
        ("You counted the padding", lambda mask: [row.count(False) for row in mask.tolist()]),
        ("One column too early", lambda mask: last_loop(mask) - 1),
        ("Wrong shape", lambda mask: mask.nonzero()[-1]),
    ],
    "ensemble-rule": [
        ("averaged over responses", with_rule(0, lambda s, p: s.mean(1))),
        ("the sum of the members", with_rule(0, lambda s, p: sum(s))),
        ("lowest score of each member", with_rule(1, lambda s, p: s.min(1).values)),
        ("This is the maximum", with_rule(1, lambda s, p: s.max(0).values)),
        ("number of the strictest", with_rule(1, lambda s, p: s.argmin(0))),
        ("standard deviation", with_rule(2, lambda s, p: s.numpy().mean(0) - p * s.numpy().std(0))),
        ("M - 1", with_rule(2, lambda s, p: s.mean(0) - p * torch.var(s, 0))),
        ("The sign is flipped", with_rule(2, lambda s, p: s.numpy().mean(0) + p * s.numpy().var(0))),
        ("off the minimum", with_rule(2, lambda s, p: s.numpy().min(0) - p * s.numpy().var(0))),
        ("the penalty alone", with_rule(2, lambda s, p: p * s.numpy().var(0))),
        ("Return 3 results", lambda s, p: s.mean(0)),
    ],
    "bayes-ceiling": [
        ("how often the first one wins", lambda prob: prob.sum() / len(prob)),
        ("two such raters agree", lambda prob: 1 - 2 * (prob * (1 - prob)).mean()),
        ("The average came first", lambda prob: max(prob.mean().item(), 1 - prob.mean().item())),
        ("share of pairs", lambda prob: sum(prob > 0.5) / len(prob)),
        ("the best guess's error", lambda prob: 0.5 - (prob - 0.5).abs().mean()),
        ("surest single pair", lambda prob: 0.5 + (prob - 0.5).abs().max()),
        ("Nobody is always right", lambda prob: 1.0),
        ("One number is asked for", lambda prob: 0.5 + (prob - 0.5).abs()),
    ],
    "predict-constant": [
        ("now the second leads", "a"),
        ("the *same* prompt", "b"),
        ("Zero means nothing", "C"),
        ("Answer with one of the letters", 2.0),
        ("Answer with one of the letters", "x"),
    ],
}
