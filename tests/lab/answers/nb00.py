"""Answers a learner might give to the warm-up of notebook 00."""

import torch


def earned_loop(rewards, mask):
    total = 0.0
    for r, chosen in zip(rewards, mask, strict=True):
        if chosen:
            total += r.item()
    return total


def earned_product(rewards, mask):
    return (rewards * mask).sum()


def earned_numpy(rewards, mask):
    return rewards.numpy()[mask.numpy()].sum()


def earned_in_place(rewards, mask):
    rewards[~mask] = 0
    return rewards.sum()


RIGHT = {"warm-up": [lambda rewards, mask: rewards[mask].sum(), earned_loop, earned_product, earned_numpy]}

WRONG = {
    "warm-up": [
        ("added up everything", lambda r, m: sum(r.tolist())),
        ("took the mean", lambda r, m: r[m].sum() / max(1, int(m.sum()))),
        ("took the mean", lambda r, m: r[m].mean()),
        ("not in a way this check knows by name", lambda r, m: len(r)),
        ("divided by the number of steps", lambda r, m: (r * m).mean()),
        ("upside down", lambda r, m: r[~m].sum()),
        ("counted the choices", lambda r, m: torch.count_nonzero(m)),
        ("one number for each step", lambda r, m: r * m.float()),
        ("`rewards` in place", earned_in_place),
        ("Not written yet", None),
    ],
}
