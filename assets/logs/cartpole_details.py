"""Switch the details of PPO off, one at a time, on CartPole, and log how far each run came.

``python assets/logs/cartpole_details.py`` writes ``06_cartpole_details.json`` beside itself. Nine variants, eight
seeds each, 25 updates of 2,048 steps: about three minutes on one CPU core.
"""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import torch

from rlbase.envs import GymEnv
from rlbase.policies import for_env
from rlbase.train import PPOConfig, ppo

RECIPE = PPOConfig(updates=25, steps=64, epochs=6, minibatches=4, learning_rate=3e-3, gamma=0.98, lam=0.9)
VARIANTS = {
    "full recipe": RECIPE,
    "no whitening": replace(RECIPE, whiten_advantages=False),
    "value clip 0.2": replace(RECIPE, value_clip=0.2),
    "no critic": replace(RECIPE, advantage="returns"),
    "no grad clip": replace(RECIPE, max_grad_norm=1e9),
    "no ratio clip": replace(RECIPE, clip=0.99, clip_high=1e9),
    "one epoch": replace(RECIPE, epochs=1),
    "one batch": replace(RECIPE, minibatches=1),
    "no annealing": replace(RECIPE, anneal=False),
}
SEEDS = range(8)


def final_return(config: PPOConfig, seed: int) -> float:
    """Mean return of the last 100 episodes at the end of one run."""
    torch.manual_seed(seed)  # the first weights of the networks
    world = GymEnv("CartPole-v1", batch_size=32)
    policy, critic = for_env(world)
    critic = critic if config.advantage == "gae" else None
    *_, last = ppo(policy, world, config, critic=critic, generator=torch.Generator().manual_seed(seed))
    return round(last["return_mean"], 1)


def main() -> None:
    """Run every variant and write the log."""
    torch.set_num_threads(1)
    returns = {name: [final_return(config, seed) for seed in SEEDS] for name, config in VARIANTS.items()}
    log = {
        "command": "python assets/logs/cartpole_details.py",
        "world": "CartPole-v1, 32 copies",
        "updates": RECIPE.updates,
        "seeds": list(SEEDS),
        "machine": f"CPU, one thread, torch {torch.__version__}, Python {platform.python_version()}",
        "return_mean": returns,
    }
    text = json.dumps(log, indent=1)
    Path(__file__).with_name("06_cartpole_details.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
