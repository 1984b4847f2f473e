"""Answers a learner might give in notebook 26."""

import numpy as np
import torch


def beaten_table(kl, gold):
    no_worse = (kl[:, None] <= kl) & (gold[:, None] >= gold)
    return (no_worse & ~no_worse.T).any(0)


def beaten_loop(kl, gold):
    runs = list(zip(kl.tolist(), gold.tolist(), strict=True))
    return [any(k <= x and g >= y and (k, g) != (x, y) for k, g in runs) for x, y in runs]


def beaten_package(kl, gold):
    from rlbase.evaluate import frontier

    return ~frontier(kl, gold)


def at_numpy(kl, gold, at):
    order = np.argsort(kl.numpy())
    x, y = kl.numpy()[order], gold.numpy()[order]
    return np.interp(at.numpy(), x, y, left=np.nan, right=np.nan)


def at_loop(kl, gold, at):
    points, found = sorted(zip(kl.tolist(), gold.tolist(), strict=True)), []
    for where in at.tolist():
        found.append(float("nan"))
        for (x, y), (u, v) in zip(points, points[1:], strict=False):
            if x <= where <= u:
                found[-1] = y + (where - x) / (u - x) * (v - y)
    return torch.tensor(found, dtype=torch.float64)


def at_ends(kl, gold, at):
    order = np.argsort(kl.numpy())
    return np.interp(at.numpy(), kl.numpy()[order], gold.numpy()[order])


def at_zero(kl, gold, at):
    return torch.nan_to_num(at_loop(kl, gold, at), nan=0.0)


def at_nearest(kl, gold, at):
    found = torch.stack([gold[(kl - x).abs().argmin()] for x in at])
    found[(at < kl.min()) | (at > kl.max())] = float("nan")
    return found


def at_flipped(kl, gold, at):
    return np.interp(at.numpy(), kl.flip(0).numpy(), gold.flip(0).numpy(), left=np.nan, right=np.nan)


def at_fit(kl, gold, at):
    return np.polyval(np.polyfit(kl.numpy(), gold.numpy(), 1), at.numpy())


def beaten_by_twins(kl, gold):
    runs = list(zip(kl.tolist(), gold.tolist(), strict=True))
    return [any(k <= x and g >= y for k, g in runs[:i] + runs[i + 1 :]) for i, (x, y) in enumerate(runs)]


def beaten_at_every_price_by_somebody(kl, gold):
    left = [gold - price * kl for price in np.linspace(0, 50, 5001)]
    return ~torch.stack([worth == worth.max() for worth in left]).any(0)


RIGHT = {
    "own-target": [
        {"PPO": "a", "DPO": "a", "IPO": "b", "KTO": "c"},
        {"DPO": " A", "PPO": "A", "KTO": "C", "IPO": "B"},
    ],
    "best-beta": [0.6, 3 / 5],
    "frontier-dominance": [beaten_table, beaten_loop, beaten_package],
    "reward-at-equal-kl": [at_numpy, at_loop],
}

WRONG = {
    "own-target": [
        ("what IPO adds up", {"PPO": "b", "DPO": "a", "IPO": "b", "KTO": "c"}),
        ("*without* the price", {"PPO": "d", "DPO": "a", "IPO": "b", "KTO": "c"}),
        ("IPO takes the preference itself", {"PPO": "a", "DPO": "b", "IPO": "b", "KTO": "c"}),
        ("*always* preferred", {"PPO": "a", "DPO": "d", "IPO": "b", "KTO": "c"}),
        ("if win rates were rewards", {"PPO": "a", "DPO": "a", "IPO": "a", "KTO": "c"}),
        ("more than 1/tau", {"PPO": "a", "DPO": "a", "IPO": "c", "KTO": "b"}),
        ("no DPO without pairs", {"PPO": "a", "DPO": "a", "IPO": "b", "KTO": "a"}),
        ("not only the best", {"PPO": "a", "DPO": "a", "IPO": "b", "KTO": "d"}),
        ("a letter for each", "aabc"),
        ("one of the letters", {"PPO": "a", "DPO": "a", "IPO": "b", "KTO": "e"}),
    ],
    "best-beta": [
        ("by reward alone", 0.01),
        ("default of many", 0.1),
        ("overspends", 0.3),
        ("too close", 1.2),
        ("turned it around", 1.667),
        ("moves without end", 0),
        ("with a number", "small"),
    ],
    "frontier-dominance": [
        ("reward alone", lambda kl, gold: gold != gold.max()),
        ("KL alone", lambda kl, gold: kl != kl.min()),
        ("invert it", lambda kl, gold: ~beaten_table(kl, gold)),
        ("who beats", lambda kl, gold: beaten_table(-kl, -gold)),
        ("by itself", lambda kl, gold: ((kl <= kl[:, None]) & (gold <= gold[:, None])).any(0)),
        ("both to be strict", lambda kl, gold: ((kl > kl[:, None]) & (gold < gold[:, None])).any(0)),
        (
            "more gold: a run with the same gold",
            lambda kl, gold: ((kl[:, None] <= kl) & (gold[:, None] > gold)).any(0),
        ),
        (
            "less KL: a run with the same KL",
            lambda kl, gold: ((kl[:, None] < kl) & (gold[:, None] >= gold)).any(0),
        ),
        ("Twins", beaten_by_twins),
        ("at no price", beaten_at_every_price_by_somebody),
        ("any() in place of all()", lambda kl, gold: (beaten_table(kl, gold)[:, None] & (kl < 0)).all(0)),
        (
            "not in a way",
            lambda kl, gold: beaten_table(kl, gold) | (kl == kl[0]),
        ),  # 1 where 0 belongs: no "factor of 1"
        ("it takes both", lambda kl, gold: ((kl[:, None] < kl) | (gold[:, None] > gold)).any(dim=0)),
        ("more KL", lambda kl, gold: beaten_table(-kl, gold)),
        ("less gold", lambda kl, gold: beaten_table(kl, -gold)),
        ("per nat", lambda kl, gold: gold / kl != (gold / kl).max()),
    ],
    "reward-at-equal-kl": [
        ("nearest end", at_ends),
        ("return 0", at_zero),
        ("did not sort", lambda kl, gold, at: np.interp(at, kl, gold, left=np.nan, right=np.nan)),
        ("left gold", lambda kl, gold, at: at_numpy(kl.sort().values, gold, at)),
        ("stay together", lambda kl, gold, at: at_numpy(kl.sort().values, gold.sort().values.flip(0), at)),
        ("stay together", lambda kl, gold, at: at_numpy(kl.sort().values, gold.sort().values, at)),
        ("exchanged", lambda kl, gold, at: at_numpy(gold, kl, at)),
        ("turned the points around", at_flipped),
        ("one line through all", at_fit),
        ("nearest point", at_nearest),
        (
            "from zero",
            lambda kl, gold, at: torch.where(
                at_loop(kl, gold, at).isnan(), float("nan"), at * (gold / kl)[gold.argmax()]
            ),
        ),
    ],
}
