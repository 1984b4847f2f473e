"""Answers a learner might give in notebook 14."""

import torch
from torch.nn.functional import kl_div


def mean(pi, values):
    return (pi * values).sum()


def objective_sums(pi, ref, reward, pretrain, beta, gamma):
    ratio = torch.log(pi) - torch.log(ref)
    return mean(pi, reward) - beta * mean(pi, ratio) + gamma * mean(pretrain, torch.log(pi))


def objective_joined(pi, ref, reward, pretrain, beta, gamma):
    return (pi * (reward - beta * (pi / ref).log()) + gamma * pretrain * pi.log()).sum()


def objective_torch(pi, ref, reward, pretrain, beta, gamma):
    return pi @ reward - beta * kl_div(ref.log(), pi, reduction="sum") + gamma * (pretrain @ pi.log())


def slopes_terms(pi, ref, reward, pretrain, beta, gamma):
    return reward - beta * pi.log() + beta * ref.log() - beta + gamma * (pretrain / pi)


def slopes_autograd(pi, ref, reward, pretrain, beta, gamma):
    free = pi.detach().clone().requires_grad_()
    objective_joined(free, ref, reward, pretrain, beta, gamma).backward()
    return free.grad


def beats(reward, cost, i, j):
    return reward[i] >= reward[j] and cost[i] <= cost[j] and (reward[i] > reward[j] or cost[i] < cost[j])


def front_loop(reward, cost):
    n = range(len(reward))
    return torch.tensor([not any(beats(reward, cost, i, j) for i in n) for j in n])


def front_sorted(reward, cost):
    """Walk by falling reward; a run stays if nothing of more reward was as cheap, and nothing of as much cheaper."""
    keep = torch.zeros(len(reward), dtype=torch.bool)
    cheapest = float("inf")
    for value in sorted(set(reward.tolist()), reverse=True):
        rows = reward == value
        low = cost[rows].min().item()
        if low < cheapest:
            keep |= rows & (cost == low)
            cheapest = low
    return keep


def front_no_ties(reward, cost):
    n = range(len(reward))
    return torch.tensor(
        [not any(i != j and reward[i] >= reward[j] and cost[i] <= cost[j] for i in n) for j in n]
    )


def front_strict(reward, cost):
    n = range(len(reward))
    return torch.tensor([not any(reward[i] > reward[j] and cost[i] < cost[j] for i in n) for j in n])


def front_beats_nobody(reward, cost):
    n = range(len(reward))
    return torch.tensor([not any(beats(reward, cost, i, j) for j in n) for i in n])


RIGHT = {
    "ptx-objective": [objective_sums, objective_joined, objective_torch],
    "ptx-slopes": [slopes_terms, slopes_autograd],
    "pareto-front": [front_loop, front_sorted],
    "predict-tax": ["c", "C "],
}

WRONG = {
    "ptx-objective": [
        ("weigh them by pretrain", lambda pi, f, r, p, b, g: mean(pi, r - b * (pi / f).log() + g * pi.log())),
        ("policy's own text", lambda pi, f, r, p, b, g: mean(pi, r - b * (pi / f).log() + g * p.log())),
        ("pretraining term is flipped", lambda pi, f, r, p, b, g: objective_sums(pi, f, r, p, b, -1 * g)),
        ("KL is flipped", lambda pi, f, r, p, b, g: objective_torch(pi, f, r, p, -b, g)),
        (
            "the other way",
            lambda pi, f, r, p, b, g: mean(pi, r) - b * mean(f, (f / pi).log()) + g * mean(p, pi.log()),
        ),
        (
            "mean under pi",
            lambda pi, f, r, p, b, g: mean(pi, r) - b * (pi / f).log().sum() + g * mean(p, pi.log()),
        ),
        ("weighed by the policy", lambda pi, f, r, p, b, g: objective_sums(pi, f, 0 * r, p, b, g) + r.mean()),
        ("changed places", lambda pi, f, r, p, b, g: objective_joined(pi, f, r, p, g, b)),
        ("term is missing", lambda pi, f, r, p, b, g: mean(pi, r - b * (pi / f).log())),
        ("take pi.log()", lambda pi, f, r, p, b, g: mean(pi, r - b * (pi / f).log()) + g * mean(p, pi)),
    ],
    "ptx-slopes": [
        ("the one is missing", lambda pi, f, r, p, b, g: slopes_terms(pi, f, r, p, b, g) + b),
        ("kept the logarithm", lambda pi, f, r, p, b, g: slopes_terms(pi, f, r, p, b, 0) + g * p * pi.log()),
        ("divided by pretrain", lambda pi, f, r, p, b, g: slopes_terms(pi, f, r, p, b, 0) + g * pi / p),
        ("still multiplied by pi", lambda pi, f, r, p, b, g: slopes_terms(pi, f, r, p, b, g) - r + r * pi),
        ("All of it is multiplied", lambda pi, f, r, p, b, g: slopes_autograd(pi, f, r, p, b, g) * pi),
        ("KL's derivative is flipped", lambda pi, f, r, p, b, g: slopes_autograd(pi, f, r, p, -b, g)),
        ("pretraining term is flipped", lambda pi, f, r, p, b, g: slopes_terms(pi, f, r, p, b, -g)),
        ("upside down", lambda pi, f, r, p, b, g: r - b * ((f / pi).log() + 1) + g * p / pi),
    ],
    "pareto-front": [
        ("knock each other out", front_no_ties),
        ("one of them strict", front_strict),
        ("negate", lambda r, c: ~front_loop(r, c)),
        ("less cost is better", lambda r, c: front_loop(r, -c)),
        ("more reward is better", lambda r, c: front_sorted(-r, c)),
        ("any other beats it", front_beats_nobody),
        ("highest reward", lambda r, c: r >= r.max()),
        ("exchange rate", lambda r, c: (r / c.clamp(min=1e-9)) >= (r / c.clamp(min=1e-9)).max()),
    ],
    "predict-tax": [
        ("on the same text", "a"),
        ("forbids nothing", "b"),
        ("Something can", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 3),
    ],
}
