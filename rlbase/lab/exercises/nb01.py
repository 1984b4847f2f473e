"""Exercises of notebook 01: returns, targets and backups."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.advantages import discounted_returns
from rlbase.lab.exercise import Case, Exercise, Mistake, number

NOTEBOOK = "01_agent_environment_loop"


def _returns(rewards: Tensor, gamma: float) -> Tensor:
    return discounted_returns(rewards[None], torch.full_like(rewards[None], gamma))[0]


def _powers(rewards: Tensor, gamma: float) -> Tensor:
    return gamma ** torch.arange(len(rewards), dtype=rewards.dtype)


def _return_cases() -> tuple[Case, ...]:
    noise = torch.randn(7, generator=torch.Generator().manual_seed(1))
    return (
        Case("rewards 1, 2, 4 with gamma 0.5", {"rewards": torch.tensor([1.0, 2.0, 4.0]), "gamma": 0.5}),
        Case("random rewards", {"rewards": noise, "gamma": 0.9}),
        Case("only the last reward", {"rewards": torch.tensor([0.0, 0, 0, 1]), "gamma": 0.99}),
        Case("gamma 0", {"rewards": noise, "gamma": 0.0}),
        Case("gamma 1", {"rewards": noise, "gamma": 1.0}),
        Case("a single step", {"rewards": torch.tensor([3.0]), "gamma": 0.5}),
    )


discounted_return = Exercise(
    "discounted-return", NOTEBOOK, "the return, computed backwards", 1, 5, 5,
    "Write `discounted_return(rewards, gamma)`: rewards `[T]` of one episode in, the return of **every** step "
    "`[T]` out. The return after the last step is 0.",
    ("The return of a step is its reward plus the discounted return of the next step: start at the end.",
     "G[t] = rewards[t] + gamma * G[t + 1], for t = T-1, ..., 0, with G[T] = 0.",
     "for t in reversed(range(len(rewards))): following = rewards[t] + gamma * following; returns[t] = following"),
    "right for six episodes, gamma 0 and gamma 1 among them.",
    _returns, _return_cases(),
    (
        Mistake("You discounted from the start of the episode: each step must count from itself, so step t's own "
                "reward has weight 1.", lambda rewards, gamma: (rewards * _powers(rewards, gamma)).flip(0).cumsum(0).flip(0)),
        Mistake("You added up the past: a return looks ahead, from this step to the end.",
                lambda rewards, gamma: _returns(rewards.flip(0), gamma).flip(0)),
        Mistake("You gave the return of the first step only: every step has one of its own.",
                lambda rewards, gamma: _returns(rewards, gamma)[0]),
        Mistake("You forgot the discount: this is the plain sum of what follows.",
                lambda rewards, gamma: _returns(rewards, 1.0)),
        Mistake("You discounted the step's own reward as well: the first reward has weight 1.",
                lambda rewards, gamma: gamma * _returns(rewards, gamma)),
        Mistake("You left the step's own reward out: the return of a step begins with its reward.",
                lambda rewards, gamma: _returns(rewards, gamma) - rewards),
        Mistake("You only discounted each reward: add up what follows.",
                lambda rewards, gamma: rewards * _powers(rewards, gamma)),
    ),
)


def _target(rewards: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    return rewards + gamma * torch.where(terminated, 0, next_values)


def _target_cases() -> tuple[Case, ...]:
    g = torch.Generator().manual_seed(2)
    terminated = torch.tensor([False, True, False, True, False])
    truncated = torch.tensor([False, False, True, True, False])
    return tuple(
        Case(f"rows: going on, terminated, truncated, both, going on; gamma {gamma}",
             {"rewards": torch.randn(5, generator=g), "next_values": torch.randn(5, generator=g) * 5,
              "terminated": terminated, "truncated": truncated, "gamma": gamma})
        for gamma in (0.9, 1.0, 0.5)
    )


td_target = Exercise(
    "td-target", NOTEBOOK, "termination is not truncation", 2, 5, 8,
    "Write `td_target(rewards, next_values, terminated, truncated, gamma)`, all `[B]`: what one step promises, "
    "the reward plus the discounted value of what comes next. Think about which of the two flags changes it.",
    ("A pole that fell has no future. A clock that ran out says nothing about the pole: it would have gone on.",
     "y = r + gamma * (1 - terminated) * V(next); truncated does not occur in it.",
     "return rewards + gamma * next_values * (~terminated)"),
    "right: termination ends the future, truncation does not.",
    _target, _target_cases(),
    (
        Mistake("You treated truncation as termination: when only the clock ran out, the next state keeps its value.",
                lambda rewards, next_values, terminated, truncated, gamma:
                rewards + gamma * torch.where(terminated | truncated, 0, next_values)),
        Mistake("You bootstrapped after termination: nothing follows a terminal step, its value is 0.",
                lambda rewards, next_values, terminated, truncated, gamma: rewards + gamma * next_values),
        Mistake("You swapped the flags: cut at termination, not at truncation.",
                lambda rewards, next_values, terminated, truncated, gamma:
                rewards + gamma * torch.where(truncated, 0, next_values)),
        Mistake("The flag is inverted: you keep the value only where the episode ended.",
                lambda rewards, next_values, terminated, truncated, gamma:
                rewards + gamma * torch.where(terminated, next_values, 0)),
        Mistake("The discount is missing: the next value counts gamma times.",
                lambda rewards, next_values, terminated, truncated, gamma: _target(rewards, next_values, terminated, truncated, 1.0)),
        Mistake("You dropped the reward of the terminal step: it was paid; only what follows is nothing.",
                lambda rewards, next_values, terminated, truncated, gamma:
                torch.where(terminated, 0, rewards + gamma * next_values)),
    ),
)


def _backup(transitions: Tensor, rewards: Tensor, values: Tensor, gamma: float) -> Tensor:
    return rewards + gamma * transitions @ values


def _backup_cases() -> tuple[Case, ...]:
    g = torch.Generator().manual_seed(3)
    cases = []
    for states, actions, gamma in ((4, 4, 0.9), (3, 2, 0.5), (5, 3, 0.99)):
        p = torch.rand(states, actions, states, generator=g).square() + 0.01
        cases.append(Case(f"{states} states, {actions} actions, gamma {gamma}", {
            "transitions": p / p.sum(-1, keepdim=True), "rewards": torch.randn(states, actions, generator=g),
            "values": torch.randn(states, generator=g) * 3, "gamma": gamma}))
    return tuple(cases)


bellman_backup = Exercise(
    "bellman-backup", NOTEBOOK, "one Bellman backup", 2, 4, 8,
    "Write `bellman_backup(transitions, rewards, values, gamma)`: from P `[S, A, S]` (the last axis is where one "
    "lands), R `[S, A]` and V `[S]`, the value of every action in every state, Q `[S, A]`.",
    ("An action is worth its reward plus what one expects of the place it leads to.",
     "Q[s, a] = R[s, a] + gamma * sum over s' of P[s, a, s'] V[s'].",
     "return rewards + gamma * transitions @ values"),
    "right on three random worlds.",
    _backup, _backup_cases(),
    (
        Mistake("You used the value of the state you are in: the value of the state one *lands in* counts.",
                lambda transitions, rewards, values, gamma: rewards + gamma * values[:, None]),
        Mistake("You took the best next state instead of the expected one: the world chooses it, not the agent.",
                lambda transitions, rewards, values, gamma:
                rewards + gamma * torch.where(transitions > 0, values, -torch.inf).amax(-1)),
        Mistake("The discount is missing.", lambda transitions, rewards, values, gamma: rewards + transitions @ values),
        Mistake("You discounted the reward as well: it is paid now.",
                lambda transitions, rewards, values, gamma: gamma * (rewards + transitions @ values)),
        Mistake("You averaged next values without their probabilities.",
                lambda transitions, rewards, values, gamma: rewards + gamma * values.mean()),
        Mistake("You returned the value of the best action; keep one number for each action, [S, A].",
                lambda transitions, rewards, values, gamma: _backup(transitions, rewards, values, gamma).amax(-1)),
        Mistake("You summed over the state one leaves, not the one where one lands (the last axis).",
                lambda transitions, rewards, values, gamma:
                rewards + gamma * torch.einsum("san,s->na", transitions, values)),
        Mistake("The reward is missing.", lambda transitions, rewards, values, gamma: gamma * transitions @ values),
    ),
)

predict_horizon = Exercise(
    "predict-horizon", NOTEBOOK, "how far does gamma see?", 1, 3, 2,
    "A reward of 1 at every step, for ever, and gamma = 0.9. **Predict** the return of the first step (a number), then "
    "run the next cells.",
    ("It is a geometric series.", "1 + gamma + gamma^2 + ... = 1 / (1 - gamma).", "prediction = 1 / (1 - 0.9)"),
    "10: with gamma = 0.9 an agent sees about 1/(1-gamma) = 10 steps ahead.",
    judge=number(
        10.0,
        (9.0, "0.9 + 0.81 + ... = 9 leaves out the first reward, which is not discounted."),
        (float("inf"), "Without the discount it would be infinite; with gamma below 1 the series converges."),
        (0.1, "That is 1 - gamma, the reciprocal."),
        (0.9, "That is what the second reward is worth; add up all of them."),
        (1.9, "Those are the first two rewards; go on for ever."),
        (1.0, "That is the first reward only; later ones count too, a little less each."),
    ),
)

EXERCISES = (discounted_return, td_target, bellman_backup, predict_horizon)
