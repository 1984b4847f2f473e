"""Small training runs that a test can kill.

As a program it imports everything once and then, for each line ``NAME CHECKPOINT`` that it reads, forks a process
of its own which trains to the end: importing torch takes far longer than any of these runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv, chain
from rlbase.feedback import Rater, judge
from rlbase.losses import dpo, kto
from rlbase.policies import (
    LMCritic,
    LMRewardModel,
    StepEnsemble,
    TabularPolicy,
    TabularReward,
    for_env,
    frozen_copy,
    random_policy,
)
from rlbase.train import (
    A2CConfig,
    OnlineConfig,
    PPOConfig,
    PreferenceConfig,
    PreferenceRLConfig,
    Rankings,
    Ratings,
    ReinforceConfig,
    RejectionConfig,
    RewardModelConfig,
    SFTConfig,
    TRPOConfig,
    a2c,
    online_preference,
    ppo,
    preference,
    preference_rl,
    reinforce,
    rejection_finetune,
    reward_model,
    reward_ranking,
    reward_regression,
    sft,
    trpo,
)
from rlbase.types import Choices, Labelled, PreferencePairs, Prompt

UPDATES = {"bandit": 40, "cartpole": 12, "language model": 8, "reinforce": 40, "a2c": 40, "trpo": 25}
UPDATES |= {"sft": 17, "reward model": 17, "rankings": 17, "ratings": 17, "rejection": 9, "preferences": 9}
UPDATES |= {"comparisons": 17, "verdicts": 17, "online": 9, "refreshed": 9}
ROWS = ("sft", "reward model", "rankings", "ratings", "comparisons", "verdicts")


def mentions_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


def build(
    name: str, checkpoint: Path | None, updates: int | None = None
) -> tuple[Iterator[dict[str, float]], list[Any]]:
    """A fresh run of that name, and the parts whose final state must not depend on interruptions."""
    torch.manual_seed(0)
    n = UPDATES[name] if updates is None else updates
    generator = torch.Generator().manual_seed(7)
    common: dict[str, Any] = {"generator": generator, "checkpoint": checkpoint}
    if name in ROWS:
        return learning_from_rows(name, n, common)
    if name == "bandit":
        env = Bandit(torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.2]]), batch_size=16, noise=0.1)
        policy, critic = for_env(env)
        config = PPOConfig(
            updates=n, learning_rate=0.05, beta=0.2, kl_target=0.1, kl_horizon=500, anneal=False
        )
        reference = TabularPolicy(2, 3)
        return ppo(policy, env, config, critic=critic, reference=reference, **common), [policy, critic, env]
    if name == "cartpole":
        env = GymEnv("CartPole-v1", batch_size=4)
        policy, critic = for_env(env, hidden=(16,))
        config = PPOConfig(updates=n, steps=24, epochs=2, minibatches=2, learning_rate=3e-3, anneal=False)
        return ppo(policy, env, config, critic=critic, **common), [policy, critic, env]
    if name == "language model":
        model = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.3)
        value, reference = LMCritic(model), frozen_copy(model)
        text = TextEnv(["a", "bc", "cab"], CharTokenizer("abc"), mentions_a, max_new_tokens=4, batch_size=8)
        config = PPOConfig(updates=n, epochs=2, minibatches=2, learning_rate=3e-3, beta=0.1, anneal=False)
        return ppo(model, text, config, critic=value, reference=reference, **common), [model, value, text]
    if name == "rejection":
        model = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.3)
        text = TextEnv(["a", "bc", "cab"], CharTokenizer("abc"), mentions_a, max_new_tokens=4, batch_size=8)
        config_f = RejectionConfig(updates=n, samples=3, epochs=2, minibatches=2, learning_rate=3e-3)
        return rejection_finetune(model, text, config_f, **common), [model]
    if name in ("online", "refreshed"):
        model = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.3)
        text = TextEnv(["a", "bc", "cab"], CharTokenizer("abc"), mentions_a, max_new_tokens=4, batch_size=8)
        refresh = name == "refreshed"
        config_o = OnlineConfig(updates=n, epochs=2, minibatches=2, learning_rate=3e-3, refresh=refresh)
        kept = None if refresh else frozen_copy(model)
        return online_preference(model, text, partial(dpo, beta=0.5), config_o, reference=kept, **common), [
            model
        ]
    world = chain(5, slip=0.2, time_limit=7, batch_size=6)
    policy, critic = for_env(world)
    parts: list[Any] = [policy, world]
    if name == "reinforce":
        config_r = ReinforceConfig(updates=n, steps=12, baseline="mean")
        return reinforce(policy, world, config_r, **common), parts
    if name == "a2c":
        # the learning rate falls with the number of updates: a longer run is another run from the start
        config_a = A2CConfig(updates=UPDATES[name], steps=9)
        return a2c(policy, world, config_a, critic=critic, **common), [*parts, critic]
    if name == "preferences":
        reward = StepEnsemble([TabularReward(5, 2, spread=0.1), TabularReward(5, 2, spread=0.1)])
        config_p = PreferenceRLConfig(updates=n, steps=14, clip_length=3, comparisons=4, epochs=3)

        def improve(learned: Any, chances: torch.Generator) -> Any:
            return a2c(policy, learned, A2CConfig(updates=3, steps=5), critic=critic, generator=chances)

        asked = judge(Rater(error=0.1))
        run = preference_rl(policy, world, reward, asked, improve, config_p, critic=critic, **common)
        return run, [*parts, critic, reward]
    config_t = TRPOConfig(updates=n, steps=12, conjugate_steps=4, value_epochs=2)
    return trpo(policy, world, config_t, critic=critic, **common), [*parts, critic]


def learning_from_rows(
    name: str, updates: int, common: dict[str, Any]
) -> tuple[Iterator[dict[str, float]], list[Any]]:
    """Responses of one to four tokens, 22 to a pass of six batches, the last of them a short one."""
    noise = torch.Generator().manual_seed(3)
    prompts = Prompt(torch.randint(0, 4, (44, 2), generator=noise), torch.ones(44, 2, dtype=torch.bool))
    mask = torch.arange(4) < torch.randint(1, 5, (44, 1), generator=noise)
    rows = Choices(prompts, torch.randint(0, 4, (44, 4), generator=noise), mask)
    model = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.3)
    settings: dict[str, Any] = {"updates": updates, "batch_size": 4, "learning_rate": 3e-3, "warmup": 2}
    settings |= {"schedule": "constant", "group_by_length": True, "eval_every": 5}
    if name == "sft":
        return sft(model, rows[:22], SFTConfig(**settings), held_out=rows[22:], **common), [model]
    if name in ("comparisons", "verdicts"):
        of_pairs, config_d = PreferencePairs(rows[:22], rows[22:]), PreferenceConfig(**settings)
        of_one = Labelled(rows[:22], torch.rand(22, generator=noise) < 0.5)
        data, loss = (
            (of_pairs, partial(dpo, beta=0.5)) if name == "comparisons" else (of_one, partial(kto, beta=0.5))
        )
        more = {"reference": frozen_copy(model), "held_out": data[:7], **common}
        return preference(model, data, loss, config_d, **more), [model]
    scorer = LMRewardModel(model)
    if name == "rankings":
        rankings = Rankings(rows, torch.randint(0, 4, (11, 4), generator=noise))
        return reward_ranking(
            scorer, rankings, RewardModelConfig(**settings), held_out=rankings[:3], **common
        ), [scorer]
    if name == "ratings":
        ratings = Ratings(rows[:22], torch.randn(22, generator=noise))
        return reward_regression(
            scorer, ratings, RewardModelConfig(**settings), held_out=ratings[:7], **common
        ), [scorer]
    pairs = PreferencePairs(rows[:22], rows[22:])
    config = RewardModelConfig(**settings)
    return reward_model(scorer, pairs, config, held_out=pairs[:7], **common), [scorer]


def fingerprint(parts: list[Any]) -> list[Any]:
    """Every weight and every buffer, and what the world remembers."""
    seen: list[Any] = []
    for part in parts:
        if isinstance(part, torch.nn.Module):
            seen += [p.detach().clone() for p in (*part.parameters(), *part.buffers())]
        else:
            seen.append(list(part.returns))
    return seen


def equal(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(left, right, strict=True)
    )


def train(name: str, path: Path) -> None:
    """One whole run in a process of its own: what it says goes to the pipe that the parent reads."""
    say("ready")
    for record in build(name, path)[0]:
        say(int(record["update"]))


def say(what: object) -> None:
    os.write(1, f"{what}\n".encode())  # one write a line: a kill leaves no half of one


if __name__ == "__main__":
    torch.set_num_threads(1)
    for warm in ("sft", "bandit"):  # what is imported at first use only: once, here
        list(build(warm, None, 1)[0])
    for line in sys.stdin:
        name, path = line.rstrip("\n").split("\t")
        child = os.fork()
        if not child:
            try:
                train(name, Path(path))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        say(f"started {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")
