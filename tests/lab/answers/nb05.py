"""Answers a learner might give in notebook 05."""

import numpy as np
import torch
import torch.nn.functional as F


def kl_torch(logp, ref_logp):
    return F.kl_div(ref_logp, logp, log_target=True, reduction="none").sum(dim=-1)


def kl_einsum(logp, ref_logp):
    return torch.einsum("...v,...v->...", torch.exp(logp), logp - ref_logp)


def kl_probabilities(logp, ref_logp):
    p, q = torch.exp(logp), torch.exp(ref_logp)
    return torch.sum(p * torch.log(p / q), dim=-1)


def three(k1=None, k2=None, k3=None):
    """The three estimators, with one of them replaced."""

    def estimators(logp, ref_logp):
        d = logp - ref_logp
        one = d if k1 is None else k1(logp, ref_logp)
        two = 0.5 * d * d if k2 is None else k2(logp, ref_logp)
        last = torch.exp(-d) - 1 + d if k3 is None else k3(logp, ref_logp)
        return one, two, last

    return estimators


def three_list(lp, ref):
    rho = torch.exp(ref - lp)
    log_rho = ref - lp
    return [log_rho.neg(), log_rho.pow(2).div(2), (rho - 1) - log_rho]


def shaped_loop(score, logp, ref_logp, mask, beta):
    out = torch.zeros(mask.shape)
    for b in range(len(score)):
        last = max(t for t in range(mask.shape[1]) if mask[b, t])
        for t in range(mask.shape[1]):
            if mask[b, t]:
                out[b, t] = -beta * (logp[b, t].item() - ref_logp[b, t].item())
        out[b, last] += score[b]
    return out


@torch.no_grad()
def shaped_scatter(s, lp, ref, m, b):
    r = (lp - ref).mul(-b).masked_fill(~m, 0.0)
    return r.scatter_add(1, m.sum(1, keepdim=True) - 1, s[:, None])


def shaped(sign=-1.0, place=None, charge=None, detach=True, pay=1.0):
    """Shaped rewards in which one thing is done differently."""

    def rewards(score, logp, ref_logp, mask, beta):
        gap = (logp - ref_logp).detach() if detach else logp - ref_logp
        out = (
            torch.where(mask, sign * beta * gap, torch.zeros(()))
            if charge is None
            else charge(gap, mask, beta)
        )
        out = out.clone()
        for b, n in enumerate(mask.sum(1).tolist()):
            for t in [n - 1] if place is None else place(n, mask.shape[1]):
                out[b, t] = out[b, t] + pay * score[b]
        return out

    return rewards


def only_last(gap, mask, beta):
    out = torch.zeros(mask.shape)
    for b, n in enumerate(mask.sum(1).tolist()):
        out[b, n - 1] = -beta * gap[b, :n].sum()
    return out


def own_last(gap, mask, beta):
    out = torch.zeros(mask.shape)
    for b, n in enumerate(mask.sum(1).tolist()):
        out[b, n - 1] = -beta * gap[b, n - 1]
    return out


def beta_numpy(beta, kl, target, episodes, horizon):
    return beta * (1 + np.clip(kl / target - 1, -0.2, 0.2) * episodes / horizon)


def beta_branches(*, horizon, episodes, target, kl, beta):
    share = (kl - target) / target
    if share > 0.2:
        share = 0.2
    elif share < -0.2:
        share = -0.2
    return torch.tensor(beta + beta * share * episodes / horizon)


RIGHT = {
    "exact-kl": [kl_torch, kl_einsum],
    "kl-estimators": [
        three(),
        three_list,
        lambda a, b: ((a - b), (a - b) ** 2 / 2, torch.expm1(b - a) - (b - a)),
    ],
    "kl-in-reward": [shaped_loop, shaped_scatter, shaped()],
    "adaptive-beta": [beta_numpy, beta_branches],
}

WRONG = {
    "exact-kl": [
        ("direction is flipped", lambda logp, ref_logp: kl_einsum(ref_logp, logp)),
        ("direction is flipped", lambda a, b: F.kl_div(a, b, log_target=True, reduction="none").sum(-1)),
        ("weights are missing", lambda a, b: torch.sum(a - b, -1)),
        ("averaged over actions", lambda a, b: torch.mean(a.exp() * (a - b), dim=-1)),
        ("cross-entropy", lambda a, b: -torch.einsum("...v,...v->...", a.exp(), b)),
        ("sign is flipped", lambda a, b: torch.sum(a.exp() * (b - a), dim=-1)),
        ("underflow", kl_probabilities),
        ("averaged over the batch", lambda a, b: kl_torch(a, b).mean()),
        ("did not add up", lambda a, b: a.exp() * a - a.exp() * b),
        ("no gradient flows through `logp`", lambda a, b: kl_einsum(a.detach(), b)),
        ("not the gradient in `logp`", lambda a, b: (a.exp().detach() * (a - b)).sum(-1)),
    ],
    "kl-estimators": [
        ("direction is flipped", lambda a, b: three()(b, a)),
        ("direction is flipped", three(k1=lambda a, b: b - a)),
        ("direction is flipped", three(k3=lambda a, b: torch.exp(a - b) - 1 - (a - b))),
        ("half is missing", three(k2=lambda a, b: torch.square(b - a))),
        ("sign of the logarithm", three(k3=lambda a, b: torch.exp(b - a) - 1 - a + b)),
        ("-1 is missing", three(k3=lambda a, b: torch.exp(b - a) + a - b)),
        ("negated k3", three(k3=lambda a, b: 1 - torch.exp(b - a) + (b - a))),
        ("exponentiate the log-ratio", three(k3=lambda a, b: (b - a) - 1 - (b - a))),
        ("other order", lambda a, b: tuple(three()(a, b)[i] for i in (0, 2, 1))),
        ("underflow", three(k3=lambda a, b: b.exp() / a.exp() - 1 - (b - a))),
        ("k1 keeps its sign", three(k1=lambda a, b: torch.abs(b - a))),
        ("3 results", lambda a, b: a - b),
        ("no gradient flows through `logp`", lambda a, b: three()(a.detach(), b)),
        ("not the gradient in `logp`", three(k2=lambda a, b: 0.5 * (a - b) * (a - b).detach())),
    ],
    "kl-in-reward": [
        ("on the last token only", shaped(charge=only_last)),
        ("on the last token only", shaped(charge=own_last)),
        ("sign is flipped", shaped(sign=1.0)),
        ("last column", shaped(place=lambda n, length: [length - 1])),
        ("on every token", shaped(place=lambda n, length: range(n))),
        ("first token", shaped(place=lambda n, length: [0])),
        ("Beta is missing", shaped(charge=lambda gap, m, beta: torch.where(m, -gap, torch.zeros(())))),
        ("score is missing", shaped(pay=0.0)),
        ("charged padding", shaped(charge=lambda gap, m, beta: -beta * gap)),
        ("NaN on padding", shaped(charge=lambda gap, m, beta: -beta * gap * m.float())),
        ("flows into `logp`", shaped(detach=False)),
    ],
    "adaptive-beta": [
        (
            "not clipped",
            lambda beta, kl, target, episodes, horizon: beta + beta * (kl / target - 1) * episodes / horizon,
        ),
        ("sign is flipped", lambda b, kl, t, n, h: b * (1 - np.clip(kl / t - 1, -0.2, 0.2) * n / h)),
        ("episodes / horizon is missing", lambda b, kl, t, n, h: b + b * np.clip(kl / t - 1, -0.2, 0.2)),
        ("added the correction", lambda b, kl, t, n, h: b + np.clip(kl / t - 1, -0.2, 0.2) * n / h),
        ("absolute error", lambda b, kl, t, n, h: b * (1 + np.clip(kl - t, -0.2, 0.2) * n / h)),
        ("upside down", lambda b, kl, t, n, h: b * (1 + np.clip(kl / t - 1, -0.2, 0.2) * h / n)),
        ("returned the factor", lambda b, kl, t, n, h: beta_numpy(1.0, kl, t, n, h)),
        ("PPO paper's rule", lambda b, kl, t, n, h: b / 2 if kl * 1.5 < t else b * 2 if kl > t * 1.5 else b),
    ],
}
