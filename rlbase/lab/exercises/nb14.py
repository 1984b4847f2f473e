"""Exercises of notebook 14: what alignment costs, who pays, and what is given back."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "14_alignment_tax"


def _law(seed: int, n: int, spread: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(n, generator=g, dtype=torch.float64)).softmax(0)


def _world(label: str, seed: int, n: int, beta: float, gamma: float, **extra: Tensor) -> Case:
    reward = torch.randn(n, generator=torch.Generator().manual_seed(seed + 50), dtype=torch.float64)
    laws = {"ref": _law(seed + 1, n), "reward": reward, "pretrain": _law(seed + 2, n)}
    return Case(label, {"pi": _law(seed, n), **laws, **extra, "beta": beta, "gamma": gamma})


B4 = {"pi": torch.tensor([0.25, 0.25, 0.25, 0.25]).double(), "ref": torch.tensor([0.4, 0.3, 0.2, 0.1]).double(),
      "reward": torch.tensor([0.0, 1.0, 0.5, 2.0]).double(), "pretrain": torch.tensor([0.5, 0.05, 0.4, 0.05]).double()}
WORLDS = (Case("four responses, uniform policy", {**B4, "beta": 0.5, "gamma": 0.5}),
          _world("five responses", 1, 5, 0.2, 1.5), _world("three responses, no mixing", 2, 3, 1.0, 0.0),
          _world("six responses, mostly pretraining", 3, 6, 0.1, 27.8))


def _objective(pi: Tensor, ref: Tensor, reward: Tensor, pretrain: Tensor, beta: float, gamma: float) -> Tensor:
    return pi @ reward - beta * (pi @ (pi / ref).log()) + gamma * (pretrain @ pi.log())


def _with(pi, ref, reward, pretrain, beta, gamma, *, price=None, mixed=None) -> Tensor:
    price = pi @ (pi / ref).log() if price is None else price
    mixed = pretrain @ pi.log() if mixed is None else mixed
    return pi @ reward - beta * price + gamma * mixed


ptx_objective = Exercise(
    "ptx-objective", NOTEBOOK, "three terms, one policy", *(2, 5, 8),
    "Write `ptx_objective(pi, ref, reward, pretrain, beta, gamma)`: what PPO-ptx maximises on one prompt, as one "
    "number. `pi`, `ref` and `pretrain` are probabilities `[n]`, `reward` is `[n]`: the mean reward of `pi`, minus "
    "`beta` times its KL to `ref`, plus `gamma` times how likely, in logarithms, `pi` makes text drawn "
    "from `pretrain`.",
    ("Each term is a mean, and each under its own law: who draws the responses in the first, the second, the third?",
     "E_pi[r] - beta * E_pi[log(pi / ref)] + gamma * E_pretrain[log pi].",
     "pi @ reward - beta * (pi @ (pi / ref).log()) + gamma * (pretrain @ pi.log())"),
    "right in four worlds, gradient included.",
    reference=_objective, cases=WORLDS, gradient=("pi",),
    mistakes=(
        ("The third mean is under the policy: these texts were not written by pi, weigh them by pretrain.",
         lambda pi, ref, reward, p, b, g: _with(pi, ref, reward, p, b, g, mixed=pi @ pi.log())),
        ("You reward the likelihood under pretrain of the policy's own text: the expectation is over pretraining text.",
         lambda pi, ref, reward, p, b, g: _with(pi, ref, reward, p, b, g, mixed=pi @ p.log())),
        ("The sign of the pretraining term is flipped: log pi is to grow where pretrain has its mass.",
         lambda pi, ref, reward, p, b, g: _objective(pi, ref, reward, p, b, -g)),
        ("The sign of the KL is flipped: distance is a cost.",
         lambda pi, ref, reward, p, b, g: _objective(pi, ref, reward, p, -b, g)),
        ("Your KL runs the other way, from the reference to the policy: RLHF charges KL(pi || ref).",
         lambda pi, ref, reward, p, b, g: _with(pi, ref, reward, p, b, g, price=ref @ (ref / pi).log())),
        ("Your KL is not weighed by the policy: it is a mean under pi, not a sum over responses.",
         lambda pi, ref, reward, p, b, g: _with(pi, ref, reward, p, b, g, price=(pi / ref).log().sum())),
        ("The mean reward must be weighed by the policy, which draws the responses.",
         lambda pi, ref, reward, p, b, g: _objective(pi, ref, reward, p, b, g) - pi @ reward + reward.mean()),
        ("beta and gamma have changed places.", lambda pi, ref, reward, p, b, g: _objective(pi, ref, reward, p, g, b)),
        ("The pretraining term is missing.", lambda pi, ref, reward, p, b, g: _objective(pi, ref, reward, p, b, 0.0)),
        ("Probabilities instead of log-probabilities in the pretraining term: take pi.log().",
         lambda pi, ref, reward, p, b, g: _with(pi, ref, reward, p, b, g, mixed=p @ pi)),
    ),
)


def _slopes(pi: Tensor, ref: Tensor, reward: Tensor, pretrain: Tensor, beta: float, gamma: float) -> Tensor:
    return reward - beta * ((pi / ref).log() + 1) + gamma * pretrain / pi


ptx_slopes = Exercise(
    "ptx-slopes", NOTEBOOK, "how the optimum is recognised", *(3, 4, 10),
    "Write `slopes(pi, ref, reward, pretrain, beta, gamma)`: the derivative of the objective in each probability "
    "`[n]`, as if they could move freely. At the optimum no probability wants to move to another place, so all "
    "these numbers "
    "are equal.",
    ("Differentiate the three terms one by one; pi stands twice in pi log pi.",
     "d/dpi of pi log(pi / ref) is log(pi / ref) + 1, and of p log pi it is p / pi.",
     "reward - beta * ((pi / ref).log() + 1) + gamma * pretrain / pi"),
    "right in four worlds: it is the gradient that autograd finds.",
    reference=_slopes, cases=WORLDS,
    mistakes=(
        ("The derivative of pi log pi is log pi + 1: the one is missing.",
         lambda pi, ref, reward, p, b, g: reward - b * (pi / ref).log() + g * p / pi),
        ("The derivative of p log pi is p / pi: you kept the logarithm.",
         lambda pi, ref, reward, p, b, g: reward - b * ((pi / ref).log() + 1) + g * p * pi.log()),
        ("You divided by pretrain: the derivative of p log pi is p / pi.",
         lambda pi, ref, reward, p, b, g: reward - b * ((pi / ref).log() + 1) + g * pi / p),
        ("The reward is still multiplied by pi: the derivative of pi r in pi is r.",
         lambda pi, ref, reward, p, b, g: pi * reward - b * ((pi / ref).log() + 1) + g * p / pi),
        ("All of it is multiplied by pi: that is the step of a gradient in the logarithm, not the derivative in pi.",
         lambda pi, ref, reward, p, b, g: pi * _slopes(pi, ref, reward, p, b, g)),
        ("The sign of the KL's derivative is flipped: distance is a cost.",
         lambda pi, ref, reward, p, b, g: _slopes(pi, ref, reward, p, -b, g)),
        ("The sign of the pretraining term is flipped.",
         lambda pi, ref, reward, p, b, g: _slopes(pi, ref, reward, p, b, -g)),
        ("The logarithm is upside down: it is log(pi / ref).",
         lambda pi, ref, reward, p, b, g: reward - b * ((ref / pi).log() + 1) + g * p / pi),
    ),
)


def _front(reward: Tensor, cost: Tensor) -> Tensor:
    no_worse = (reward[:, None] >= reward) & (cost[:, None] <= cost)
    better = (reward[:, None] > reward) | (cost[:, None] < cost)
    return ~(no_worse & better).any(0)


def _runs(label: str, reward: list[float], cost: list[float]) -> Case:
    return Case(label, {"reward": torch.tensor(reward), "cost": torch.tensor(cost)})


pareto_front = Exercise(
    "pareto-front", NOTEBOOK, "which runs are worth showing", *(3, 4, 10),
    "Write `pareto_front(reward, cost)`, both `[n]`: True for every run that no other run beats. A run is beaten if "
    "another has at least its reward at no more than its cost, and is strictly better in one of the two. Of two equal "
    "runs neither beats the other.",
    ("For one pair of runs: when does i beat j? Then ask whether any i beats j.",
     "i beats j if r_i >= r_j and c_i <= c_j and (r_i > r_j or c_i < c_j).",
     "beats = (r[:, None] >= r) & (c[:, None] <= c) & ((r[:, None] > r) | (c[:, None] < c)); return ~beats.any(0)"),
    "right for runs in any order, ties and doubles included.",
    reference=_front,
    cases=(_runs("five runs", [1.0, 2.0, 1.5, 3.0, 2.5], [0.1, 0.5, 0.6, 2.0, 2.5]),
           _runs("two equal runs", [1.0, 1.0, 0.5], [0.3, 0.3, 0.3]),
           _runs("equal reward, other cost", [2.0, 2.0, 1.0, 0.0], [1.0, 0.5, 0.5, 0.1]),
           _runs("one run", [0.0], [7.0]),
           _runs("reward falls as cost grows", [3.0, 2.0, 1.0], [0.0, 1.0, 2.0])),
    mistakes=(
        ("Equal runs knock each other out: a run is beaten only if another is strictly better in one of the two.",
         lambda r, c: ~((((r[:, None] >= r) & (c[:, None] <= c)) & ~torch.eye(len(r)).bool()).any(0))),
        ("A run that is equal in one and better in the other beats, too: >= and <=, and one of them strict.",
         lambda r, c: ~((r[:, None] > r) & (c[:, None] < c)).any(0)),
        ("You marked the runs that are beaten: negate.", lambda r, c: ~_front(r, c)),
        ("High cost counts as good in yours: less cost is better.", lambda r, c: _front(r, -c)),
        ("Low reward counts as good in yours: more reward is better.", lambda r, c: _front(-r, c)),
        ("You asked whether a run beats another; ask whether any other beats it (the other dimension).",
         lambda r, c: ~(((r[:, None] >= r) & (c[:, None] <= c)) & ((r[:, None] > r) | (c[:, None] < c))).any(1)),
        ("Only the run with the highest reward: cheaper ones can be on the front as well.",
         lambda r, c: r == r.max()),
        ("These are the best rewards per cost: a front asks for no exchange rate.",
         lambda r, c: r / c.clamp(min=1e-9) == (r / c.clamp(min=1e-9)).max()),
    ),
)


predict_tax = Exercise(
    "predict-tax", NOTEBOOK, "dear KL instead of pretraining text", *(2, 4, 3),
    "A transformer is trained by PPO on one task and forgets what it knew about *other* prompts. You triple β, the "
    "price of KL to the reference, instead of mixing in pretraining text. Compared with mixing, at the same "
    "reward, (a) the "
    "same is remembered: distance is distance; (b) more is remembered: a high price forbids any change; (c) less is "
    "remembered; (d) nothing can be said. Put your letter into `prediction`.",
    ("On which prompts is the KL measured during PPO?",
     "The penalty sees log pi - log ref on responses sampled to the task's prompts, and on nothing else.",
     'prediction = "c"'),
    "right: the price of KL guards the responses that are sampled; what is said to other prompts is free to move.",
    judge=choice(
        "c",
        a="No: the two would have to be measured on the same text. The KL is charged on the task's prompts only.",
        b="No: a price forbids nothing, and it is charged only where responses are sampled.",
        d="Something can: ask on which prompts the KL is measured.",
    ),
)

EXERCISES = (ptx_objective, ptx_slopes, pareto_front, predict_tax)
