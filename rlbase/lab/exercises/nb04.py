"""Exercises of notebook 04: the ratio, the clip and the minimum; generalised advantages."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.advantages import gae as exact_gae
from rlbase.lab.exercise import Case, Exercise, choice
from rlbase.losses import ppo_clip

NOTEBOOK = "04_ppo_clipping"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _pairs() -> tuple[Case, ...]:
    old, low = -_noise(1, 2, 3).abs() - 0.1, torch.full((1, 2), -1e4)
    return (
        Case("policies apart", {"logp": -_noise(2, 2, 3).abs(), "old_logp": old}),
        Case("policies equal", {"logp": old.clone(), "old_logp": old}),
        Case("log-probs of -10,000", {"logp": low + 0.5, "old_logp": low}, extreme=True),
    )


ppo_ratio = Exercise(
    "ppo-ratio", NOTEBOOK, "the ratio of two policies", *(1, 5, 4),
    "Write `ratio(logp, old_logp)`, both `[B, T]`: how many times likelier each choice is now than when it was made. "
    "The old log-probabilities are data: no gradient may flow into them.",
    ("You hold logarithms; a quotient of probabilities is a difference of logarithms.",
     "ratio = pi(a) / pi_old(a) = exp(log pi(a) - log pi_old(a)).",
     "return (logp - old_logp.detach()).exp()"),
    "right, gradients included, and stable at log-probs of -10,000.",
    reference=lambda logp, old_logp: (logp - old_logp.detach()).exp(), cases=_pairs(),
    mistakes=(
        ("The ratio is upside down: new over old.", lambda x, o: (o - x).exp()),
        ("You divided log-probabilities: subtract them, then exponentiate.", lambda x, o: x / o),
        ("This is the log of the ratio: exponentiate.", lambda x, o: x - o),
        ("You subtracted probabilities: divide them.", lambda x, o: x.exp() - o.exp()),
        ("You clipped it already: the bare ratio is asked for.", lambda x, o: (x - o).exp().clamp(0.8, 1.2)),
        ("This is the new policy's probability: divide by the old one's.", lambda x, o: x.exp()),
        ("0 / 0 where both probabilities underflow: subtract the logarithms first, then exponentiate.",
         lambda x, o: x.exp() / o.exp()),
    ),
    gradient=("logp",), constant=("old_logp",),
)


def _surrogates() -> tuple[Case, ...]:
    ratios = torch.tensor([[0.5, 0.95, 1.05, 1.5, 0.7, 1.3], [0.5, 0.95, 1.05, 1.5, 0.7, 1.3]])
    sides = torch.tensor([[1.0, 2.0, 0.5, 1.5, 0.1, 3.0], [-1.0, -2.0, -0.5, -1.5, -0.1, -3.0]])
    old = -_noise(3, 2, 6).abs() - 0.5
    apart = {"logp": old + ratios.log(), "old_logp": old, "advantages": sides}
    equal = {"logp": old.clone(), "old_logp": old, "advantages": _noise(4, 2, 6)}
    far = torch.tensor([[20.0, -20.0, 20.0, -20.0]])
    signs = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    return (
        Case("ratios 0.5 to 1.5, advantages above and below 0", {**apart, "clip": 0.2}),
        Case("clip 0.1", {**apart, "clip": 0.1}),
        Case("clip 0.4", {**apart, "clip": 0.4}),
        Case("policies equal, all ratios 1", {**equal, "clip": 0.2}),
        Case("ratios e^20 and e^-20", {"logp": far, "old_logp": 0 * far, "advantages": signs, "clip": 0.2}),
        Case(
            "log-probs of -10,000",
            {"logp": far / 100 - 1e4, "old_logp": 0 * far - 1e4, "advantages": signs, "clip": 0.2},
            extreme=True,
        ),
    )


def _loss(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    return ppo_clip(logp, old_logp, advantages, clip=clip)


def _ratio(logp: Tensor, old_logp: Tensor) -> Tensor:
    return (logp - old_logp.detach()).exp()


ppo_loss = Exercise(
    "ppo-clip", NOTEBOOK, "the clipped loss of PPO", *(3, 5, 15),
    "Write `ppo_clip_loss(logp, old_logp, advantages, clip)`: PPO's clipped loss of every choice `[B, T]`, not "
    "reduced, to be *minimised*. Old log-probabilities and advantages are data: a gradient flows through `logp` only.",
    ("Two surrogates, one with the ratio as it is, one with it held near 1. Trust the worse of the two.",
     "loss = -min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A), with ratio = exp(logp - old_logp).",
     "return -torch.minimum(ratio * A, ratio.clamp(1 - clip, 1 + clip) * A), with detached old_logp and A"),
    "right on both sides of the clip for both signs of the advantage, gradients included.",
    reference=_loss, cases=_surrogates(),
    mistakes=(
        ("You clipped the advantage, not the ratio.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o) * a, _ratio(x, o) * a.clamp(1 - c, 1 + c))),
        ("You clipped the advantage, not the ratio.", lambda x, o, a, c: -_ratio(x, o) * a.clamp(1 - c, 1 + c)),
        ("You clipped the advantage, not the ratio.", lambda x, o, a, c: -_ratio(x, o) * a.clamp(-c, c)),
        ("You took the larger surrogate: PPO is pessimistic, it takes the minimum (of gains, before the sign).",
         lambda x, o, a, c: -torch.maximum(_ratio(x, o) * a, _ratio(x, o).clamp(1 - c, 1 + c) * a)),
        ("The sign is flipped: minimised, this would make good choices rarer.",
         lambda x, o, a, c: -_loss(x, o, a, c)),
        ("There is no clip in it: this is the plain surrogate, -ratio * A.", lambda x, o, a, c: -_ratio(x, o) * a),
        ("You forgot the minimum: with the clipped surrogate alone, a choice gone wrong gets no gradient back.",
         lambda x, o, a, c: -_ratio(x, o).clamp(1 - c, 1 + c) * a),
        ("You took the smaller ratio: multiply both by A first, then take the smaller gain. For A < 0 they differ.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o), _ratio(x, o).clamp(1 - c, 1 + c)) * a),
        ("The ratio is upside down: new over old.", lambda x, o, a, c: _loss(o, x, a, c)),
        ("You ignored `clip` and used 0.2.", lambda x, o, a, c: _loss(x, o, a, 0.2)),
        ("You forgot the lower bound, 1 - clip.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o) * a, _ratio(x, o).clamp(max=1 + c) * a)),
        ("You forgot the upper bound, 1 + clip.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o) * a, _ratio(x, o).clamp(min=1 - c) * a)),
        ("You clipped to ±clip around 0: the ratio lives around 1.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o) * a, _ratio(x, o).clamp(-c, c) * a)),
        ("You clipped the log-ratio: exponentiate first, then clip the ratio.",
         lambda x, o, a, c: -torch.minimum(_ratio(x, o) * a, (x - o).clamp(-c, c).exp() * a)),
        ("You used the difference of log-probabilities as the ratio: exponentiate it.",
         lambda x, o, a, c: -torch.minimum((x - o) * a, (x - o).clamp(1 - c, 1 + c) * a)),
        ("You divided log-probabilities: the ratio is the exponential of their difference.",
         lambda x, o, a, c: -torch.minimum(x / o * a, (x / o).clamp(1 - c, 1 + c) * a)),
        ("Probabilities underflow to 0 / 0: subtract the logarithms, then exponentiate.",
         lambda x, o, a, c: _loss(x.exp().log(), o.exp().log(), a, c)),
    ),
    gradient=("logp",), constant=("old_logp", "advantages"),
)


def _trace(r: Tensor, v: Tensor, d: Tensor, decay: Tensor, m: Tensor, *, select: bool = True) -> Tensor:
    delta = r + d * v[:, 1:] - v[:, :-1]
    return discounted(torch.where(m, delta, 0) if select else delta, decay)


def discounted(delta: Tensor, decay: Tensor) -> Tensor:
    """Backward sum of ``delta`` with a decay per step."""
    out, following = torch.zeros_like(delta), torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        following = delta[:, t] + decay[:, t] * following
        out[:, t] = following
    return out


def _gae(r: Tensor, v: Tensor, d: Tensor, m: Tensor, lam: float) -> Tensor:
    return exact_gae(r, v, d, m, lam=lam)


def _goes_on(m: Tensor) -> Tensor:
    return torch.cat([m[:, 1:], torch.ones_like(m[:, :1])], 1)


def _streams() -> tuple[Case, ...]:
    # Row 0: terminated at 1, autoreset column at 2. Row 1: truncated at 2, autoreset column at 3. Row 2: goes on.
    mask = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1]]).bool()
    ended = torch.zeros(3, 6)
    ended[0, 1] = 1

    def case(seed: int, gamma: float, lam: float) -> Case:
        rewards, values = _noise(seed, 3, 6), 3 * _noise(seed + 1, 3, 7)
        args = {
            "rewards": rewards,
            "values": values,
            "discounts": gamma * (1 - ended),
            "mask": mask,
            "lam": lam,
        }
        label = "row 0 terminates at step 1, row 1 is truncated at step 2"
        return Case(f"{label}; gamma {gamma}, lam {lam}", args)

    return (case(5, 0.9, 0.8), case(7, 0.99, 0.5), case(9, 0.9, 0.0), case(11, 0.8, 1.0))


gae = Exercise(
    "gae", NOTEBOOK, "generalised advantage estimation", *(4, 5, 20),
    "Write `gae(rewards, values, discounts, mask, lam)`. `values` is `[B, T+1]`, the rest `[B, T]`. `discounts` is "
    "gamma, and 0 where an episode terminated. Where `mask` is False no choice was made (the world was being reset): "
    "nothing may flow through such a column, and what you return there does not matter. The column right after a "
    "truncation holds the value of the final observation: it still counts in the step before.",
    ("An exponential average of k-step advantages, again a backward recursion: over TD errors this time.",
     "delta[t] = r[t] + d[t] V[t+1] - V[t];  A[t] = delta[t] + d[t] * lam * mask[t+1] * A[t+1].",
     "a = torch.where(mask[:, t], delta[:, t] + discounts[:, t] * lam * a, 0); advantages[:, t] = a"),
    "right through terminations, truncations and resets, for lam 0, 1 and between.",
    reference=_gae, cases=_streams(),
    mistakes=(
        ("The trace runs through steps that were no choices: an episode's advantage leaks into the one before.",
         lambda r, v, d, m, k: _trace(r, v, d, k * d, m, select=False)),
        ("The trace runs through steps that were no choices: zero the decay there, not the TD error only.",
         lambda r, v, d, m, k: _trace(r, v, d, k * d, m)),
        ("You treated truncation as termination: the value right after a truncation still counts.",
         lambda r, v, d, m, k: _gae(r, v, d * _goes_on(m), m, k)),
        ("Lambda is missing: the trace decays by discount * lam.", lambda r, v, d, m, k: _gae(r, v, d, m, 1.0)),
        ("The trace decays by lam alone: it decays by discount * lam.",
         lambda r, v, d, m, k: _trace(r, v, d, torch.where(m & (d > 0), k, 0.0), m)),
        ("Lambda got into the TD error: it belongs to the trace only, delta = r + discount * V' - V.",
         lambda r, v, d, m, k: _trace(r, v, k * d, torch.where(m, k * d, 0), m)),
        ("This is the return, advantage + value: leave the value out.",
         lambda r, v, d, m, k: _gae(r, v, d, m, k) + v[:, :-1]),
        ("This is the TD error of one step: add the decayed advantage of the next.",
         lambda r, v, d, m, k: _gae(r, v, d, m, 0.0)),
        ("You subtracted the next value and added this one: delta = r + discount * V' - V.",
         lambda r, v, d, m, k: discounted(torch.where(m, r + d * v[:, :-1] - v[:, 1:], 0), torch.where(m, k * d, 0))),
        ("You used V(s_t) twice: what follows is worth V(s_t+1), values[:, 1:].",
         lambda r, v, d, m, k: discounted(torch.where(m, r + (d - 1) * v[:, :-1], 0), torch.where(m, k * d, 0))),
        ("You used V(s_t+1) twice: subtract V(s_t), values[:, :-1].",
         lambda r, v, d, m, k: discounted(torch.where(m, r + (d - 1) * v[:, 1:], 0), torch.where(m, k * d, 0))),
        (
            "The next value is not discounted.",
            lambda r, v, d, m, k: discounted(
                torch.where(m, r + (d > 0) * v[:, 1:] - v[:, :-1], 0), torch.where(m, k * d, 0)
            ),
        ),
        ("The values are missing: these are discounted returns.",
         lambda r, v, d, m, k: discounted(torch.where(m, r, 0), torch.where(m, k * d, 0))),
        ("The sign is flipped.", lambda r, v, d, m, k: -_gae(r, v, d, m, k)),
    ),
    inside="mask",
)

predict_ratio = Exercise(
    "predict-ratio", NOTEBOOK, "does the clip bound the ratio?", *(2, 5, 3),
    "**Predict**, then measure: after many epochs on one batch with clip = 0.2, the largest ratio is (a) never above "
    "1.2, (b) above 1.2 only where A < 0, (c) above 1.2 also where A > 0, (d) exactly 1.2.",
    ("What is the gradient of a choice whose ratio has passed the bound? And what do other choices do meanwhile?",
     "For A > 0 and ratio > 1 + clip the gradient is 0: no push further, but no pull back either.",
     'prediction = "c"'),
    "c: past the bound the gradient is zero, not negative; momentum and shared parameters carry the ratio on.",
    judge=choice(
        "c",
        a="The clip stops the gradient of a choice past the bound; nothing pulls its ratio back inside.",
        b="Where A > 0 too: a step can jump over the bound, and shared parameters keep moving the choice.",
        d="Steps are finite and overshoot the bound; they do not land on it.",
    ),
)

EXERCISES = (ppo_ratio, ppo_loss, gae, predict_ratio)
