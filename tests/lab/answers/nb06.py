"""Answers a learner might give in notebook 06."""

# ruff: noqa: B905  (learners do not write strict=)

import numpy as np
import torch


def value_where(values, old_values, returns, clip):
    old_values, returns = old_values.detach(), returns.detach()
    near = torch.max(torch.min(values, old_values + clip), old_values - clip)
    a, b = (values - returns) ** 2, (near - returns) ** 2
    return torch.where(a > b, a, b) / 2


def value_stack(v, v_old, ret, eps):
    held = v_old.detach() + torch.clip(v - v_old.detach(), -eps, eps)
    errors = torch.stack([v, held]) - ret.detach()
    return 0.5 * errors.pow(2).amax(0)


def value_variant(pick=torch.max, scale=0.5, held=None):
    def loss(values, old_values, returns, clip):
        o, r = old_values.detach(), returns.detach()
        near = o + (values - o).clip(-clip, clip) if held is None else held(values, o, r, clip)
        return scale * pick((values - r) ** 2, (near - r) ** 2)

    return loss


def white_numpy(advantages, mask):
    x, m = advantages.numpy(), mask.numpy()
    return (x - x[m].mean()) / (x[m].std() + 1e-8)


def white_sums(advantages, mask):
    n = mask.sum()
    mean = (advantages * mask).sum() / n
    centred = (advantages - mean) * mask
    return centred / torch.sqrt(centred.pow(2).sum() / (n - 1) + 1e-8)


def white_scatter(advantages, mask):
    out = torch.zeros_like(advantages)
    chosen = advantages[mask]
    out[mask] = (chosen - chosen.mean()) / chosen.std().clamp(min=1e-6)
    return out


def explained_numpy(values, returns):
    v, r = values.numpy(), returns.numpy()
    return 1 - np.var(r - v) / np.var(r)


def explained_sums(values, returns):
    gap = [r - v for r, v in zip(returns.tolist(), values.tolist())]
    mean, top = sum(gap) / len(gap), sum(returns.tolist()) / len(gap)
    return 1 - sum((g - mean) ** 2 for g in gap) / sum((r - top) ** 2 for r in returns.tolist())


RIGHT = {
    "value-clip": [value_where, value_stack],
    "whiten": [white_numpy, white_sums, white_scatter],
    "explained-variance": [explained_numpy, explained_sums],
}

WRONG = {
    "value-clip": [
        ("smaller error", value_variant(pick=torch.min)),
        ("half is missing", value_variant(scale=1.0)),
        (
            "no clip in it",
            lambda v, o, r, c: torch.nn.functional.mse_loss(v, r.detach(), reduction="none") / 2,
        ),
        ("forgot the maximum", value_variant(pick=lambda a, b: b)),
        ("clipped the value itself", value_variant(held=lambda v, o, r, c: torch.clip(v, -c, c))),
        ("clipped by a factor", value_variant(held=lambda v, o, r, c: o * torch.clip(v / o, 1 - c, 1 + c))),
        ("sign is flipped", value_variant(scale=-0.5)),
        (
            "flows into `old_values`",
            lambda v, o, r, c: (
                0.5 * torch.max((v - r.detach()) ** 2, (o + (v - o).clip(-c, c) - r.detach()) ** 2)
            ),
        ),
        (
            "flows into `returns`",
            lambda v, o, r, c: 0.5 * value_variant(scale=1.0)(v - r, o.detach() - r, 0 * r, c),
        ),
        ("no gradient flows through `values`", lambda v, o, r, c: value_stack(v.detach(), o, r, c)),
        ("reduced the result", lambda v, o, r, c: value_stack(v, o, r, c).mean()),
    ],
    "whiten": [
        ("statistics include the padding", lambda a, m: (a - a.mean()) / (a.std() + 1e-8)),
        (
            "statistics include the padding",
            lambda a, m: (a.numpy() - np.mean(a.numpy())) / (np.std(a.numpy()) + 1e-8),
        ),
        ("zeroed the padding", lambda a, m: (a - (a * m).mean()) / ((a * m).std() + 1e-8)),
        ("divided by the variance", lambda a, m: (a - a[m].mean()) / torch.var(a[m])),
        ("did not subtract the mean", lambda a, m: a / (torch.std(a[m]) + 1e-8)),
        ("only subtracted the mean", lambda a, m: a - (a * m).sum() / m.sum()),
        (
            "every row by itself",
            lambda a, m: [(row - row[k].mean()) / (row[k].std() + 1e-8) for row, k in zip(a, m)],
        ),
        ("0 / 0", lambda a, m: (a - torch.mean(a[m])) / torch.std(a[m])),
        ("mean was added back", lambda a, m: white_numpy(a, m) + a[m].mean().item()),
        ("multiplied by the standard deviation", lambda a, m: (a - a[m].mean()) * a[m].std()),
    ],
    "explained-variance": [
        ("*un*explained", lambda v, r: torch.var(r - v) / torch.var(r)),
        ("variance of the values", lambda v, r: 1 - np.var((r - v).numpy()) / np.var(v.numpy())),
        ("squared error", lambda v, r: 1 - ((r - v) ** 2).sum() / ((r - r.mean()) ** 2).sum()),
        ("squared correlation", lambda v, r: np.corrcoef(v.numpy(), r.numpy())[0, 1] ** 2),
        ("divide variances", lambda v, r: 1 - np.std((r - v).numpy()) / np.std(r.numpy())),
        ("variances of values and returns", lambda v, r: 1 - np.var(v.numpy()) / np.var(r.numpy())),
        ("expected shape []", lambda v, r: 1 - (r - v) ** 2 / r.var()),
    ],
}
