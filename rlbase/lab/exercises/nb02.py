"""Exercises of notebook 02: the softmax policy, its gradient, and the price of leaving a reference."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.exact import kl_optimum as exact_optimum
from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "02_bandits"
EXTREME = torch.tensor([1e4, -1e4, 0.0])


def _onehot(logits: Tensor, action: int) -> Tensor:
    return torch.zeros_like(logits).index_fill(0, torch.tensor(action), 1.0)


def _score(logits: Tensor, action: int) -> Tensor:
    return _onehot(logits, action) - logits.softmax(0)


softmax_score = Exercise(
    "softmax-score", NOTEBOOK, "what raises the probability of an action?", *(2, 5, 8),
    "Write `score(logits, action)`: the gradient of log pi(action) with respect to the logits `[A]`, where pi is "
    "their softmax and `action` an index. By hand, no autograd needed.",
    ("log pi(a) = logits[a] - log(sum of exp(logits)): differentiate the two terms.",
     "d log pi(a) / d logits[b] = 1[a = b] - pi(b).",
     "g = -logits.softmax(0); g[action] += 1; return g"),
    "right for every action of four policies, one with logits of ±10,000; the entries add up to 0.",
    reference=_score,
    cases=(
        Case("logits 0, 1, 2; action 0", {"logits": torch.tensor([0.0, 1.0, 2.0]), "action": 0}),
        Case("logits 0, 1, 2; action 2", {"logits": torch.tensor([0.0, 1.0, 2.0]), "action": 2}),
        Case("four equal logits", {"logits": torch.zeros(4), "action": 1}),
        Case("logits -1, 3", {"logits": torch.tensor([-1.0, 3.0]), "action": 0}),
        Case("logits of ±10,000", {"logits": EXTREME, "action": 1}, extreme=True),
    ),
    mistakes=(
        ("The sign is flipped: a larger logit makes its own action likelier.", lambda x, a: -_score(x, a)),
        ("This is the gradient of pi(action), not of log pi(action): divide by pi(action).",
         lambda x, a: x.softmax(0)[a] * _score(x, a)),
        ("You forgot the softmax's denominator: subtract pi from every entry.", _onehot),
        ("You subtracted the logits: subtract pi, their softmax.", lambda x, a: _onehot(x, a) - x),
        ("The chosen action's own +1 is missing.", lambda x, a: -x.softmax(0)),
        ("These are the log-probabilities themselves: differentiate.", lambda x, a: x.log_softmax(0)),
        ("You gave one entry: the other logits matter too, give all of them.", lambda x, a: _score(x, a)[a]),
        ("You wrote 1 - pi everywhere: only the chosen action gets the 1.", lambda x, a: 1 - x.softmax(0)),
    ),
)


def _gradient(logits: Tensor, rewards: Tensor) -> Tensor:
    pi = logits.softmax(0)
    return pi * (rewards - pi @ rewards)


def _bandit(label: str, logits: Tensor, rewards: list[float], *, extreme: bool = False) -> Case:
    return Case(label, {"logits": logits, "rewards": torch.tensor(rewards)}, extreme)


bandit_gradient = Exercise(
    "bandit-gradient", NOTEBOOK, "the exact policy gradient", *(3, 5, 10),
    "Write `exact_gradient(logits, rewards)`: the gradient, with respect to the logits `[A]`, of the expected "
    "reward of a softmax policy whose arms pay `rewards` `[A]`. No sampling: the sum over arms is exact.",
    ("An arm's logit should rise when the arm pays more than the policy does on average.",
     "dJ / d logits[a] = pi(a) * (r(a) - sum over b of pi(b) r(b)).",
     "pi = logits.softmax(0); return pi * (rewards - pi @ rewards)"),
    "right on four bandits, one with logits of ±10,000; adding a constant to all rewards changes nothing.",
    reference=_gradient,
    cases=(
        _bandit("logits 0, 1, 2", torch.tensor([0.0, 1.0, 2.0]), [1.0, 0.0, 3.0]),
        _bandit("logits 1, -1, 0.5, 0", torch.tensor([1.0, -1.0, 0.5, 0.0]), [5.0, 7.0, 6.0, 5.5]),
        _bandit("equal arms", torch.tensor([0.3, -0.3]), [2.0, 2.0]),
        _bandit("logits of ±10,000", EXTREME, [1.0, 2.0, 3.0], extreme=True),
    ),
    mistakes=(
        ("You forgot the baseline that the softmax's denominator brings: subtract the expected reward.",
         lambda x, r: x.softmax(0) * r),
        ("You subtracted the plain mean of the rewards: subtract the one expected under the policy.",
         lambda x, r: x.softmax(0) * (r - r.mean())),
        ("The weight pi(a) is missing: arms seldom chosen move little.", lambda x, r: r - x.softmax(0) @ r),
        ("The sign is flipped: this is how to earn less.", lambda x, r: -_gradient(x, r)),
        ("This is the expected reward itself: differentiate it.", lambda x, r: x.softmax(0) @ r),
        ("You differentiated each arm in its own logit only: a logit changes all probabilities.",
         lambda x, r: x.softmax(0) * (1 - x.softmax(0)) * r),
        ("You weighted by the logits: weigh by probabilities, their softmax.", lambda x, r: x * (r - x @ r)),
    ),
)


def _optimum(ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    return exact_optimum(ref, reward, beta=beta)


def _tilted(label: str, ref: list[float], reward: list[float], beta: float, *, extreme: bool = False) -> Case:
    args = {"ref": torch.tensor(ref), "reward": torch.tensor(reward), "beta": beta}
    return Case(label, args, extreme)


kl_optimum = Exercise(
    "kl-optimum", NOTEBOOK, "the best policy near a reference", *(3, 5, 10),
    "Write `kl_optimum(ref, reward, beta)`: the distribution `[A]` that maximises E[r] - beta KL(pi || ref), "
    "from the reference's probabilities `[A]` and the rewards `[A]`.",
    ("It is the reference, tilted towards what pays; beta says how hard a nat of tilt is to buy.",
     "pi*(a) = ref(a) exp(r(a) / beta) / Z.",
     "return (ref.log() + reward / beta).softmax(0)"),
    "right on five bandits, rewards of ±100 and an arm the reference never plays among them.",
    reference=_optimum,
    cases=(
        _tilted("beta 0.5", [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.5, 2.0], 0.5),
        _tilted("beta 2", [0.7, 0.2, 0.1], [-1.0, 0.0, 1.0], 2.0),
        _tilted("beta 0.25", [0.4, 0.3, 0.2, 0.1], [0.3, 0.1, 0.5, 0.2], 0.25),
        _tilted("rewards of ±100", [0.5, 0.25, 0.25], [100.0, 99.5, -100.0], 0.5, extreme=True),
        _tilted("an arm the reference never plays", [0.5, 0.5, 0.0], [0.0, 1.0, 9.0], 1.0, extreme=True),
    ),
    mistakes=(
        ("You forgot the reference: this is a softmax of the reward.", lambda p, r, b: (r / b).softmax(0)),
        ("You multiplied by beta: divide, a small beta lets the policy go far.",
         lambda p, r, b: (p.log() + r * b).softmax(0)),
        ("You added the reference itself: inside a softmax it is its logarithm that multiplies.",
         lambda p, r, b: (p + r / b).softmax(0)),
        ("It is not normalised: divide by the sum, Z.", lambda p, r, b: p * (r / b).exp()),
        ("The reward's sign is flipped.", lambda p, r, b: (p.log() - r / b).softmax(0)),
        ("You divided the reference's log by beta as well: only the reward is divided.",
         lambda p, r, b: ((p.log() + r) / b).softmax(0)),
        ("You ignored beta: the reward enters as r / beta.", lambda p, r, b: (p.log() + r).softmax(0)),
        ("These are log-probabilities: exponentiate.", lambda p, r, b: (p.log() + r / b).log_softmax(0)),
        ("exp(reward / beta) overflows for large rewards: add ref.log() and leave the rest to softmax.",
         lambda p, r, b: p * (r / b).exp() / (p * (r / b).exp()).sum()),
    ),
)

predict_beta = Exercise(
    "predict-beta", NOTEBOOK, "what does a huge beta do?", *(1, 4, 2),
    "**Predict**, then move the slider: as beta goes to infinity, the KL-regularised optimum tends to (a) the "
    "uniform policy, (b) the reference, (c) the best arm alone, (d) the softmax of the reward.",
    ("Beta is the price of leaving the reference.",
     "In ref(a) exp(r(a) / beta) / Z, look at exp(r / beta) for a huge beta.",
     'prediction = "b"'),
    "b: at an infinite price nobody leaves the reference.",
    judge=choice(
        "b",
        a="Not uniform, unless the reference is: exp(r / beta) tends to 1 and leaves ref as it was.",
        c="That is beta to 0, where leaving the reference costs nothing.",
        d="That is beta = 1 with a uniform reference.",
    ),
)

EXERCISES = (softmax_score, bandit_gradient, kl_optimum, predict_beta)
