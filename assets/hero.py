"""Draw assets/hero.png, the picture at the head of the README: ``python assets/hero.py`` (about a CPU-minute).

Nothing in it is drawn by hand: one trainer runs in three worlds, and the curves are its records.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from rlbase.data.reviews import prompts, sentiment
from rlbase.envs import Bandit, GymEnv, TextEnv
from rlbase.exact import kl_optimum, total_variation
from rlbase.explore import Line, Panel, Scene, png
from rlbase.policies import TabularPolicy, for_env, frozen_copy, load_policy
from rlbase.train import PPOConfig, ppo


def bandit() -> Panel:
    reference, reward, beta = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0]), 0.5
    policy, world = TabularPolicy(1, 4, ref=reference), Bandit(reward, batch_size=512)
    settings = PPOConfig(updates=80, learning_rate=0.05, advantage="leave_one_out", minibatches=1, beta=beta)
    goal, distance = kl_optimum(reference, reward, beta=beta), []
    for _ in ppo(policy, world, settings, reference=frozen_copy(policy)):
        distance.append(total_variation(policy.probs()[0].detach().double(), goal))
    line = Line(range(1, len(distance) + 1), distance, "policy", "distance to the known optimum", width=2.6)
    return Panel([line], "A four-armed bandit", "update", "total variation", y_range=(0, 0.6))


def cart_pole() -> Panel:
    torch.manual_seed(1)
    world = GymEnv("CartPole-v1", batch_size=32)
    policy, critic = for_env(world)
    settings = PPOConfig(updates=60, steps=64, epochs=6, learning_rate=3e-3, gamma=0.98, lam=0.9)
    records = []
    for record in ppo(policy, world, settings, critic=critic):
        records.append((record["env_steps"] / 1000, record["return_mean"]))
        if record["return_mean"] >= 475:
            break
    steps, returns = zip(*records, strict=True)
    solved = Line([0, steps[-1]], [475, 475], "truth", "solved: 475", dashed=True)
    lines = [Line(steps, returns, "reward", "mean return", width=2.6), solved]
    return Panel(lines, "CartPole", "thousand steps", "return", y_range=(0, 520))


def film_reviews() -> Panel:
    policy = load_policy("reviews")
    world = TextEnv(
        prompts(64, seed=0), policy.tokenizer, sentiment, max_new_tokens=24, batch_size=64, group_size=4
    )
    settings = PPOConfig(
        updates=40,
        learning_rate=1e-3,
        gamma=1.0,
        advantage="leave_one_out",
        epochs=1,
        minibatches=1,
        beta=0.05,
    )
    lines = []
    for beta, color, label in (
        (0.0, "wrong", "no KL price (β = 0)"),
        (0.1, "policy", "KL price (β = 0.1)"),
    ):
        policy = load_policy("reviews")
        run = ppo(policy, world, replace(settings, beta=beta), reference=frozen_copy(policy))
        earned = [record["reward_mean"] for record in run]
        lines.append(Line(range(1, len(earned) + 1), earned, color, label, width=2.6))
    return Panel(lines, "A language model", "update", "sentiment of its reviews", y_range=(0, 1.05))


def main() -> None:
    torch.set_num_threads(1)
    scene = Scene([bandit(), cart_pole(), film_reviews()], width=1240, height=330)
    path = Path(__file__).with_name("hero.png")
    path.write_bytes(png(scene))
    print(scene.alt)


if __name__ == "__main__":
    main()
