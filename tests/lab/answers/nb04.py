"""Answers a learner might give in notebook 04."""

import numpy as np
import torch


def loss_where(logp, old_logp, advantages, clip):
    with torch.no_grad():
        ratio = torch.exp(logp - old_logp)
        stuck = ((ratio > 1 + clip) & (advantages > 0)) | ((ratio < 1 - clip) & (advantages < 0))
        bound = torch.where(advantages > 0, 1 + clip, 1 - clip) * advantages
        advantages = advantages.clone()
    live = torch.exp(logp - old_logp.detach()) * advantages
    return -torch.where(stuck, bound, live)


def loss_as_maximum(logp, old_logp, advantages, *, clip):
    old_logp, advantages = old_logp.detach(), advantages.detach()
    r = torch.exp(logp - old_logp)
    return torch.max(-advantages * r, -advantages * torch.clip(r, 1 - clip, 1 + clip))


def loss_by_entry(lp, old, adv, eps):
    old, adv = old.detach(), adv.detach()
    rows = []
    for b in range(lp.shape[0]):
        row = []
        for t in range(lp.shape[1]):
            r = torch.exp(lp[b, t] - old[b, t])
            row.append(-min(r * adv[b, t], torch.clamp(r, 1 - eps, 1 + eps) * adv[b, t]))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def loss_of_smaller_ratio(logp, old_logp, advantages, clip):
    r = torch.exp(logp - old_logp.detach())
    return -torch.min(r, r.clip(1 - clip, 1 + clip)) * advantages.detach()


def wrong_loss(ratio=None, low=None, high=None, pick=torch.min, sign=-1.0, adv=lambda a, c: a):
    """A PPO loss in which one thing is done differently."""

    def loss(logp, old_logp, advantages, clip):
        old_logp, a = old_logp.detach(), adv(advantages.detach(), clip)
        r = torch.exp(logp - old_logp) if ratio is None else ratio(logp, old_logp)
        clipped = r.clip(1 - clip if low is None else low(clip), 1 + clip if high is None else high(clip))
        return sign * pick(r * a, clipped * a)

    return loss


def first(a, b):
    return a


def second(a, b):
    return b


def loss_clipped_advantage(logp, old_logp, advantages, clip):
    r = (logp - old_logp.detach()).exp()
    a = advantages.detach()
    return -torch.min(r * a, r * torch.clip(a, 1 - clip, 1 + clip))


def loss_numpy(logp, old_logp, advantages, clip):
    r = np.exp(logp.detach().numpy() - old_logp.detach().numpy())
    a = advantages.detach().numpy()
    return -np.minimum(r * a, np.clip(r, 1 - clip, 1 + clip) * a)


def loss_constant_ratio(logp, old_logp, advantages, clip):
    return loss_as_maximum(logp, old_logp, advantages, clip=clip).detach() + 0 * logp


def gae_by_definition(rewards, values, discounts, mask, lam):
    """Sums of TD errors, written out; a column without a choice ends the sum."""
    out = torch.zeros_like(rewards)
    for b in range(rewards.shape[0]):
        for t in range(rewards.shape[1]):
            weight = 1.0
            for k in range(t, rewards.shape[1]):
                if not mask[b, k]:
                    break
                td = rewards[b, k] + discounts[b, k] * values[b, k + 1] - values[b, k]
                out[b, t] += weight * td
                weight = weight * lam * discounts[b, k]
    return out


def gae_next_mask(rewards, values, discounts, mask, lam):
    alive = torch.cat([mask[:, 1:].float(), torch.ones(len(mask), 1)], dim=1)
    delta = rewards + discounts * values[:, 1:] - values[:, :-1]
    out, a = torch.zeros_like(rewards), 0.0
    for t in reversed(range(rewards.shape[1])):
        a = delta[:, t] + discounts[:, t] * lam * alive[:, t] * a
        out[:, t] = a
    return out


def gae_numpy(rewards, values, discounts, mask, lam):
    r, v, d, m = rewards.numpy(), values.numpy(), discounts.numpy(), mask.numpy()
    a, columns = np.zeros(len(r)), []
    for t in range(r.shape[1])[::-1]:
        a = np.where(m[:, t], r[:, t] + d[:, t] * v[:, t + 1] - v[:, t] + d[:, t] * lam * a, 0.0)
        columns.insert(0, a)
    return np.stack(columns, axis=1)


def gae_variant(
    cut="both", next_value=lambda v, m, t: v[:, t + 1], decay=lambda d, lam: d * lam, value_discount=None
):
    def estimate(rewards, values, discounts, mask, lam):
        a, out = torch.zeros(len(rewards)), []
        for t in range(rewards.shape[1] - 1, -1, -1):
            d = discounts[:, t] if value_discount is None else value_discount(discounts[:, t], lam)
            delta = rewards[:, t] + d * next_value(values, mask, t) - values[:, t]
            if cut == "both":
                a = (delta + decay(discounts[:, t], lam) * a) * mask[:, t]
            elif cut == "delta":
                a = delta * mask[:, t] + decay(discounts[:, t], lam) * a
            else:
                a = delta + decay(discounts[:, t], lam) * a
            out.append(a)
        return torch.stack(out[::-1], dim=1)

    return estimate


def no_bootstrap_at_reset(v, m, t):
    return v[:, t + 1] * (m[:, t + 1] if t + 1 < m.shape[1] else 1)


def gae_two_values(rewards, discounts, mask, lam, twice):
    """One value where the TD error needs two of them."""
    advantages, a = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + discounts[:, t] * twice[:, t] - twice[:, t]
        a = (delta + discounts[:, t] * lam * a) * mask[:, t]
        advantages[:, t] = a
    return advantages


RIGHT = {
    "ppo-ratio": [
        lambda logp, old_logp: torch.exp(torch.sub(logp, old_logp.detach())),
        lambda a, b: torch.exp(a - b.clone().detach()),
    ],
    "ppo-clip": [loss_where, loss_as_maximum, loss_by_entry],
    "gae": [gae_by_definition, gae_next_mask, gae_numpy],
    "predict-ratio": ["c", "C"],
}

WRONG = {
    "ppo-ratio": [
        ("upside down", lambda logp, old_logp: 1 / torch.exp(logp - old_logp.detach())),
        ("divided log-probabilities", lambda logp, old_logp: torch.div(logp, old_logp.detach())),
        ("log of the ratio", lambda logp, old_logp: torch.sub(logp, old_logp.detach())),
        ("subtracted probabilities", lambda logp, old_logp: torch.exp(logp) - torch.exp(old_logp)),
        (
            "clipped it already",
            lambda logp, old_logp: torch.clip(torch.exp(logp - old_logp), 1 - 0.2, 1 + 0.2),
        ),
        ("0 / 0", lambda logp, old_logp: torch.div(torch.exp(logp), torch.exp(old_logp.detach()))),
        ("flows into `old_logp`", lambda logp, old_logp: (logp - old_logp).exp()),
        (
            "no gradient flows through `logp`",
            lambda logp, old_logp: (logp.detach() - old_logp.detach()).exp(),
        ),
    ],
    "ppo-clip": [
        ("took the smaller ratio", loss_of_smaller_ratio),
        ("clipped the advantage", loss_clipped_advantage),
        ("clipped the advantage", wrong_loss(pick=first, adv=lambda a, c: torch.clip(a, -c, c))),
        ("larger surrogate", wrong_loss(pick=torch.max)),
        ("sign is flipped", wrong_loss(sign=1.0)),
        ("no clip in it", wrong_loss(pick=first)),
        ("forgot the minimum", wrong_loss(pick=second)),
        ("upside down", wrong_loss(ratio=lambda n, o: 1 / torch.exp(n - o))),
        ("used 0.2", wrong_loss(low=lambda c: 0.8, high=lambda c: 1.2)),
        ("lower bound", wrong_loss(low=lambda c: 0.0)),
        ("upper bound", wrong_loss(high=lambda c: 1e9)),
        ("around 0", wrong_loss(low=lambda c: -c, high=lambda c: c)),
        ("difference of log-probabilities", wrong_loss(ratio=lambda n, o: n - o)),
        ("divided log-probabilities", wrong_loss(ratio=lambda n, o: n / o)),
        ("underflow", wrong_loss(ratio=lambda n, o: torch.exp(n) / torch.exp(o))),
        ("flows into `old_logp`", lambda n, o, a, c: loss_as_maximum(n - o, 0 * n, a, clip=c)),
        (
            "flows into `advantages`",
            lambda n, o, a, c: (
                -torch.min((n - o.detach()).exp() * a, (n - o.detach()).exp().clip(1 - c, 1 + c) * a)
            ),
        ),
        ("numpy", lambda n, o, a, c: loss_numpy(n, o, a, c) if not n.requires_grad else n.numpy()),
        ("no gradient flows through `logp`", loss_numpy),
        ("no gradient flows through `logp`", loss_constant_ratio),
        ("not the gradient in `logp`", lambda n, o, a, c: loss_as_maximum(2 * n - n.detach(), o, a, clip=c)),
        ("reduced the result", lambda n, o, a, c: loss_as_maximum(n, o, a, clip=c).mean()),
        ("constant factor of 0.5", lambda n, o, a, c: loss_as_maximum(n, o, a, clip=c) / 2),
        ("Not written yet", lambda n, o, a, c: None),
        ("(logp, old_logp, advantages, clip)", lambda n, o, a: None),
    ],
    "gae": [
        ("leaks into the one before", gae_variant(cut="none")),
        ("zero the decay there", gae_variant(cut="delta")),
        ("truncation as termination", gae_variant(next_value=no_bootstrap_at_reset)),
        ("Lambda is missing", gae_variant(decay=lambda d, lam: d)),
        ("by lam alone", gae_variant(decay=lambda d, lam: lam * (d != 0).float())),
        ("into the TD error", gae_variant(value_discount=lambda d, lam: lam * d)),
        (
            "This is the return",
            lambda r, v, d, m, lam: gae_by_definition(r, v, d, m, lam) + v[:, : r.shape[1]],
        ),
        ("TD error of one step", gae_variant(decay=lambda d, lam: 0.0)),
        ("next value is not discounted", gae_variant(value_discount=lambda d, lam: (d > 0).float())),
        ("used V(s_t) twice", lambda r, v, d, m, lam: gae_two_values(r, d, m, lam, v[:, :-1])),
        ("used V(s_t+1) twice", lambda r, v, d, m, lam: gae_two_values(r, d, m, lam, v[:, 1:])),
        ("sign is flipped", lambda r, v, d, m, lam: -gae_numpy(r, v, d, m, lam)),
        ("values are missing", lambda r, v, d, m, lam: gae_by_definition(r, 0 * v, d, m, lam)),
        ("Your function raised", lambda r, v, d, m, lam: r + d * v - v),
    ],
    "predict-ratio": [
        ("nothing pulls its ratio back", "a"),
        ("Where A > 0 too", "b"),
        ("overshoot", "d"),
        ("one of the letters", 1.2),
        ("Not written yet", None),
    ],
}
