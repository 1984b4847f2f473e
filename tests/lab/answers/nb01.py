"""Answers a learner might give in notebook 01, written without a look at the engine's own mutants."""

# ruff: noqa: B905  (learners do not write strict=)

import numpy as np
import torch


def returns_backwards(rewards, gamma):
    out, g = [], 0.0
    for r in reversed(rewards.tolist()):
        g = r + gamma * g
        out.insert(0, g)
    return out


def returns_numpy(r, discount):
    r = r.numpy()
    return np.array([sum(discount**k * r[t + k] for k in range(len(r) - t)) for t in range(len(r))])


def returns_matrix(rewards, gamma):
    n = len(rewards)
    gap = torch.arange(n)[None] - torch.arange(n)[:, None]
    weights = torch.where(gap >= 0, torch.tensor(float(gamma)) ** gap.clamp(min=0), torch.tensor(0.0))
    return weights @ rewards


def returns_recursive(*, rewards, gamma):
    if len(rewards) == 1:
        return rewards.clone()
    later = returns_recursive(rewards=rewards[1:], gamma=gamma)
    return torch.cat([rewards[:1] + gamma * later[:1], later])


def returns_from_start(rewards, gamma):
    return torch.stack(
        [sum(gamma**k * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]
    )


def returns_past(rewards, gamma):
    out, g = [], torch.tensor(0.0)
    for r in rewards:
        g = r + gamma * g
        out.append(g)
    return torch.stack(out)


def returns_plain(rewards, gamma):
    return torch.tensor([rewards[t:].sum() for t in range(len(rewards))])


def returns_total(rewards, gamma):
    return sum(gamma**t * r for t, r in enumerate(rewards))


def returns_discount_all(rewards, gamma):
    g, out = 0.0, torch.zeros(len(rewards))
    for t in range(len(rewards) - 1, -1, -1):
        g = gamma * (rewards[t] + g)
        out[t] = g
    return out


def returns_next(rewards, gamma):
    full = returns_backwards(rewards, gamma) + [0.0]
    return [gamma * g for g in full[1:]]


def returns_in_place(rewards, gamma):
    for t in range(len(rewards) - 2, -1, -1):
        rewards[t] += gamma * rewards[t + 1]
    return rewards


def returns_reversed(rewards, gamma):
    return returns_backwards(rewards, gamma)[::-1]


def target_loop(rewards, next_values, terminated, truncated, gamma):
    return [
        r.item() if end else (r + gamma * v).item() for r, v, end in zip(rewards, next_values, terminated)
    ]


def target_float(r, v, done, timeout, g):
    return r + (1.0 - done.float()) * g * v


def target_numpy(rewards, next_values, terminated, truncated, gamma):
    return rewards.numpy() + gamma * np.where(terminated.numpy(), 0.0, next_values.numpy())


def target_done(r, v, terminated, truncated, g):
    done = np.logical_or(terminated.numpy(), truncated.numpy())
    return r.numpy() + g * v.numpy() * (1 - done)


def target_no_truncation_only(r, v, terminated, truncated, g):
    return r + g * v * (1 - truncated.int())


def target_inverted(r, v, terminated, truncated, g):
    return r + g * v * terminated.float()


def backup_loops(transitions, rewards, values, gamma):
    q = torch.zeros_like(rewards)
    for s in range(q.shape[0]):
        for a in range(q.shape[1]):
            q[s, a] = rewards[s, a] + gamma * sum(
                transitions[s, a, n] * values[n] for n in range(len(values))
            )
    return q


def backup_einsum(p, r, v, g):
    return r + g * torch.einsum("san,n->sa", p, v)


RIGHT = {
    "discounted-return": [returns_backwards, returns_numpy, returns_matrix, returns_recursive],
    "td-target": [target_loop, target_float, target_numpy],
    "bellman-backup": [backup_loops, backup_einsum],
    "predict-horizon": [10, 10.0, torch.tensor(10.0), np.float32(1 / (1 - 0.9))],
}

WRONG = {
    "discounted-return": [
        ("discounted from the start", returns_from_start),
        ("added up the past", returns_past),
        ("added up the past", lambda rewards, gamma: torch.cumsum(rewards, 0)),
        ("only discounted each reward", lambda rewards, gamma: [gamma * r for r in rewards.tolist()]),
        ("forgot the discount", returns_plain),
        ("first step only", returns_total),
        ("own reward as well", returns_discount_all),
        ("own reward out", returns_next),
        ("`rewards` in place", returns_in_place),
        ("reversed along the last axis", returns_reversed),
        (
            "only discounted each reward",
            lambda r, g: torch.tensor([g**t * x for t, x in enumerate(r.tolist())]),
        ),
    ],
    "td-target": [
        ("truncation as termination", target_done),
        ("bootstrapped after termination", lambda r, v, end, cut, g: torch.add(r, v, alpha=g)),
        ("swapped the flags", target_no_truncation_only),
        ("flag is inverted", target_inverted),
        ("discount is missing", lambda r, v, end, cut, g: r + v * ~end),
        ("dropped the reward", lambda r, v, end, cut, g: (r + g * v) * (1 - end.int())),
        ("sign is flipped", lambda r, v, end, cut, g: -(r + g * v * ~end)),
        ("reduced the result", lambda r, v, end, cut, g: (r + g * v * ~end).mean()),
    ],
    "bellman-backup": [
        ("state you are in", lambda p, r, v, g: torch.stack([r[s] + g * v[s] for s in range(len(v))])),
        ("best next state", lambda p, r, v, g: r + g * max(v)),
        ("discount is missing", lambda p, r, v, g: r + (p * v).sum(-1)),
        ("discounted the reward as well", lambda p, r, v, g: torch.einsum("san,n->sa", p, g * v) + g * r),
        ("without their probabilities", lambda p, r, v, g: r + g * torch.ones_like(p).matmul(v) / len(v)),
        ("best action only", lambda p, r, v, g: torch.tensor([max(row) for row in backup_loops(p, r, v, g)])),
        ("reward is missing", lambda p, r, v, g: g * (p @ v[:, None]).squeeze(-1)),
        ("axes of P are swapped", lambda p, r, v, g: r + g * torch.einsum("san,s->na", p, v)),
        ("axes of Q are swapped", lambda p, r, v, g: r.T + g * torch.einsum("san,n->as", p, v)),
    ],
    "predict-horizon": [
        ("leaves out the first reward", 9),
        ("converges", float("inf")),
        ("first reward only", 1),
        ("second reward", 0.9),
        ("too large", 100),
        ("Answer with a number", "ten"),
        ("Answer with a number", float("nan")),
        ("Not written yet", None),
    ],
}
