"""Answers a learner might give in notebook 13."""

import math

import torch


def returns_loop(score, actions, mask, logp, ref_logp, beta, penalty):
    """Row by row, from the last written token backwards."""
    found = torch.zeros(mask.shape)
    for b in range(len(mask)):
        n = int(mask[b].sum())
        total = float(score[b]) - (0.0 if 3 in actions[b, :n].tolist() else penalty)
        for t in reversed(range(n)):
            total -= beta * float(logp[b, t] - ref_logp[b, t])
            found[b, t] = total
    return found


def returns_sums(score, actions, mask, logp, ref_logp, beta, penalty):
    """The price of everything less the price of what came before."""
    charge = (beta * (logp - ref_logp)).masked_fill(~mask, 0)
    before = charge.cumsum(1) - charge
    ended = actions.masked_fill(~mask, 0).eq(3).any(1)
    return torch.where(ended, score, score - penalty)[:, None] - charge.sum(1, keepdim=True) + before


def returns_rewards(score, actions, mask, logp, ref_logp, beta, penalty):
    """First the rewards of each token, then their sums to the end."""
    rewards = torch.where(mask, beta * (ref_logp - logp), torch.zeros(()))
    last = mask.sum(1) - 1
    rows = torch.arange(len(mask))
    rewards[rows, last] += score - penalty * (actions[rows, last] != 3)
    return torch.flip(torch.cumsum(torch.flip(rewards, [1]), 1), [1])


def given(score, actions, mask, penalty):
    """The score, less the penalty where nothing ended."""
    return score - penalty * ~(actions.eq(3) & mask).any(1)


def charged(mask, logp, ref_logp, beta):
    return torch.where(mask, beta * (logp - ref_logp), 0)


def rewards_only(score, actions, mask, logp, ref_logp, beta, penalty):
    rewards = -charged(mask, logp, ref_logp, beta)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] += given(score, actions, mask, penalty)
    return rewards


def own_price(s, a, m, x, r, b, p):
    return given(s, a, m, p)[:, None] - charged(m, x, r, b)


def price_so_far(s, a, m, x, r, b, p):
    return given(s, a, m, p)[:, None] - charged(m, x, r, b).cumsum(1)


def whole_price(s, a, m, x, r, b, p):
    return (given(s, a, m, p) - charged(m, x, r, b).sum(1))[:, None].expand(m.shape)


def price_after(s, a, m, x, r, b, p):
    return returns_sums(s, a, m, x, r, b, p) + charged(m, x, r, b)


def last_column(s, a, m, x, r, b, p):
    return returns_sums(s - p * (a[:, -1] != 3), a, m, x, r, b, 0.0)


def zeroed(s, a, m, x, r, b, p):
    return returns_sums(given(s, a, m, p), a, m | ~m, x * m, r * m, b, 0.0)


def penalty_odds(share, wanted, beta):
    return beta * torch.log(share / (1 - share) * (1 - wanted) / wanted)


def penalty_each(share, wanted, beta):
    pairs = zip(share.tolist(), wanted.tolist(), strict=True)
    return [beta * (math.log(q) - math.log1p(-q) - math.log(w) + math.log1p(-w)) for q, w in pairs]


def keep_parts(rewards, mask):
    mean, std = rewards[mask].mean(), rewards[mask].std()
    return mean + (rewards - mean) / (std + 1e-8)


def keep_population(rewards, mask):
    n = mask.sum()
    mean = torch.where(mask, rewards, 0).sum() / n
    spread = (torch.where(mask, rewards - mean, 0).square().sum() / n).sqrt()
    return (rewards - mean) / spread.clamp(min=1e-6) + mean


def moved(rewards, mask, *, add=1.0, over=None):
    inside = rewards[mask if over is None else over]
    return (rewards - inside.mean()) / (inside.std() + 1e-8) + add * inside.mean()


RIGHT = {
    "rlhf-returns": [returns_loop, returns_sums, returns_rewards],
    "missing-eos": [penalty_odds, penalty_each],
    "whiten-without-shift": [keep_parts, keep_population],
    "predict-who-carries-kl": ["c", " C"],
    "predict-two-anchors": ["c", "C "],
}

WRONG = {
    "rlhf-returns": [
        ("rewards themselves", rewards_only),
        ("only the token's own", own_price),
        ("up to this one", price_so_far),
        ("whole response", whole_price),
        ("begins at this token", price_after),
        ("KL is flipped", lambda s, a, m, x, r, b, p: returns_loop(s, a, m, r, x, b, p)),
        ("penalty is flipped", lambda s, a, m, x, r, b, p: returns_sums(s, a, m, x, r, b, -p)),
        ("that did end", lambda s, a, m, x, r, b, p: returns_sums(s - p, a, m, x, r, b, -p)),
        ("in the last column", last_column),
        ("every full row", lambda s, a, m, x, r, b, p: returns_loop(s - p * m.all(1), a, m, x, r, b, 0.0)),
        ("missing end is missing", lambda s, a, m, x, r, b, p: returns_loop(s, a, m, x, r, b, 0.0)),
        (
            "Padding is charged",
            lambda s, a, m, x, r, b, p: returns_sums(given(s, a, m, p), a, m | ~m, x, r, b, 0.0),
        ),
        (
            "does not remove a NaN",
            lambda s, a, m, x, r, b, p: returns_sums(given(s, a, m, p), a, m | ~m, x * m, r * m, b, 0.0),
        ),
    ],
    "missing-eos": [
        ("odds that shrink", lambda q, w, b: b * (q.log() - w.log())),
        ("sign is flipped", lambda q, w, b: -penalty_odds(q, w, b)),
        ("divided by beta", lambda q, w, b: penalty_odds(q, w, 1 / b)),
        ("beta is missing", lambda q, w, b: penalty_odds(q, w, 1.0)),
        ("factor by which", lambda q, w, b: b * (q / (1 - q)) / (w / (1 - w))),
        ("the law has e", lambda q, w, b: b * torch.log2(q / (1 - q) * (1 - w) / w)),
        ("where the reference begins", lambda q, w, b: b * torch.log((1 - w) / w)),
        ("difference of the shares", lambda q, w, b: b * q - b * w),
    ],
    "whiten-without-shift": [
        ("shifted the mean", lambda x, m: moved(x, m, add=0.0)),
        ("divided the mean", lambda x, m: x / (x[m].std() + 1e-8)),
        ("Padding is in", lambda x, m: moved(x, m, over=torch.ones_like(m))),
        (
            "each response by itself",
            lambda x, m: torch.stack([moved(r, k) for r, k in zip(x, m, strict=True)]),
        ),
        ("its root is the spread", lambda x, m: x[m].mean() + (x - x[m].mean()) / (x[m].var() + 1e-8)),
        (
            "root mean square",
            lambda x, m: x[m].mean() + (x - x[m].mean()) / ((x[m] ** 2).mean() ** 0.5 + 1e-8),
        ),
        ("mean twice", lambda x, m: moved(x, m, add=-1.0)),
        ("divide by the spread in between", lambda x, m: x - x[m].mean() + x[m].mean()),
        ("0 / 0", lambda x, m: (x - x[m].mean()) / x[m].std() + x[m].mean()),
    ],
    "predict-who-carries-kl": [
        ("before this policy existed", "a"),
        ("last rollout", "b"),
        ("stage is over", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 3),
    ],
    "predict-two-anchors": [
        ("starts again from 0", "a"),
        ("nothing is charged", "b"),
        ("way so far is forgotten", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 2),
    ],
}
