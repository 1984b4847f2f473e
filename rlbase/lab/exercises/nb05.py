"""Exercises of notebook 05: the divergence from a reference, estimated, rewarded and controlled."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.losses import exact_kl as kl
from rlbase.losses import k1, k2, k3, ziegler_beta

NOTEBOOK = "05_kl_three_ways"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _distributions() -> tuple[Case, ...]:
    half, quarter = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    a, b = _noise(1, 3, 4).log_softmax(-1), (2 * _noise(2, 3, 4)).log_softmax(-1)
    c, d = _noise(3, 2, 2, 5).log_softmax(-1), _noise(4, 2, 2, 5).log_softmax(-1)
    far = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]]).log_softmax(-1)
    return (
        Case("(1/2, 1/2) against (1/4, 3/4)", {"logp": half, "ref_logp": quarter}),
        Case("a batch of 3", {"logp": a, "ref_logp": b}),
        Case("a batch of 2 by 2", {"logp": c, "ref_logp": d}),
        Case(
            "logits of ±10,000", {"logp": far, "ref_logp": 0.0 * far - torch.tensor(3.0).log()}, extreme=True
        ),
    )


exact_kl = Exercise(
    "exact-kl", NOTEBOOK, "the KL divergence, exactly", *(2, 5, 6),
    "Write `exact_kl(logp, ref_logp)`: KL(policy || reference) from whole log-distributions on the last axis, `[..., "
    "V]` to `[...]`. Both are already log-probabilities.",
    ("The mean, under the policy, of how much likelier the policy finds its action than the reference does.",
     "KL(pi || ref) = sum over a of pi(a) (log pi(a) - log ref(a)).",
     "return (logp.exp() * (logp - ref_logp)).sum(-1)"),
    "right, direction and gradient included, down to probabilities that underflow.",
    reference=kl, cases=_distributions(),
    mistakes=(
        ("The direction is flipped: this is KL(reference || policy); the policy's probabilities are the weights.",
         lambda x, r: kl(r, x)),
        ("The weights are missing: multiply by the policy's probabilities.", lambda x, r: (x - r).sum(-1)),
        ("You averaged over actions: add up, the weights are the average.", lambda x, r: kl(x, r) / x.shape[-1]),
        ("This is the cross-entropy: the policy's own log-probability is missing.",
         lambda x, r: -(x.exp() * r).sum(-1)),
        ("The sign is flipped: a divergence is never negative.", lambda x, r: -kl(x, r)),
        ("This is the negative entropy: the reference is missing.", lambda x, r: (x.exp() * x).sum(-1)),
        ("You did not add up the actions: the last axis must go.", lambda x, r: x.exp() * (x - r)),
        ("You averaged over the batch as well: only the last axis goes.", lambda x, r: kl(x, r).mean()),
        ("Probabilities underflow to 0 and log 0 is infinite: subtract the logarithms you were given.",
         lambda x, r: (x.exp() * (x.exp() / r.exp()).log()).sum(-1)),
    ),
    gradient=("logp",),
)


def _estimates(logp: Tensor, ref_logp: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return k1(logp, ref_logp), k2(logp, ref_logp), k3(logp, ref_logp)


def _samples() -> tuple[Case, ...]:
    logp, ref = -_noise(5, 2, 4).abs(), -_noise(6, 2, 4).abs()
    low = torch.full((1, 2), -1e4)
    return (
        Case("random log-probs", {"logp": logp, "ref_logp": ref}),
        Case("policy likelier", {"logp": torch.tensor([[-1.0]]), "ref_logp": torch.tensor([[-3.0]])}),
        Case("policy equals reference", {"logp": ref.clone(), "ref_logp": ref}),
        Case("log-probs of -10,000", {"logp": low, "ref_logp": low - 0.5}, extreme=True),
    )


kl_estimators = Exercise(
    "kl-estimators", NOTEBOOK, "k1, k2 and k3", *(3, 5, 10),
    "Write `kl_estimators(logp, ref_logp)` that returns the tuple `(k1, k2, k3)`, each `[B, T]`: Schulman's three "
    "estimators of KL(policy || reference) from the log-probabilities of actions that the *policy* chose.",
    ("All three are functions of the log-ratio; watch its direction: rho = ref / policy in k3.",
     "k1 = -log rho, k2 = (log rho)^2 / 2, k3 = rho - 1 - log rho, with rho = ref / pi.",
     "d = logp - ref_logp; return d, d ** 2 / 2, (-d).exp() - 1 + d"),
    "k1, k2 and k3 right as numbers and in their gradients, which differ.",
    reference=_estimates, cases=_samples(),
    mistakes=(
        ("The direction is flipped: the samples are the policy's, so k1 = logp - ref_logp and rho = ref / pi.",
         lambda x, r: _estimates(r, x)),
        ("The half is missing: k2 is half the square.", lambda x, r: (k1(x, r), 2 * k2(x, r), k3(x, r))),
        ("The sign of the logarithm is wrong: k3 = rho - 1 - log rho.",
         lambda x, r: (k1(x, r), k2(x, r), (r - x).expm1() + (r - x))),
        ("The -1 is missing: k3 must be 0 where the policies agree.",
         lambda x, r: (k1(x, r), k2(x, r), k3(x, r) + 1)),
        ("You negated k3: it is never negative.", lambda x, r: (k1(x, r), k2(x, r), -k3(x, r))),
        ("k3 needs the ratio itself: exponentiate the log-ratio.", lambda x, r: (k1(x, r), k2(x, r), 0 * x - 1)),
        ("This is the log-ratio's size, not half its square.", lambda x, r: (k1(x, r), (x - r).abs(), k3(x, r))),
        ("You returned k2 and k3 in the other order.", lambda x, r: (k1(x, r), k3(x, r), k2(x, r))),
        ("k1 keeps its sign: it is negative where the reference is likelier.",
         lambda x, r: ((x - r).abs(), k2(x, r), k3(x, r))),
        ("Probabilities underflow to 0 / 0: exponentiate the difference of logarithms.",
         lambda x, r: (k1(x, r), k2(x, r), r.exp() / x.exp() - 1 - (r - x))),
    ),
    parts=("k1", "k2", "k3"),
    gradient=("logp",),
)


def _shaped(score: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, beta: float) -> Tensor:
    penalty = torch.where(mask, -beta * (logp - ref_logp), 0).detach()
    return penalty + score[:, None] * _last(mask)


def _last(mask: Tensor) -> Tensor:
    return mask & (mask.flip(1).cumsum(1).flip(1) == 1)


def _responses() -> tuple[Case, ...]:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    score, logp, ref = torch.tensor([1.0, -0.5, 2.0]), -_noise(7, 3, 5).abs(), -_noise(8, 3, 5).abs()
    args = {"score": score, "logp": logp, "ref_logp": ref, "mask": mask}
    garbage = {**args, "logp": torch.where(mask, logp, torch.nan)}
    return (
        Case("responses of 5, 3 and 1 tokens, beta 0.1", {**args, "beta": 0.1}),
        Case("beta 2", {**args, "beta": 2.0}),
        Case("beta 0", {**args, "beta": 0.0}),
        Case("NaN on padding", {**garbage, "beta": 0.5}, extreme=True),
    )


kl_in_reward = Exercise(
    "kl-in-reward", NOTEBOOK, "the KL penalty inside the reward", *(3, 5, 12),
    "Write `shaped_rewards(score, logp, ref_logp, mask, beta)`: the reward of every token `[B, T]`. Each chosen token "
    "costs beta times its log-ratio (k1); `score` `[B]` is paid on the last chosen token of its row; padding gets 0. "
    "Rewards are data: no gradient may flow out of them.",
    ("Every token pays for its own divergence when it is chosen; the score comes once, at the end.",
     "r[t] = -beta (logp[t] - ref_logp[t]) + score * [t is the last chosen token], and 0 under the mask.",
     "r = torch.where(mask, -beta * (logp - ref_logp), 0).detach(); r[rows, mask.sum(1) - 1] += score"),
    "right for responses of every length; detached; nothing on padding.",
    reference=_shaped, cases=_responses(),
    mistakes=(
        ("You charged the penalty on the last token only: every token pays its own share, where it is chosen.",
         lambda s, x, r, m, b: _last(m) * (s - b * torch.where(m, x - r, 0).sum(1))[:, None]),
        ("You charged the penalty on the last token only: every token pays its own share, where it is chosen.",
         lambda s, x, r, m, b: _last(m) * (s[:, None] - b * (x - r))),
        ("The penalty's sign is flipped: leaving the reference must cost.",
         lambda s, x, r, m, b: _shaped(s, x, r, m, -b)),
        (
            "You paid the score in the last column: in a shorter row that is padding.",
            lambda s, x, r, m, b: (
                _shaped(0 * s, x, r, m, b) + s[:, None] * (torch.arange(m.shape[1]) == m.shape[1] - 1)
            ),
        ),
        ("You paid the score on every token: once, on the last chosen one.",
         lambda s, x, r, m, b: _shaped(0 * s, x, r, m, b) + s[:, None] * m),
        ("You paid the score on the first token: it is due at the end.",
         lambda s, x, r, m, b: _shaped(0 * s, x, r, m, b) + s[:, None] * (torch.arange(m.shape[1]) == 0)),
        ("Beta is missing from the penalty.", lambda s, x, r, m, b: _shaped(s, x, r, m, 1.0)),
        ("The score is missing.", lambda s, x, r, m, b: _shaped(0 * s, x, r, m, b)),
        ("The penalty is missing.", lambda s, x, r, m, b: _shaped(s, x, r, m, 0.0)),
        ("You charged padding: where the mask is False the reward is 0.",
         lambda s, x, r, m, b: -b * (x - r) + s[:, None] * _last(m)),
        ("You scaled the score by beta: only the penalty is scaled.",
         lambda s, x, r, m, b: _shaped(b * s, x, r, m, b)),
        ("NaN on padding leaks in, since NaN * 0 is NaN: select with torch.where instead.",
         lambda s, x, r, m, b: -b * (x - r) * m + s[:, None] * _last(m)),
    ),
    constant=("logp", "ref_logp"),
)


def _next_beta(beta: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    return ziegler_beta(beta, kl, target=target, episodes=episodes, horizon=horizon)


def _control(label: str, *numbers: float) -> Case:
    return Case(label, dict(zip(("beta", "kl", "target", "episodes", "horizon"), numbers, strict=True)))


def _error(kl: float, target: float) -> float:
    return max(-0.2, min(0.2, kl / target - 1))


adaptive_beta = Exercise(
    "adaptive-beta", NOTEBOOK, "a thermostat for the KL", *(2, 3, 8),
    "Write `adaptive_beta(beta, kl, target, episodes, horizon)`: the next coefficient by Ziegler's proportional "
    "controller. The relative error of the KL, held within ±0.2, moves beta by that share, times episodes / horizon.",
    ("Too far from the reference: raise the price. Not by more than a little at a time.",
     "e = clip(kl / target - 1, -0.2, 0.2); beta' = beta (1 + e * episodes / horizon).",
     "e = max(-0.2, min(0.2, kl / target - 1)); return beta * (1 + e * episodes / horizon)"),
    "right above, below, far from and on the target.",
    reference=_next_beta,
    cases=(
        _control("KL twice the target", 0.2, 12.0, 6.0, 512, 2000),
        _control("KL 10 % above the target", 0.2, 6.6, 6.0, 800, 1000),
        _control("KL 5 % below the target", 1.5, 0.95, 1.0, 900, 1000),
        _control("KL of 0", 0.5, 0.0, 3.0, 500, 1000),
        _control("KL on the target", 0.3, 2.0, 2.0, 256, 10_000),
    ),
    mistakes=(
        ("The error is not clipped: hold it within ±0.2, or one odd batch throws beta far off.",
         lambda b, kl, t, n, h: b * (1 + (kl / t - 1) * n / h)),
        ("The sign is flipped: a KL above the target must raise beta.",
         lambda b, kl, t, n, h: b * (1 - _error(kl, t) * n / h)),
        ("episodes / horizon is missing: it sets the pace.", lambda b, kl, t, n, h: b * (1 + _error(kl, t))),
        ("You added the correction: it is a share of beta, multiply.",
         lambda b, kl, t, n, h: b + _error(kl, t) * n / h),
        ("You took the absolute error: divide by the target.",
         lambda b, kl, t, n, h: b * (1 + max(-0.2, min(0.2, kl - t)) * n / h)),
        ("You clipped kl / target without taking 1 off: on the target, beta must rest.",
         lambda b, kl, t, n, h: b * (1 + max(-0.2, min(0.2, kl / t)) * n / h)),
        ("You turned the pace upside down: episodes / horizon.",
         lambda b, kl, t, n, h: b * (1 + _error(kl, t) * h / n)),
        ("That is the PPO paper's rule (halve or double); Ziegler's moves a little each time.",
         lambda b, kl, t, n, h: 2 * b if kl > 1.5 * t else b / 2 if kl < t / 1.5 else b),
        ("You returned the factor: multiply beta by it.", lambda b, kl, t, n, h: 1 + _error(kl, t) * n / h),
    ),
)

EXERCISES = (exact_kl, kl_estimators, kl_in_reward, adaptive_beta)
