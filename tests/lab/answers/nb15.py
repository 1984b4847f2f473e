"""Answers a learner might give in notebook 15."""

import itertools
import math

import numpy as np
import torch


def law_levels(ref, reward, n):
    out = torch.zeros_like(ref)
    for v in reward.unique():
        at, below = reward == v, ref[reward < v].sum()
        out[at] = ((below + ref[at].sum()) ** n - below**n) * ref[at] / ref[at].sum()
    return out


def law_numpy(ref, reward, n):
    ref, reward = ref.numpy(), reward.numpy()
    upto = np.array([ref[reward <= v].sum() for v in reward])
    below = np.array([ref[reward < v].sum() for v in reward])
    return (upto**n - below**n) * ref / (upto - below)


def law_enumerated(ref, reward, n):
    out = torch.zeros_like(ref)
    for draws in itertools.product(range(len(ref)), repeat=n):
        winner = max(draws, key=lambda i: reward[i].item())
        out[winner] += math.prod(ref[i].item() for i in draws)
    return out


def law_sorted(ref, reward, n):
    order = torch.argsort(reward)
    upto = ref[order].cumsum(0)
    found = torch.zeros_like(ref)
    found[order] = upto**n - (upto - ref[order]) ** n
    return found


def law_even_ties(ref, reward, n):
    out = torch.zeros_like(ref)
    for v in set(reward.tolist()):
        at, below = reward == v, ref[reward < v].sum()
        out[at] = ((below + ref[at].sum()) ** n - below**n) / at.sum()
    return out


def law_undivided(ref, reward, n):
    upto = torch.stack([ref[reward <= v].sum() for v in reward])
    below = torch.stack([ref[reward < v].sum() for v in reward])
    return upto**n - below**n


def kl_xlogy(ref, reward, n):
    law = law_levels(ref, reward, n)
    return torch.special.xlogy(law, law / ref).sum()


def kl_loop(ref, reward, n):
    pairs = zip(law_numpy(ref, reward, n).tolist(), ref.tolist(), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs if p > 0)


def kl_package(ref, reward, n):
    from rlbase.exact import best_of_n, kl

    return kl(best_of_n(ref, reward, n), ref)


def kl_naive(ref, reward, n):
    law = law_levels(ref, reward, n)
    return (law * (law.log() - ref.log())).sum()


def accept_torch(reward, beta, max_reward):
    return torch.exp((reward - max_reward) / beta).clamp(max=1.0)


def accept_minimum(reward, beta, max_reward):
    return [math.exp(min(0.0, (r - max_reward) / beta)) for r in reward.tolist()]


def accept_ratio(reward, beta, max_reward):
    return torch.clamp(torch.exp(reward / beta) / torch.exp(torch.tensor(max_reward / beta)), max=1)


RIGHT = {
    "best-of-n-law": [law_levels, law_numpy, law_enumerated],
    "best-of-n-kl": [kl_xlogy, kl_loop, kl_package],
    "rejection-accept": [accept_torch, accept_minimum],
    "predict-win-rate": [0.8, 4 / 5],
}

WRONG = {
    "best-of-n-law": [
        ("broke ties by their place", law_sorted),
        ("split ties evenly", law_even_ties),
        ("what all of them have together", law_undivided),
        ("raised ref itself", lambda p, r, n: torch.nn.functional.normalize(p**n, p=1, dim=0)),
        ("or less", lambda p, r, n: torch.stack([p[r <= v].sum() for v in r]) ** n),
        ("worst of n", lambda p, r, n: law_levels(p, -r, n)),
        ("*drawn* at all", lambda p, r, n: 1 - torch.pow(1 - p, n)),
        ("too many", lambda p, r, n: law_numpy(p, r, n + 1)),
        ("without ties", lambda p, r, n: p * n * torch.stack([p[r <= v].sum() for v in r]) ** (n - 1)),
    ],
    "best-of-n-kl": [
        ("popular formula", lambda p, r, n: np.log(n) - 1 + 1 / n),
        ("This is log n", lambda p, r, n: np.log(n)),
        ("KL(ref ‖ law)", lambda p, r, n: (p * (p / law_levels(p, r, n)).log()).sum()),
        ("averaged over the answers", lambda p, r, n: kl_xlogy(p, r, n) / p.numel()),
        ("base 2", lambda p, r, n: kl_xlogy(p, r, n) / np.log(2)),
        ("sign is flipped", lambda p, r, n: -kl_loop(p, r, n)),
        ("became NaN", kl_naive),
    ],
    "rejection-accept": [
        ("above 1", lambda r, b, m: torch.exp(r / b)),
        ("cut at 1", lambda r, b, m: torch.exp((r - m) / b)),
        ("largest of these draws", lambda r, b, m: torch.exp((r - r.max()) / b)),
        ("multiplied by beta", lambda r, b, m: torch.exp((r - m) * b).clamp(max=1)),
        ("keeps the worst", lambda r, b, m: torch.exp((m - r) / b).clamp(max=1)),
        ("softmax", lambda r, b, m: torch.softmax(r / b, 0)),
        ("sigmoid", lambda r, b, m: torch.sigmoid((r - m) / b)),
        ("beta is missing", lambda r, b, m: torch.exp(r - m).clamp(max=1)),
        ("something overflowed", accept_ratio),
    ],
    "predict-win-rate": [
        ("a fifth one", 0.75),
        ("same opponent", 1 - 1 / 16),
        ("your colleague wins", 0.2),
        ("sometimes lucky", 1),
        ("the odds", 4),
        ("In percent", 80),
        ("with a number", "most of the time"),
    ],
}
