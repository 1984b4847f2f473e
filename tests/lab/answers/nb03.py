"""Answers a learner might give in notebook 03."""

# ruff: noqa: B905  (learners do not write strict=)

import numpy as np
import torch


def loss_einsum(logp, advantages):
    with torch.no_grad():
        weights = advantages * -1
    return torch.einsum("bt,bt->bt", logp, weights)


def togo_loop(rewards, discounts):
    rows = []
    for row, d in zip(rewards, discounts):
        g, out = 0.0, []
        for t in range(len(row) - 1, -1, -1):
            g = row[t] + d[t] * g
            out.append(g)
        rows.append(torch.stack(out[::-1]))
    return rows


def togo_products(rewards, discounts):
    b, n = rewards.shape
    out = torch.zeros(b, n)
    for t in range(n):
        weight = torch.ones(b)
        for k in range(t, n):
            out[:, t] += weight * rewards[:, k]
            weight = weight * discounts[:, k]
    return out


def togo_numpy_leaky(rewards, discounts):
    gamma = discounts.max().item()
    r = rewards.numpy()
    return np.array(
        [[sum(gamma ** (k - t) * row[k] for k in range(t, len(row))) for t in range(len(row))] for row in r]
    )


def togo_shift(rewards, discounts):
    out, g = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        out[:, t] = rewards[:, t] + g
        g = discounts[:, t] * out[:, t]
    return out


def togo_past(rewards, discounts):
    out = rewards.clone()
    for t in range(1, rewards.shape[1]):
        out[:, t] = rewards[:, t] + discounts[:, t] * out[:, t - 1]
    return out


def loo_loops(rewards):
    out = torch.zeros_like(rewards)
    for g in range(rewards.shape[0]):
        for i in range(rewards.shape[1]):
            others = [rewards[g, j] for j in range(rewards.shape[1]) if j != i]
            out[g, i] = rewards[g, i] - sum(others) / len(others)
    return out


def loo_matrix(rewards):
    n = rewards.shape[1]
    return rewards @ (torch.eye(n) - (1 - torch.eye(n)) / (n - 1))


def mean_loop(x, mask):
    total, count = 0.0, 0
    for row, m in zip(x, mask):
        for value, keep in zip(row, m):
            if keep:
                total, count = total + value, count + 1
    return total / count


RIGHT = {
    "reinforce-loss": [loss_einsum, lambda logp, advantages: torch.neg(logp * advantages.detach())],
    "reward-to-go": [togo_loop, togo_products],
    "leave-one-out": [
        loo_loops,
        loo_matrix,
        lambda r: (r - r.mean(1, keepdim=True)) * r.shape[1] / (r.shape[1] - 1),
    ],
    "masked-mean": [
        mean_loop,
        lambda x, mask: torch.masked_select(x, mask).mean(),
        lambda x, mask: x.masked_fill(~mask, 0).sum() / mask.float().sum(),
    ],
}

WRONG = {
    "reinforce-loss": [
        ("sign is flipped", lambda logp, advantages: logp * advantages.detach()),
        ("used probabilities", lambda logp, advantages: -torch.exp(logp) * advantages.detach()),
        ("advantages are missing", lambda logp, advantages: 0 - logp),
        ("gradient flows into `advantages`", lambda logp, advantages: -(logp * advantages)),
        ("no gradient flows through `logp`", lambda logp, advantages: -logp.detach() * advantages.detach()),
        ("numpy", lambda logp, advantages: -logp.numpy() * advantages.numpy()),
        ("reduced the result", lambda logp, advantages: -(logp * advantages).mean()),
        ("reduced the result", lambda logp, advantages: -(logp * advantages).sum()),
        ("whole row", lambda lp, a: -torch.stack([row.sum() * w for row, w in zip(lp, a.detach())])),
        ("centred the advantages", lambda lp, a: torch.einsum("bt,bt->bt", -lp, a - torch.mean(a))),
    ],
    "reward-to-go": [
        ("leak over the end", togo_numpy_leaky),
        ("plain sum of all that follows", lambda r, d: r.sum(1, keepdim=True) - r.cumsum(1) + r),
        ("whole row's reward", lambda r, d: torch.ones_like(r) * r.sum(-1)[:, None]),
        ("added up the past", togo_past),
        ("step's own reward as well", lambda r, d: d * togo_products(r, d)),
        ("batch axis", lambda r, d: togo_products(r.T, d.T).T),
        ("next step's discount", lambda r, d: togo_products(r, torch.cat([d[:, 1:], d[:, -1:]], 1))),
        ("differ", lambda r, d: r + d * torch.cat([r[:, 1:], 0 * r[:, :1]], 1)),
    ],
    "leave-one-out": [
        ("includes the response itself", lambda r: torch.stack([row - row.mean() for row in r])),
        ("still in the sum", lambda r: r - r.sum(1, keepdim=True) / (r.shape[1] - 1)),
        ("that is GRPO", lambda r: torch.stack([(row - row.mean()) / row.std() for row in r])),
        ("they are G - 1", lambda r: r - r @ (1 - torch.eye(r.shape[1])) / r.shape[1]),
        ("sign is flipped", lambda r: -loo_loops(r)),
        ("This is the baseline", lambda r: (r.sum(-1, keepdim=True) - r) / (r.shape[1] - 1)),
        ("mixed the groups", lambda r: r - torch.mean(r)),
        ("standard deviation", lambda r: (r - r.mean(-1)[:, None]) / (torch.sqrt(r.var(-1))[:, None] + 1e-4)),
    ],
    "masked-mean": [
        ("averaged over padding", lambda x, m: x.masked_fill(~m, 0.0).mean()),
        ("ignored the mask", lambda x, m: x.sum() / x.numel()),
        ("did not divide", lambda x, m: x[m].sum()),
        ("rows' means", lambda x, m: torch.stack([row[k].mean() for row, k in zip(x, m)]).mean()),
        ("one mean for each row", lambda x, m: torch.stack([row[k].mean() for row, k in zip(x, m)])),
        ("NaN on padding", lambda x, m: torch.einsum("bt,bt->", x, m.float()) / m.count_nonzero()),
        ("number of rows", lambda x, m: sum(row[k].sum() for row, k in zip(x, m)) / x.shape[0]),
        ("no gradient flows", lambda x, m: x[m].mean().item()),
        ("no gradient flows through `x`", lambda x, m: x.detach()[m].mean()),
    ],
}
