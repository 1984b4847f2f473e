"""Answers a learner might give in notebook 02."""

# ruff: noqa: B905  (learners do not write strict=)

import math

import numpy as np
import torch


def score_autograd(logits, action):
    x = logits.clone().requires_grad_()
    torch.log_softmax(x, 0)[action].backward()
    return x.grad


def score_in_place(logits, action):
    g = -torch.softmax(logits, dim=0)
    g[action] += 1
    return g


def score_stable_numpy(logits, action):
    e = np.exp(logits.numpy() - logits.numpy().max())
    return np.eye(len(e))[action] - e / e.sum()


def score_overflowing(logits, action):
    e = logits.exp()
    return torch.eye(len(e))[action] - e / e.sum()


def score_of_probability(logits, action):
    x = logits.clone().requires_grad_()
    torch.softmax(x, 0)[action].backward()
    return x.grad


def score_loss_sign(logits, action):
    return torch.softmax(logits, 0) - torch.nn.functional.one_hot(torch.tensor(action), len(logits))


def gradient_autograd(logits, rewards):
    x = logits.clone().requires_grad_()
    (torch.softmax(x, 0) * rewards).sum().backward()
    return x.grad


def gradient_jacobian(logits, rewards):
    p = torch.softmax(logits, 0)
    return (torch.diag(p) - torch.outer(p, p)) @ rewards


def gradient_over_arms(logits, rewards):
    p = logits.softmax(0)
    return sum(p[a] * rewards[a] * score_in_place(logits, a) for a in range(len(p)))


def gradient_descent(logits, rewards):
    return gradient_autograd(logits, -rewards)


def gradient_no_weights(logits, rewards):
    p = logits.softmax(0)
    return torch.tensor([r - (p * rewards).sum() for r in rewards])


def optimum_log(ref, reward, beta):
    return torch.softmax(torch.log(ref) + reward / beta, dim=0)


def optimum_shifted(ref, reward, beta):
    w = ref * torch.exp((reward - reward[ref > 0].max()) / beta)
    w[ref == 0] = 0
    return w / w.sum()


def optimum_lists(ref, reward, beta):
    top = max(r for p, r in zip(ref.tolist(), reward.tolist()) if p > 0)
    weights = [
        p * math.exp((r - top) / beta) if p > 0 else 0.0 for p, r in zip(ref.tolist(), reward.tolist())
    ]
    return [w / sum(weights) for w in weights]


def optimum_naive(ref, reward, beta):
    with np.errstate(over="ignore"):
        w = torch.tensor([p * np.exp(r / beta) for p, r in zip(ref.numpy(), reward.numpy())])
    return w / w.sum()


RIGHT = {
    "softmax-score": [score_autograd, score_in_place, score_stable_numpy],
    "bandit-gradient": [gradient_autograd, gradient_jacobian, gradient_over_arms],
    "kl-optimum": [optimum_log, optimum_shifted, optimum_lists],
    "predict-beta": ["b", " B "],
}

WRONG = {
    "softmax-score": [
        ("sign is flipped", score_loss_sign),
        ("gradient of pi(action)", score_of_probability),
        ("subtracted the logits", lambda x, a: torch.eye(len(x))[a] - x),
        ("softmax's denominator", lambda x, a: np.eye(len(x))[a]),
        ("own +1 is missing", lambda x, a: -(x - x.logsumexp(0)).exp()),
        ("log-probabilities themselves", lambda x, a: x - x.logsumexp(0)),
        ("gave one entry", lambda x, a: 1 - x.softmax(0)[a]),
        ("1 - pi everywhere", lambda x, a: [1 - p for p in x.softmax(0)]),
        ("NaN or infinity", score_overflowing),
    ],
    "bandit-gradient": [
        ("forgot the baseline", lambda x, r: torch.mul(torch.softmax(x, -1), r)),
        ("plain mean", lambda x, r: x.softmax(0) * (r - sum(r) / len(r))),
        ("weight pi(a) is missing", gradient_no_weights),
        ("sign is flipped", gradient_descent),
        ("expected reward itself", lambda x, r: torch.dot(x.softmax(0), r)),
        (
            "own logit only",
            lambda x, r: torch.diag(torch.diag(x.softmax(0)) - torch.outer(x.softmax(0), x.softmax(0))) * r,
        ),
        ("NaN or infinity", lambda x, r: x.exp() / x.exp().sum() * (r - (x.exp() / x.exp().sum() * r).sum())),
    ],
    "kl-optimum": [
        ("added the reference itself", lambda ref, reward, beta: torch.softmax(ref + reward / beta, 0)),
        ("forgot the reference", lambda ref, reward, beta: torch.softmax(reward / beta, 0)),
        (
            "multiplied by beta",
            lambda ref, reward, beta: ref * torch.exp(reward * beta) / (ref * torch.exp(reward * beta)).sum(),
        ),
        ("not normalised", lambda ref, reward, beta: ref * torch.exp(reward / beta)),
        ("reward's sign", lambda ref, reward, beta: optimum_log(ref, -reward, beta)),
        ("reference's log by beta", lambda ref, reward, beta: torch.softmax((ref.log() + reward) / beta, 0)),
        ("log-probabilities: exponentiate", lambda ref, reward, beta: optimum_log(ref, reward, beta).log()),
        ("overflows", optimum_naive),
        ("ignored beta", lambda ref, reward, beta: ref * reward.exp() / (ref * reward.exp()).sum()),
    ],
    "predict-beta": [
        ("Not uniform", "a"),
        ("beta to 0", "c"),
        ("beta = 1", "D"),
        ("one of the letters", "reference"),
        ("one of the letters", ["b"]),
        ("Not written yet", ...),
    ],
}
