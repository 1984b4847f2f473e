"""Exercises of notebook 01: returns, targets and backups."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.advantages import discounted_returns
from rlbase.lab.exercise import Case, Exercise, number

NOTEBOOK = "01_agent_environment_loop"


def _returns(rewards: Tensor, gamma: float) -> Tensor:
    return discounted_returns(rewards[None], torch.full_like(rewards[None], gamma))[0]


def _discounted(rewards: Tensor, gamma: float) -> Tensor:
    return rewards * gamma ** torch.arange(len(rewards), dtype=rewards.dtype)


def _return_cases() -> tuple[Case, ...]:
    noise = torch.randn(7, generator=torch.Generator().manual_seed(1))
    worked = torch.tensor([1.0, 2.0, 4.0])
    return (
        Case("rewards 1, 2, 4 and gamma 0.5", {"rewards": worked, "gamma": 0.5}),
        Case("random rewards", {"rewards": noise, "gamma": 0.9}),
        Case("only the last reward", {"rewards": torch.tensor([0.0, 0, 0, 1]), "gamma": 0.99}),
        Case("gamma 0", {"rewards": noise, "gamma": 0.0}),
        Case("gamma 1", {"rewards": noise, "gamma": 1.0}),
        Case("a single step", {"rewards": torch.tensor([3.0]), "gamma": 0.5}),
    )


discounted_return = Exercise(
    "discounted-return", NOTEBOOK, "the return, computed backwards", *(1, 5, 5),
    "Write `discounted_return(rewards, gamma)`: rewards `[T]` of one episode in, the return of **every** "
    "step `[T]` out. The return after the last step is 0.",
    ("The return of a step is its reward plus the discounted return of the next step: start at the end.",
     "G[t] = rewards[t] + gamma * G[t + 1], for t = T-1, ..., 0, with G[T] = 0.",
     "for t in reversed(range(T)): following = rewards[t] + gamma * following; returns[t] = following"),
    "right for six episodes, gamma 0 and gamma 1 among them.",
    reference=_returns, cases=_return_cases(),
    mistakes=(
        ("You discounted from the start of the episode: every step counts from itself, its reward in full.",
         lambda r, g: _discounted(r, g).flip(0).cumsum(0).flip(0)),
        ("You added up the past: a return looks ahead, from this step to the end.",
         lambda r, g: _returns(r.flip(0), g).flip(0)),
        ("You added up the past: a return looks ahead, from this step to the end.", lambda r, g: r.cumsum(0)),
        ("You gave the return of the first step only: every step has its own.", lambda r, g: _returns(r, g)[0]),
        ("You forgot the discount: this is the plain sum of what follows.", lambda r, g: _returns(r, 1.0)),
        ("You discounted the step's own reward as well: it counts in full.", lambda r, g: g * _returns(r, g)),
        ("You left the step's own reward out: its return begins with it.", lambda r, g: _returns(r, g) - r),
        ("You only discounted each reward: add up what follows.", _discounted),
        ("You only discounted each reward: add up what follows.", lambda r, g: g * r),
    ),
)


def _target(rewards: Tensor, values: Tensor, ended: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    return rewards + gamma * torch.where(ended, 0, values)


def _target_case(seed: int, gamma: float) -> Case:
    rewards, values = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed))
    terminated = torch.tensor([False, True, False, True, False])
    truncated = torch.tensor([False, False, True, True, False])
    flags = {"terminated": terminated, "truncated": truncated}
    label = f"going on, terminated, truncated, both, going on; gamma {gamma}"
    return Case(label, {"rewards": rewards, "next_values": 5 * values, **flags, "gamma": gamma})


td_target = Exercise(
    "td-target", NOTEBOOK, "termination is not truncation", *(2, 5, 8),
    "Write `td_target(rewards, next_values, terminated, truncated, gamma)`, all `[B]`: what one step "
    "promises, its reward plus the discounted value of what comes next. Which of the two flags changes it?",
    ("A pole that fell has no future. A clock that ran out says nothing about the pole.",
     "y = r + gamma * (1 - terminated) * V(next); truncated does not occur in it.",
     "return rewards + gamma * next_values * (~terminated)"),
    "right: termination ends the future, truncation does not.",
    reference=_target, cases=(_target_case(2, 0.9), _target_case(3, 1.0), _target_case(4, 0.5)),
    mistakes=(
        ("You treated truncation as termination: when only the clock ran out, what follows keeps its value.",
         lambda r, v, end, cut, g: r + g * torch.where(end | cut, 0, v)),
        ("You bootstrapped after termination: nothing follows a terminal step, its value is 0.",
         lambda r, v, end, cut, g: r + g * v),
        ("You swapped the flags: cut at termination, not at truncation.",
         lambda r, v, end, cut, g: r + g * torch.where(cut, 0, v)),
        ("The flag is inverted: you keep the value only where the episode ended.",
         lambda r, v, end, cut, g: r + g * torch.where(end, v, 0)),
        ("The discount is missing: the next value counts gamma times.",
         lambda r, v, end, cut, g: _target(r, v, end, cut, 1.0)),
        ("You dropped the reward of the terminal step: it was paid, only what follows is nothing.",
         lambda r, v, end, cut, g: torch.where(end, 0, r + g * v)),
    ),
)


def _backup(transitions: Tensor, rewards: Tensor, values: Tensor, gamma: float) -> Tensor:
    return rewards + gamma * transitions @ values


def _backup_case(states: int, actions: int, gamma: float) -> Case:
    g = torch.Generator().manual_seed(states)
    p = torch.rand(states, actions, states, generator=g).square() + 0.01
    rewards, values = torch.randn(states, actions, generator=g), 3 * torch.randn(states, generator=g)
    args = {"transitions": p / p.sum(-1, keepdim=True), "rewards": rewards, "values": values, "gamma": gamma}
    return Case(f"{states} states, {actions} actions, gamma {gamma}", args)


bellman_backup = Exercise(
    "bellman-backup", NOTEBOOK, "one Bellman backup", *(2, 4, 8),
    "Write `bellman_backup(transitions, rewards, values, gamma)`: from P `[S, A, S]` (the last axis is where "
    "one lands), R `[S, A]` and V `[S]`, the value of every action in every state, Q `[S, A]`.",
    ("An action is worth its reward plus what one expects of the place it leads to.",
     "Q[s, a] = R[s, a] + gamma * sum over s' of P[s, a, s'] V[s'].",
     "return rewards + gamma * transitions @ values"),
    "right in three random worlds.",
    reference=_backup, cases=(_backup_case(4, 4, 0.9), _backup_case(3, 2, 0.5), _backup_case(5, 3, 0.99)),
    mistakes=(
        ("You used the value of the state you are in: the state one *lands in* counts.",
         lambda p, r, v, g: r + g * v[:, None]),
        ("You took the best next state, not the expected one: the world chooses it, not the agent.",
         lambda p, r, v, g: r + g * torch.where(p > 0, v, -torch.inf).amax(-1)),
        ("The discount is missing: what follows counts gamma times.", lambda p, r, v, g: r + p @ v),
        ("You discounted the reward as well: it is paid now.", lambda p, r, v, g: g * (r + p @ v)),
        ("You averaged next values without their probabilities.", lambda p, r, v, g: r + g * v.mean()),
        ("You kept the best action only: give one number for each action, [S, A].",
         lambda p, r, v, g: _backup(p, r, v, g).amax(-1)),
        ("The reward is missing: add R[s, a].", lambda p, r, v, g: g * p @ v),
        ("The axes of P are swapped: you summed over the state one comes from; where one lands is the last axis.",
         lambda p, r, v, g: r + g * p.permute(2, 1, 0) @ v),
        ("The axes of Q are swapped: a row for each state, a column for each action.",
         lambda p, r, v, g: _backup(p, r, v, g).T),
    ),
)

predict_horizon = Exercise(
    "predict-horizon", NOTEBOOK, "how far does gamma see?", *(1, 3, 2),
    "A reward of 1 at every step, for ever, and gamma = 0.9. **Predict** the return of the first step, "
    "a number, before you run the next cells.",
    ("It is a geometric series.",
     "1 + gamma + gamma^2 + ... = 1 / (1 - gamma).",
     "prediction = 1 / (1 - 0.9)"),
    "10: with gamma = 0.9 an agent sees about 1/(1-gamma) = 10 steps ahead.",
    judge=number(
        10.0,
        (9.0, "0.9 + 0.81 + ... = 9 leaves out the first reward, which is not discounted."),
        (float("inf"), "Without the discount it would be infinite; with gamma below 1 the series converges."),
        (0.1, "That is 1 - gamma, the reciprocal."),
        (0.9, "That is what the second reward is worth; add up all of them."),
        (1.9, "Those are the first two rewards; go on for ever."),
        (1.0, "That is the first reward only; later ones count too, each a little less."),
    ),
)

EXERCISES = (discounted_return, td_target, bellman_backup, predict_horizon)
