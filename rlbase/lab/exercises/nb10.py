"""Exercises of notebook 10: from which of two clips is better to a reward, and what that cannot tell."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "10_learning_from_preferences"


def _cross_entropy(ahead: Tensor, label: Tensor) -> Tensor:
    return -label * logsigmoid(ahead) - (1 - label) * logsigmoid(-ahead)


def _segment_loss(rewards_a: Tensor, rewards_b: Tensor, label: Tensor) -> Tensor:
    return _cross_entropy(rewards_a.sum(1) - rewards_b.sum(1), label)


def _clips(seed: int, pairs: int, steps: int, scale: float = 1.0, *, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    a, b = (scale * torch.randn(pairs, steps, generator=g) for _ in range(2))
    label = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0])[:pairs]
    words = f"{pairs} pairs of clips of {steps} step{'s'[:steps > 1]}"
    return Case(words + (f", rewards of ±{scale:,.0f}" if extreme else ""),
                {"rewards_a": a, "rewards_b": b, "label": label}, extreme)


segment_loss = Exercise(
    "segment-loss", NOTEBOOK, "which of two clips is better", *(2, 5, 10),
    "Write `segment_loss(rewards_a, rewards_b, label)`: for each pair of clips, how surprising the label is, `[B]`. "
    "The rewards `[B, T]` are those of every step; `label` `[B]` is 1 if clip a was preferred, 0 if b was, 0.5 if they "
    "were called equal. Return every entry; the rewards may be huge.",
    ("A clip is worth the sum of its steps; of two clips one is preferred the more surely, the further it is ahead.",
     "P = sigmoid(sum r_a - sum r_b); loss = -label log P - (1 - label) log(1 - P). log sigmoid is logsigmoid.",
     "d = rewards_a.sum(1) - rewards_b.sum(1); return -label * logsigmoid(d) - (1 - label) * logsigmoid(-d)"),
    "right for certain labels and ties, for short clips and long ones, gradients and huge rewards included.",
    reference=_segment_loss,
    cases=(_clips(1, 5, 4), _clips(2, 5, 10, 0.5), _clips(3, 3, 1), _clips(4, 5, 25, 0.3),
           _clips(5, 5, 6, 1e4, extreme=True)),
    mistakes=(
        ("You compared means: rewards add up over a clip.",
         lambda a, b, y: _cross_entropy(a.mean(1) - b.mean(1), y)),
        ("The sign is flipped: the clip with the larger sum is preferred.",
         lambda a, b, y: _cross_entropy(b.sum(1) - a.sum(1), y)),
        ("You left the label out: this is the surprise at a being preferred, whoever was.",
         lambda a, b, y: -logsigmoid(a.sum(1) - b.sum(1))),
        ("A tie became a defeat: with a label of 0.5 both terms count, half each.",
         lambda a, b, y: _cross_entropy(a.sum(1) - b.sum(1), (y > 0.5).float())),
        ("A tie became a victory: with a label of 0.5 both terms count, half each.",
         lambda a, b, y: _cross_entropy(a.sum(1) - b.sum(1), (y >= 0.5).float())),
        ("Ties cost nothing here: with a label of 0.5 both terms count, half each.",
         lambda a, b, y: _segment_loss(a, b, y) * (y != 0.5)),
        ("You compared step by step: what is compared are whole clips, so add up first.",
         lambda a, b, y: _cross_entropy(a - b, y[:, None].expand_as(a)).sum(1)),
        ("You compared step by step: what is compared are whole clips, so add up first.",
         lambda a, b, y: _cross_entropy(a - b, y[:, None].expand_as(a)).mean(1)),
        ("You compared the last steps only: a clip is worth the sum of all its steps.",
         lambda a, b, y: _cross_entropy(a[:, -1] - b[:, -1], y)),
        ("This is the probability that a is preferred: take -log of what the label says.",
         lambda a, b, y: (a.sum(1) - b.sum(1)).sigmoid()),
        ("This is the squared error of the probability: its gradient fades where it is most wrong.",
         lambda a, b, y: ((a.sum(1) - b.sum(1)).sigmoid() - y).square()),
        ("This is the log-likelihood: flip the sign, a loss is minimised.", lambda a, b, y: -_segment_loss(a, b, y)),
        ("log(sigmoid(...)) is -infinity for a clip that is far behind: use logsigmoid(d) and logsigmoid(-d).",
         lambda a, b, y: -y * (a.sum(1) - b.sum(1)).sigmoid().log()
         - (1 - y) * (1 - (a.sum(1) - b.sum(1)).sigmoid()).log()),
    ),
    gradient=("rewards_a", "rewards_b"),
)


def _noisy(prob: Tensor, error: float) -> Tensor:
    return (1 - error) * prob + error / 2


def _said(error: float) -> Case:
    prob = torch.tensor([0.0, 0.1, 0.5, 0.73, 1.0])
    return Case(f"error {error:g}", {"prob": prob, "error": error})


rater_noise = Exercise(
    "rater-noise", NOTEBOOK, "people press the wrong button", *(1, 4, 4),
    "Write `noisy_prob(prob, error)`: a rater who pays attention would prefer clip a with probability `prob` `[B]`. "
    "Ours looks away with probability `error`, and then tosses a coin. With which probability does this one say a?",
    ("Two ways lead to the answer a: attention, or the coin.",
     "P' = (1 - error) * P + error * 1/2.",
     "return (1 - error) * prob + error / 2"),
    "right for five probabilities and four errors, the coin alone among them.",
    reference=_noisy, cases=(_said(0.1), _said(0.4), _said(0.0), _said(1.0)),
    mistakes=(
        ("The coin falls for b half the time: it adds error / 2, not error.", lambda p, e: (1 - e) * p + e),
        ("This rater says the opposite when they look away: ours tosses a coin, which is right half the time.",
         lambda p, e: (1 - e) * p + e * (1 - p)),
        ("You left the coin out: it, too, says a sometimes.", lambda p, e: (1 - e) * p),
        ("Attention counts 1 - error, not 1 - error / 2: the two weights must add up to 1.",
         lambda p, e: (1 - e / 2) * p + e / 2),
        ("You added the coin and kept full attention: the probabilities can exceed 1.", lambda p, e: p + e / 2),
        ("You clipped the probabilities: between the ends nothing has changed, but the coin is always in play.",
         lambda p, e: p.clamp(e / 2, 1 - e / 2)),
        ("The coin is tossed only when the rater looks away: its half counts error times.",
         lambda p, e: (1 - e) * p + 0.5),
        ("You mixed the wrong way round: with error 0 the answer must be prob.", lambda p, e: e * p + (1 - e) / 2),
    ),
)


def _disagreement(worth_a: Tensor, worth_b: Tensor) -> Tensor:
    return (worth_a - worth_b).sigmoid().var(0, correction=0)


def _opinions(seed: int, members: int, pairs: int, scale: float) -> Case:
    g = torch.Generator().manual_seed(seed)
    a, b = (scale * torch.randn(members, pairs, generator=g) for _ in range(2))
    return Case(f"{members} members, {pairs} pairs", {"worth_a": a, "worth_b": b})


disagreement = Exercise(
    "clip-disagreement", NOTEBOOK, "ask where the ensemble quarrels", *(3, 4, 8),
    "Write `disagreement(worth_a, worth_b)`: each of M reward models says what the clips a and b of each of N pairs "
    "are worth, `[M, N]` both. Return `[N]`: the variance over members of their *predicted preferences*.",
    ("A question is worth asking when the members predict different answers, not when all of them are unsure.",
     "P_m = sigmoid(worth_a[m] - worth_b[m]); the variance of P_m over m.",
     "return (worth_a - worth_b).sigmoid().var(0, correction=0)"),
    "right for two, three and five members, whichever of the two variances you took.",
    reference=_disagreement,
    cases=(_opinions(1, 3, 6, 1.0), _opinions(2, 5, 4, 3.0), _opinions(3, 2, 7, 0.5)),
    also=(lambda a, b: (a - b).sigmoid().var(0),),
    mistakes=(
        ("These are the rewards' differences, without the sigmoid: a member with loud rewards would decide alone.",
         lambda a, b: (a - b).var(0, correction=0)),
        ("These are the rewards' differences, without the sigmoid: a member with loud rewards would decide alone.",
         lambda a, b: (a - b).var(0)),
        ("This is the variance over pairs: one number for each pair is wanted, over the members (the first axis).",
         lambda a, b: (a - b).sigmoid().var(1, correction=0)),
        ("This is the variance over pairs: one number for each pair is wanted, over the members (the first axis).",
         lambda a, b: (a - b).sigmoid().var(1)),
        ("This is how unsure they are together, P (1 - P): all may say 1/2 and agree.",
         lambda a, b: (a - b).sigmoid().mean(0) * (1 - (a - b).sigmoid().mean(0))),
        ("This is how unsure the average is, P (1 - P): all may say 1/2 and agree.",
         lambda a, b: (a - b).mean(0).sigmoid() * (1 - (a - b).mean(0).sigmoid())),
        ("This is how near 1/2 they are together: all may say 1/2 and agree.",
         lambda a, b: 0.5 - ((a - b).sigmoid().mean(0) - 0.5).abs()),
        ("You took the variance of votes (who is ahead): a near tie and a certainty count the same.",
         lambda a, b: (a > b).float().var(0, correction=0)),
        ("You took the variance of votes (who is ahead): a near tie and a certainty count the same.",
         lambda a, b: (a > b).float().var(0)),
        ("Subtract before the sigmoid: what is compared is clip a with clip b, not each with zero.",
         lambda a, b: (a.sigmoid() - b.sigmoid()).var(0, correction=0)),
        ("You looked at clip a alone: a preference is about both.", lambda a, b: a.sigmoid().var(0, correction=0)),
        ("This is the standard deviation: it ranks the pairs alike, but the variance was asked for.",
         lambda a, b: (a - b).sigmoid().std(0, correction=0)),
        ("This is the standard deviation: it ranks the pairs alike, but the variance was asked for.",
         lambda a, b: (a - b).sigmoid().std(0)),
    ),
)


def _one_scale(rewards: Tensor) -> Tensor:
    centred = rewards - rewards.mean(1, keepdim=True)
    return (centred / rewards.std(1, correction=0, keepdim=True)).mean(0)


def _members(seed: int, count: int, steps: int) -> Case:
    g = torch.Generator().manual_seed(seed)
    size = torch.logspace(-1, 2, count)[:, None]
    rewards = size * (torch.randn(count, steps, generator=g) + 3 * torch.randn(count, 1, generator=g))
    return Case(f"{count} members, {steps} steps", {"rewards": rewards})


one_scale = Exercise(
    "one-scale", NOTEBOOK, "every member gets one voice", *(2, 4, 6),
    "Write `learned_reward(rewards)`: M members of an ensemble say what each of N steps is worth, `[M, N]`. Bring "
    "every member to mean 0 and standard deviation 1 over the steps, then average the members: `[N]`.",
    ("Preferences leave zero and unit of a reward open, so each member has chosen its own.",
     "z[m, n] = (r[m, n] - mean_n r[m]) / std_n r[m]; the answer is the mean of z over m.",
     "z = (rewards - rewards.mean(1, keepdim=True)) / rewards.std(1, keepdim=True); return z.mean(0)"),
    "right for two, three and five members of very different loudness, whichever standard deviation you took.",
    reference=_one_scale, cases=(_members(1, 3, 8), _members(2, 5, 20), _members(3, 2, 6)),
    also=(lambda r: ((r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True)).mean(0),),
    mistakes=(
        ("You averaged first: then the loudest member has already decided.",
         lambda r: (r.mean(0) - r.mean(0).mean()) / r.mean(0).std(correction=0)),
        ("You averaged first: then the loudest member has already decided.",
         lambda r: (r.mean(0) - r.mean(0).mean()) / r.mean(0).std()),
        ("You only averaged: the loudest member decides.", lambda r: r.mean(0)),
        ("You only centred: the loudest member still decides.",
         lambda r: (r - r.mean(1, keepdim=True)).mean(0)),
        ("The mean is still in: subtract it before you divide.",
         lambda r: (r / r.std(1, correction=0, keepdim=True)).mean(0)),
        ("The mean is still in: subtract it before you divide.", lambda r: (r / r.std(1, keepdim=True)).mean(0)),
        ("You divided by the variance: take its root.",
         lambda r: ((r - r.mean(1, keepdim=True)) / r.var(1, correction=0, keepdim=True)).mean(0)),
        ("You divided by the variance: take its root.",
         lambda r: ((r - r.mean(1, keepdim=True)) / r.var(1, keepdim=True)).mean(0)),
        ("You normalised over the members: nothing is left of what they agree on. Take the steps, the second axis.",
         lambda r: ((r - r.mean(0)) / r.std(0, correction=0)).mean(0)),
        ("You used one mean and one standard deviation for all members together: each needs its own.",
         lambda r: ((r - r.mean()) / r.std(correction=0)).mean(0)),
        ("You used one mean and one standard deviation for all members together: each needs its own.",
         lambda r: ((r - r.mean()) / r.std()).mean(0)),
        ("You added the members up: average them, or the reward grows with their number.",
         lambda r: len(r) * _one_scale(r)),
        ("The average over the members is missing.",
         lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, correction=0, keepdim=True)),
        ("The average over the members is missing.",
         lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True)),
    ),
)


predict_per_step = Exercise(
    "predict-per-step", NOTEBOOK, "five points on every step", *(2, 5, 3),
    "**Predict.** A reward was fitted to comparisons of clips, all of the same length. Now add 5 to what it says of "
    "every step. (a) The loss rises: the rewards are wrong now. (b) The loss stays, and the best policy is the same in "
    "every world. (c) The loss stays, but in a world whose episodes can end the best policy may be another. "
    "(d) The loss falls: larger rewards are surer.\n\nAnswer with a letter, such as `prediction = \"a\"`.",
    ("Which sums does the loss compare, and how many steps does each of them have?",
     "(sum r_a + 5 T) - (sum r_b + 5 T) = sum r_a - sum r_b: the loss cannot see it. But an episode that ends early "
     "collects the 5 less often than one that goes on.",
     'prediction = "c"'),
    "what the comparisons cannot see, the agent can: living longer pays, or costs.",
    judge=choice(
        "c",
        a="Both clips gain 5 for each of their T steps, and T is the same for both: their difference, hence the loss, "
          "stays.",
        b="The loss does stay. But think of a maze with an exit: with 5 for every step, would you leave it?",
        d="The loss only sees the difference between two sums, and both have grown by the same amount.",
    ),
)

EXERCISES = (segment_loss, rater_noise, disagreement, one_scale, predict_per_step)
