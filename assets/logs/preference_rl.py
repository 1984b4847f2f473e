"""Learn from behaviour clips over seeds: a garden whose reward is known, and CartPole from a rater's taste.

``python assets/logs/preference_rl.py`` writes ``10_preference_rl.json`` beside itself: ten gardens and ten CartPoles,
each with questions chosen by disagreement and uniformly. About six minutes on one CPU core.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from rlbase.envs import GymEnv, garden
from rlbase.explore.clips import correlation, regret
from rlbase.feedback import Rater, judge
from rlbase.policies import MLPReward, StepEnsemble, TabularPolicy, TabularReward, for_env
from rlbase.train import PPOConfig, PreferenceRLConfig, plan, ppo, preference_rl, reward_table

GARDEN = {"updates": 8, "steps": 82, "clip_length": 8, "comparisons": 100}
GARDEN |= {"epochs": 20, "batch_size": 256, "learning_rate": 0.05, "weight_decay": 0.1}
CARTPOLE = {"updates": 10, "clip_length": 10, "comparisons": 30, "first_comparisons": 100}
CARTPOLE |= {"epochs": 40, "learning_rate": 0.01}
PPO = {"updates": 6, "steps": 64, "epochs": 6, "minibatches": 4, "learning_rate": 3e-3, "gamma": 0.98}
PPO |= {"lam": 0.9, "anneal": False, "entropy_coef": 0.01}
UNITS = [1.0, 1.0, 0.1, 1.0]


def gardens(query: str, seed: int) -> list[dict[str, float]]:
    """Correlation with the true reward and regret after every round, 25 squares of random worth."""
    torch.manual_seed(seed)
    pays = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed))
    env: Any = garden(pays, batch_size=2000)
    policy = TabularPolicy(25, 4)
    reward = StepEnsemble([TabularReward(25, None, spread=0.1) for _ in range(5)])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for record in preference_rl(
        policy,
        env,
        reward,
        judge(Rater(error=0.1)),
        lambda world, _: plan(policy, world, gamma=0.9, temperature=10),
        PreferenceRLConfig(**GARDEN, query=query),
        generator=generator,
    ):
        table = reward_table(reward, env)
        known = {"correlation": round(correlation(table, env), 4), "regret": round(regret(table, env), 4)}
        found.append({**_some(record, "comparisons", "label_share"), **known})
    return found


def cartpole(query: str, seed: int) -> list[dict[str, float]]:
    """Steps that the pole stays up after every round; the rater sees how upright it is, nobody sees a reward."""
    torch.manual_seed(seed)
    env = GymEnv("CartPole-v1", batch_size=32)
    policy, critic = for_env(env)
    units = torch.tensor(UNITS)
    reward = StepEnsemble([MLPReward(4, env.action_space, hidden=(32,), units=units) for _ in range(3)])
    generator = torch.Generator().manual_seed(seed)
    ask = judge(Rater(temperature=0.2, error=0.1), lambda obs, _: -obs[..., 2].abs() / 0.2095)
    settings = PPOConfig(**PPO)
    run = preference_rl(
        policy,
        env,
        reward,
        ask,
        lambda world, noise: ppo(policy, world, settings, critic=critic, generator=noise),
        PreferenceRLConfig(**CARTPOLE, query=query),
        generator=generator,
    )
    names = ("comparisons", "label_share", "env_steps", "return_mean", "held_out_accuracy")
    return [_some(record, *names) for record in run]


def _some(record: dict[str, float], *names: str) -> dict[str, float]:
    return {name: round(record[name], 4) for name in names}


def main() -> None:
    """Run everything and write the log."""
    torch.set_num_threads(1)
    log: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version()}
    log |= {"settings": {"garden": GARDEN, "cartpole": CARTPOLE, "ppo": PPO}}
    for name, run in (("garden", gardens), ("cartpole", cartpole)):
        log[name] = {q: [run(q, seed) for seed in range(10)] for q in ("disagreement", "uniform")}
        print(name, "done", flush=True)
    path = Path(__file__).with_name("10_preference_rl.json")
    path.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
