"""Answers a learner might give in notebook 23."""

import torch
from torch.nn.functional import logsigmoid


def loss_where(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    gain = beta * (logp - ref_logp.detach() - kl)
    return torch.where(
        desirable, desirable_weight * (1 - gain.sigmoid()), undesirable_weight * (1 - (-gain).sigmoid())
    )


def loss_signed(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    side = 2 * desirable.float() - 1
    weight = desirable * desirable_weight + ~desirable * undesirable_weight
    return weight * torch.sigmoid(-side * beta * (logp - ref_logp.detach() - kl))


def loss_package(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    from rlbase.losses import kto

    return kto(
        logp, ref_logp.detach(), desirable, kl, beta=beta,
        desirable_weight=desirable_weight, undesirable_weight=undesirable_weight,
    )  # fmt: skip


def loss_entropy(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    gain = beta * (logp - ref_logp.detach() - kl)
    return -torch.where(
        desirable, desirable_weight * logsigmoid(gain), undesirable_weight * logsigmoid(-gain)
    )


def loss_value(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    gain = beta * (logp - ref_logp.detach() - kl)
    return torch.where(desirable, desirable_weight * gain.sigmoid(), undesirable_weight * (-gain).sigmoid())


def loss_one_side(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight):
    gain = beta * (logp - ref_logp.detach() - kl)
    return torch.where(desirable, desirable_weight, undesirable_weight) * (1 - gain.sigmoid())


def point_loop(logp, ref_logp):
    n = len(logp)
    total = sum((logp[i, (i + 1) % n] - ref_logp[i, (i + 1) % n]).item() for i in range(n))
    return max(0.0, total / n)


def point_roll(logp, ref_logp):
    rows = torch.arange(len(logp))
    return (logp - ref_logp).detach()[rows, rows.roll(-1)].mean().clamp(min=0)


def point_attached(logp, ref_logp):
    rows = torch.arange(len(logp))
    return (logp - ref_logp)[rows, rows.roll(-1)].mean().clamp(min=0)


def point_before(logp, ref_logp):
    rows = torch.arange(len(logp))
    return (logp - ref_logp).detach()[rows, rows.roll(1)].mean().clamp(min=0)


def weights_branch(n_desirable, n_undesirable, ratio):
    if n_desirable < ratio * n_undesirable:
        return ratio * n_undesirable / n_desirable, 1
    return 1, n_desirable / (ratio * n_undesirable)


def weights_max(n_desirable, n_undesirable, ratio):
    odds = torch.tensor(ratio * n_undesirable / n_desirable)
    return odds.clamp(min=1), (1 / odds).clamp(min=1)


RIGHT = {
    "kto-loss": [loss_where, loss_signed, loss_package],
    "predict-surviving": ["c", " C "],
    "kto-threshold": [0.8, 4 / 5],
    "mismatched-kl": [point_loop, point_roll],
    "kto-weights": [weights_branch, weights_max],
}

WRONG = {
    "kto-loss": [
        ("cross-entropy", loss_entropy),
        ("this is the value", loss_value),
        ("treated like a thumb up", loss_one_side),
        ("reference point is missing", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, 0.0, b, wd, wu)),
        ("added the reference point", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, -z, b, wd, wu)),
        ("u - z as a whole", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, z / b, b, wd, wu)),
        ("beta is missing", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, z, 1.0, wd, wu)),
        ("exchanged", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, z, b, wu, wd)),
        ("weights are missing", lambda x, r, d, z, b, wd, wu: loss_where(x, r, d, z, b, 1, 1)),
        ("multiplies the value only", lambda x, r, d, z, b, wd, wu: torch.where(
            d, 1 - wd * torch.sigmoid(b * (x - r - z)), 1 - wu * torch.sigmoid(b * (z - x + r)))),
        ("not -z - u", lambda x, r, d, z, b, wd, wu: torch.where(
            d, wd * (1 - torch.sigmoid(b * (x - r - z))), wu * (1 - torch.sigmoid(b * (-z - x + r))))),
        ("reduced", lambda *a: loss_where(*a).mean()),
        ("no gradient flows through `logp`", lambda x, *a: loss_where(x.detach(), *a)),
        ("detach it", lambda x, r, d, z, b, wd, wu: torch.where(
            d, wd * torch.sigmoid(-b * (x - r - z)), wu * torch.sigmoid(b * (x - r - z)))),
    ],
    "predict-surviving": [
        ("DPO's rest point", "a"),
        ("something of it stays", "b"),
        ("to the end", "d"),
        ("one of the letters", "the first two"),
        ("one of the letters", 2),
    ],
    "kto-threshold": [
        ("better* liked", 0.2),
        ("equal weights", 0.5),
        ("the odds", 4),
        ("That is 1 - λD/λU", 0.75),
        ("That is λD/λU", 1 / 4),
        ("In percent", 80),
        ("with a number", "most"),
    ],
    "mismatched-kl": [
        ("matched pairs", lambda x, r: (x - r).detach().diag().mean().clamp(min=0)),
        ("row *before*", point_before),
        ("whole table", lambda x, r: (x - r).detach().mean().clamp(min=0)),
        ("cut the *mean*", lambda x, r: (x - r).detach().roll(-1, 1).diag().relu().mean()),
        ("not cut at 0", lambda x, r: (x - r).detach().roll(-1, 1).diag().mean()),
        ("last prompt is missing", lambda x, r: (x - r).detach().diag(1).mean().relu()),
        ("You added up", lambda x, r: (x - r).detach().roll(-1, 1).diag().sum().relu()),
        ("sign is flipped", lambda x, r: (r - x).detach().roll(-1, 1).diag().mean().relu()),
        ("detach it", point_attached),
    ],
    "kto-weights": [
        ("exchanged", lambda d, u, ratio: weights_branch(d, u, ratio)[::-1]),
        ("left `ratio` out", lambda d, u, ratio: weights_branch(d, u, 1)),
        ("wrong side", lambda d, u, ratio: weights_branch(d, u, 1 / ratio)),
        ("weighted one pile down", lambda d, u, ratio: (min(1, ratio * u / d), min(1, d / (ratio * u)))),
        ("λD alone", lambda d, u, ratio: (ratio * u / d, 1)),
        ("other pile", lambda d, u, ratio: (u / (d + u), 1 - u / (d + u))),
        ("λU alone", lambda d, u, ratio: (1, d / u / ratio)),
    ],
}  # fmt: skip
