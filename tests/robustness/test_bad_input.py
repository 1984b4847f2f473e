"""Bad input: for each mistake the one sentence that says what was wrong, what was expected, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase import advantages, exact, losses, masked, rewards
from rlbase.envs import Bandit, CharTokenizer, GymEnv, TabularMDP, TextEnv, chain, gridworld, pad_left
from rlbase.policies import (
    CausalLMPolicy,
    MLPCritic,
    MLPPolicy,
    TabularCritic,
    TabularPolicy,
    for_env,
    frozen_copy,
    load_policy,
    random_policy,
)
from rlbase.rollout import check_env, enumerate_actions, rollout
from rlbase.train import A2CConfig, PPOConfig, ReinforceConfig, TRPOConfig, a2c, ppo, reinforce, trpo
from rlbase.types import Discrete, Prompt

NAN, INF = float("nan"), float("inf")
ROW, FLAT = torch.zeros(1, 3), torch.zeros(3)
YES = torch.ones(1, 3, dtype=torch.bool)
P = torch.tensor([0.5, 0.5])
TOKENIZER = CharTokenizer("ab")
BANDIT = Bandit(torch.tensor([0.0, 1.0]), batch_size=4)
RETURNS = PPOConfig(advantage="returns", updates=2)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def zero(prompts: list[str], responses: list[str]) -> list[float]:
    return [0.0] * len(prompts)


def first(run: Any) -> Any:
    return next(iter(run))


def text(scorer: Any = zero, prompts: Any = ("a", "b"), **options: Any) -> TextEnv:
    return TextEnv(prompts, TOKENIZER, scorer, **{"max_new_tokens": 3, "batch_size": 4, **options})


def write(env: Any, policy: Any = None) -> Any:
    return rollout(policy or random_policy("gpt2", vocab_size=3), env, generator=seeded())


def act(env: Any, actions: Any) -> Any:
    env.begin(seeded())
    return env.step(actions, seeded())


def table(rows: Any, rewards_: Tensor | None = None) -> TabularMDP:
    return TabularMDP(rows, torch.zeros(2, 1) if rewards_ is None else rewards_)


def diverged(policy: Any) -> Any:
    for p in policy.parameters():
        p.data.fill_(NAN)
    return policy


Case = tuple[Callable[[], Any], type[Exception], str]

ARITHMETIC: dict[str, Case] = {
    "a row against a flat list": (
        lambda: losses.reinforce(ROW, FLAT),
        ValueError,
        r"reinforce: shapes must be equal, got logp \[1, 3\], advantages \[3\]",
    ),
    "a column against a row": (
        lambda: losses.ppo_clip(ROW, ROW, torch.zeros(3, 1)),
        ValueError,
        r"ppo_clip: shapes must be equal, got .*advantages \[3, 1\]",
    ),
    "values with a spare column in a loss": (
        lambda: losses.value_mse(torch.zeros(1, 4), ROW),
        ValueError,
        "value_mse: shapes must be equal",
    ),
    "a mask of one row": (
        lambda: masked.masked_mean(torch.zeros(2, 3), YES),
        ValueError,
        r"masked_mean: shapes must be equal, got x \[2, 3\], mask \[1, 3\]",
    ),
    "lists instead of tensors": (
        lambda: losses.reinforce([[-1.0]], ROW),  # type: ignore[arg-type]
        TypeError,
        "reinforce: logp must be a tensor, got list",
    ),
    "numbers instead of tensors": (
        lambda: losses.k1(0.5, ROW),  # type: ignore[arg-type]
        TypeError,
        "k1: logp must be a tensor, got float",
    ),
    "a mask of floats": (
        lambda: masked.masked_sum(ROW, YES.float()),
        TypeError,
        "masked_sum: mask must be a boolean tensor, got torch.float32",
    ),
    "a mask of integers in gae": (
        lambda: advantages.gae(ROW, torch.zeros(1, 4), ROW, YES.long(), lam=0.9),  # type: ignore[arg-type]
        TypeError,
        "gae: mask must be a boolean tensor, got torch.int64",
    ),
    "filling with a mask of floats": (
        lambda: masked.fill_unchosen(ROW, YES.float()),
        TypeError,
        "fill_unchosen: mask must be a boolean tensor",
    ),
    "the last choice of a mask of floats": (
        lambda: masked.last_choice(YES.float()),
        TypeError,
        "last_choice: mask must be a boolean tensor",
    ),
    "an empty mask": (
        lambda: masked.masked_mean(ROW, ~YES),
        ValueError,
        "masked_mean: the mask is empty, there is nothing to reduce",
    ),
    "whitening nothing": (
        lambda: masked.masked_whiten(ROW, ~YES),
        ValueError,
        "masked_whiten: the mask is empty",
    ),
    "an unknown denominator": (
        lambda: masked.masked_mean(ROW, YES, reduce="row"),
        ValueError,
        "masked_mean: reduce must be 'token', 'sequence' or a positive number, got 'row'",
    ),
    "a denominator of zero": (
        lambda: masked.masked_mean(ROW, YES, reduce=0),
        ValueError,
        "reduce must be .* a positive number, got 0",
    ),
    "clip of one": (
        lambda: losses.ppo_clip(ROW, ROW, ROW, clip=1.0),
        ValueError,
        r"ppo_clip: clip must lie in \[0, 1\), got 1.0",
    ),
    "negative clip": (
        lambda: losses.ppo_clip(ROW, ROW, ROW, clip=-0.1),
        ValueError,
        r"ppo_clip: clip must lie in \[0, 1\), got -0.1",
    ),
    "negative upper clip": (
        lambda: losses.ppo_clip(ROW, ROW, ROW, clip_high=-0.1),
        ValueError,
        "ppo_clip: clip_high must lie in",
    ),
    "clip is None": (
        lambda: losses.ppo_clip(ROW, ROW, ROW, clip=None),  # type: ignore[arg-type]
        TypeError,
        "ppo_clip: clip must be a number, got None",
    ),
    "value clip of zero": (
        lambda: losses.value_clipped(ROW, ROW, ROW, clip=0.0),
        ValueError,
        r"value_clipped: clip must lie in \(0, inf\]",
    ),
    "values without the last column": (
        lambda: advantages.gae(ROW, ROW, ROW, YES, lam=0.9),
        ValueError,
        r"gae: values must have shape \[1, 4\], got \[1, 3\]",
    ),
    "lambda above one": (
        lambda: advantages.gae(ROW, torch.zeros(1, 4), ROW, YES, lam=1.1),
        ValueError,
        r"gae: lam must lie in \[0, 1\], got 1.1",
    ),
    "lambda is NaN": (
        lambda: advantages.gae(ROW, torch.zeros(1, 4), ROW, YES, lam=NAN),
        ValueError,
        r"gae: lam must lie in \[0, 1\], got nan",
    ),
    "rewards without a batch axis": (
        lambda: advantages.discounted_returns(FLAT, FLAT),
        ValueError,
        r"discounted_returns: rewards must be \[B, T\] with T >= 1, got shape \[3\]",
    ),
    "an episode of no steps": (
        lambda: advantages.gae(ROW[:, :0], ROW[:, :1], ROW[:, :0], YES[:, :0], lam=0.9),
        ValueError,
        r"gae: rewards must be \[B, T\] with T >= 1, got shape \[1, 0\]",
    ),
    "a group of one": (
        lambda: advantages.leave_one_out(torch.zeros(4, 1)),
        ValueError,
        "leave_one_out: a group needs at least 2 responses to have a baseline, got 1",
    ),
    "groups not laid out": (
        lambda: advantages.group_normalised(FLAT),
        ValueError,
        r"group_normalised: rewards must be \[groups, G\] of real numbers, got shape \[3\]",
    ),
    "a standard deviation less something": (
        lambda: advantages.group_normalised(torch.zeros(1, 3), eps=-1.0),
        ValueError,
        r"group_normalised: eps must lie in \[0, inf\), got -1.0",
    ),
    "groups of whole numbers": (
        lambda: advantages.leave_one_out(torch.tensor([[0, 1]])),
        ValueError,
        r"leave_one_out: rewards must be \[groups, G\] of real numbers, got .*int64",
    ),
    "negative beta in the reward": (
        lambda: rewards.kl_shaped(ROW, ROW, ROW, YES, beta=-0.1),
        ValueError,
        "kl_shaped: beta must lie in",
    ),
    "a score for nobody": (
        lambda: rewards.place_on_last_action(torch.zeros(1), ~YES),
        ValueError,
        "place_on_last_action: every row needs at least one chosen action",
    ),
    "scores of another batch": (
        lambda: rewards.place_on_last_action(torch.zeros(2), YES),
        ValueError,
        r"place_on_last_action: scores must have shape \[1\], got \[2\]",
    ),
    "a KL target of zero": (
        lambda: losses.schulman_beta(0.1, 1.0, target=0.0),
        ValueError,
        r"schulman_beta: target must lie in \(0, inf\], got 0.0",
    ),
    "a KL that is NaN": (
        lambda: losses.ziegler_beta(0.1, NAN, target=1.0, episodes=1, horizon=100),
        ValueError,
        "ziegler_beta: kl must lie in .*, got nan",
    ),
    "a horizon that could turn beta negative": (
        lambda: losses.ziegler_beta(0.1, 0.0, target=1.0, episodes=512, horizon=100),
        ValueError,
        r"ziegler_beta: horizon must lie in \(102.4, inf\], got 100",
    ),
}

TRUTHS: dict[str, Case] = {
    "probabilities that do not sum to one": (
        lambda: exact.kl_optimum(torch.tensor([0.5, 0.6]), P, beta=1.0),
        ValueError,
        "kl_optimum: ref must be one distribution",
    ),
    "a reward that is NaN": (
        lambda: exact.kl_optimum(P, torch.tensor([0.0, NAN]), beta=1.0),
        ValueError,
        r"kl_optimum: reward must be finite, got nan at \[1\]",
    ),
    "beta of zero": (
        lambda: exact.kl_optimum(P, P, beta=0.0),
        ValueError,
        r"kl_optimum: beta must lie in \(0, inf\], got 0.0",
    ),
    "distributions of different length": (
        lambda: exact.total_variation(P, torch.ones(3) / 3),
        ValueError,
        "total_variation: shapes must be equal",
    ),
    "half a draw": (
        lambda: exact.best_of_n(P, P, 2.5),  # type: ignore[arg-type]
        TypeError,
        "best_of_n: n must be a whole number, got 2.5",
    ),
    "no draw": (lambda: exact.best_of_n(P, P, 0), ValueError, "best_of_n: n must be at least 1, got 0"),
    "rows that are no distribution": (
        lambda: exact.value_iteration(torch.ones(2, 1, 2), torch.zeros(2, 1), gamma=0.9),
        ValueError,
        r"value_iteration: every transitions\[s, a\] must be a distribution",
    ),
    "rewards of states alone": (
        lambda: exact.value_iteration(torch.eye(2)[:, None], torch.zeros(2), gamma=0.9),
        ValueError,
        r"value_iteration: rewards must be \[S, A\], got shape \[2\]",
    ),
    "a world that never ends, undiscounted": (
        lambda: exact.value_iteration(torch.ones(1, 1, 1), torch.ones(1, 1), gamma=1.0),
        ValueError,
        "value_iteration: the values never settle",
    ),
    "a price without a reference": (
        lambda: exact.value_iteration(torch.ones(1, 1, 1), torch.ones(1, 1), gamma=0.5, beta=1.0),
        ValueError,
        "value_iteration: beta > 0 needs a reference policy",
    ),
    "a reference for one state": (
        lambda: exact.value_iteration(
            torch.eye(2)[:, None].expand(2, 2, 2), torch.zeros(2, 2), gamma=0.5, beta=1.0, ref=P
        ),
        ValueError,
        r"value_iteration: ref must have shape \[2, 2\], got \[2\]",
    ),
    "a policy of logits": (
        lambda: exact.policy_value(torch.ones(1, 2, 1), torch.zeros(1, 2), torch.zeros(1, 2), gamma=0.5),
        ValueError,
        r"policy_value: every policy\[s\] must be a distribution over actions",
    ),
    "more responses than can be listed": (
        lambda: exact.enumerate_responses(50, 0, 400),
        ValueError,
        r"enumerate_responses: 50 \*\* 400 responses are too many",
    ),
    "an EOS that is no token": (
        lambda: exact.enumerate_responses(3, 3, 2),
        ValueError,
        r"enumerate_responses: eos must lie in \[0, 2\], got 3",
    ),
}

WORLDS: dict[str, Case] = {
    "a bandit from a list": (
        lambda: Bandit([0.0, 1.0]),  # type: ignore[arg-type]
        TypeError,
        "Bandit: rewards must be a tensor, got list",
    ),
    "a bandit that pays infinity": (
        lambda: Bandit(torch.tensor([0.0, INF])),
        ValueError,
        r"Bandit: rewards must be finite, got inf at \[1\]",
    ),
    "a bandit without arms": (
        lambda: Bandit(torch.zeros(0)),
        ValueError,
        r"Bandit: rewards must be \[K\] or \[contexts, K\], got shape \[0\]",
    ),
    "an empty batch": (
        lambda: Bandit(P, batch_size=0),
        ValueError,
        "Bandit: batch_size must be at least 1, got 0",
    ),
    "half a batch": (
        lambda: chain(4, batch_size=2.5),  # type: ignore[arg-type]
        TypeError,
        "TabularMDP: batch_size must be a whole number, got 2.5",
    ),
    "an arm that does not exist": (
        lambda: act(BANDIT, torch.tensor([0, 1, 2, 0])),
        ValueError,
        r"Bandit.step: actions must lie in 0..1, got 2; does the policy fit this world\?",
    ),
    "a negative arm": (
        lambda: act(BANDIT, torch.tensor([0, 1, -1, 0])),
        ValueError,
        "Bandit.step: actions must lie in 0..1, got -1",
    ),
    "half an action": (
        lambda: act(chain(4, batch_size=1), torch.tensor([0.5])),
        TypeError,
        "TabularMDP.step: actions must be whole numbers, got torch.float32",
    ),
    "a policy with too many arms": (
        lambda: rollout(diverse(5), BANDIT, generator=seeded()),
        ValueError,
        "Bandit.step: actions must lie in 0..1, got .; does the policy fit this world",
    ),
    "a table that does not sum to one": (
        lambda: table(torch.ones(2, 1, 2)),
        ValueError,
        r"TabularMDP: every transitions\[s, a\] must be a distribution",
    ),
    "a table of the wrong shape": (
        lambda: table(torch.ones(2, 1, 3)),
        ValueError,
        r"TabularMDP: transitions must have shape \[2, 1, 2\], got \[2, 1, 3\]",
    ),
    "a start that does not exist": (
        lambda: TabularMDP(torch.ones(1, 1, 1), torch.zeros(1, 1), start=1),
        ValueError,
        "TabularMDP: start and terminal states must lie in",
    ),
    "a time limit of zero": (
        lambda: chain(4, time_limit=0),
        ValueError,
        "TabularMDP: time_limit must be at least 1, got 0",
    ),
    "a chain of two": (lambda: chain(2), ValueError, "chain: length must be at least 3, got 2"),
    "a ragged map": (lambda: gridworld("S.\n."), ValueError, "gridworld: the map must be a rectangle"),
    "a map without a start": (lambda: gridworld("..+"), ValueError, "exactly one S"),
    "an unknown sign": (lambda: gridworld("S.x"), ValueError, "gridworld: the map must be a rectangle of S"),
    "an unknown environment": (
        lambda: GymEnv("CartPoal-v1"),
        ValueError,
        "GymEnv: Gymnasium knows no environment 'CartPoal-v1'",
    ),
    "a number as environment": (
        lambda: GymEnv(3),  # type: ignore[arg-type]
        ValueError,
        "GymEnv: Gymnasium knows no environment 3",
    ),
    "an environment from a missing package": (
        lambda: GymEnv("no_such_package:World-v0"),
        ImportError,
        "GymEnv: no_such_package:World-v0 needs a package that is missing",
    ),
    "a reset without a column of its own": (
        lambda: GymEnv("FrozenLake-v1", options={"vector_kwargs": {"autoreset_mode": "SameStep"}}),
        ValueError,
        "GymEnv: FrozenLake-v1 must reset on the next step, not with autoreset_mode SAME_STEP",
    ),
    "endless noise": (
        lambda: Bandit(P, noise=INF),
        ValueError,
        r"Bandit: noise must lie in \[0, inf\), got inf",
    ),
    "options that do not exist": (
        lambda: GymEnv("CartPole-v1", options={"gravitas": 1}),
        ValueError,
        "GymEnv: CartPole-v1 does not take the options",
    ),
    "an unsupported space": (
        lambda: GymEnv("Blackjack-v1"),
        ValueError,
        "Blackjack-v1 has a Tuple observation space, only Discrete and Box are supported",
    ),
    "continuous actions of the wrong length": (
        lambda: act(GymEnv("Pendulum-v1", batch_size=2), torch.zeros(2, 3)),
        ValueError,
        r"GymEnv.step: actions must have shape \[2, 1\], got \[2, 3\]",
    ),
    "a discrete action out of range": (
        lambda: act(GymEnv("CartPole-v1", batch_size=2), torch.tensor([0, 2])),
        ValueError,
        "GymEnv.step: actions must lie in 0..1, got 2",
    ),
    "another environment's state": (
        lambda: GymEnv("Acrobot-v1", batch_size=2).load_state(GymEnv("CartPole-v1", batch_size=2).state()),
        ValueError,
        "GymEnv: the state of 2 x CartPole-v1 does not fit 2 x Acrobot-v1",
    ),
    "another batch's state": (
        lambda: chain(4, batch_size=2).load_state(chain(4, batch_size=3).state()),
        ValueError,
        r"TabularMDP.load_state: states must have shape \[2\], got \[3\]",
    ),
    "a text world to check_policy's sister": (
        lambda: enumerate_actions(random_policy("gpt2"), text(), generator=seeded()),
        TypeError,
        "enumerate_actions: TextEnv cannot list its choices",
    ),
    "no steps in a world that goes on": (
        lambda: rollout(TabularPolicy(5, 2), chain(5), generator=seeded()),
        ValueError,
        "rollout: this world goes on by itself, say how many steps",
    ),
    "a rollout of zero steps": (
        lambda: rollout(TabularPolicy(1, 2), BANDIT, steps=0, generator=seeded()),
        ValueError,
        "rollout: steps must be at least 1, got 0",
    ),
    "a rollout that would cut rows that finish": (
        lambda: rollout(
            random_policy("gpt2", vocab_size=3), text(max_new_tokens=9), steps=8, generator=seeded()
        ),
        ValueError,
        "rollout: this world's rows finish by themselves within 9 steps and are not cut; leave out steps=8",
    ),
    "an enumeration of zero steps": (
        lambda: enumerate_actions(TabularPolicy(1, 2), BANDIT, steps=0, generator=seeded()),
        ValueError,
        "enumerate_actions: steps must be at least 1, got 0",
    ),
    "a seed for a generator": (
        lambda: rollout(TabularPolicy(1, 2), BANDIT, generator=0),  # type: ignore[arg-type]
        TypeError,
        "rollout: generator must be a Generator, got 0",
    ),
    "a rollout of half a step": (
        lambda: rollout(TabularPolicy(5, 2), chain(5), steps=0.5, generator=seeded()),  # type: ignore[arg-type]
        TypeError,
        "rollout: steps must be a whole number, got 0.5",
    ),
    "a world that pays NaN": (
        lambda: rollout(TabularPolicy(1, 2), spoilt(NAN), generator=seeded()),
        ValueError,
        r"rollout: rewards must be finite, got nan at \[0, 0\]",
    ),
    "a world that pays infinity": (
        lambda: check_env(spoilt(INF)),
        ValueError,
        "check_env: rewards must be finite, got inf",
    ),
}

TEXT: dict[str, Case] = {
    "no prompts": (lambda: text(prompts=[]), ValueError, "TextEnv: needs at least one prompt, got none"),
    "one string as prompts": (lambda: text(prompts="ab"), TypeError, "prompts must be a list of strings"),
    "numbers as prompts": (lambda: text(prompts=[1, 2]), TypeError, "prompts must be a list of strings"),
    "an empty prompt": (
        lambda: text(prompts=["a", ""]),
        ValueError,
        r"every prompt needs at least one token, got none in rows \[1\]",
    ),
    "padding nothing": (lambda: pad_left([]), ValueError, "every prompt needs at least one token"),
    "a tokenizer without EOS": (
        lambda: TextEnv(["a"], SimpleNamespace(eos_token_id=None), zero),  # type: ignore[arg-type]
        ValueError,
        "TextEnv: the tokenizer has no EOS token, so no response could ever end",
    ),
    "a character that is no token": (
        lambda: text(prompts=["xyz"]),
        ValueError,
        r"CharTokenizer: \['x', 'y', 'z'\] not in the alphabet 'ab.'",
    ),
    "an alphabet with a repeated letter": (lambda: CharTokenizer("aa"), ValueError, "distinct characters"),
    "a vocabulary beyond the alphabet": (
        lambda: write(text(max_new_tokens=20), random_policy("gpt2", vocab_size=9)),
        ValueError,
        r"CharTokenizer: tokens must lie in 0..2, got .*vocabulary larger than the alphabet\?",
    ),
    "no scorer": (lambda: text(scorer=None), ValueError, "give exactly one of scorer and token_scorer"),
    "a scorer that is no function": (lambda: text(scorer=1.0), TypeError, "scorer must be a function"),
    "a scorer that returns NaN": (
        lambda: write(text(scorer=lambda p, r: [NAN] * len(p))),
        ValueError,
        "TextEnv: scores must be finite, got nan for '",
    ),
    "a scorer that returns too few": (
        lambda: write(text(scorer=lambda p, r: [0.0])),
        ValueError,
        r"TextEnv: the scorer's answer must have shape \[4\], got \[1\]",
    ),
    "a scorer that returns one number": (
        lambda: write(text(scorer=lambda p, r: 0.0)),
        ValueError,
        r"TextEnv: the scorer's answer must have shape \[4\], got \[\]",
    ),
    "a scorer that returns a column": (
        lambda: write(text(scorer=lambda p, r: torch.zeros(4, 1))),
        ValueError,
        r"the scorer's answer must have shape \[4\], got \[4, 1\]",
    ),
    "a scorer that returns nothing": (
        lambda: write(text(scorer=lambda p, r: None)),
        TypeError,
        "TextEnv: the scorer must return one number per response, got NoneType None",
    ),
    "a scorer that returns words": (
        lambda: write(text(scorer=lambda p, r: ["good"] * 4)),
        TypeError,
        "TextEnv: the scorer must return one number per response, got list",
    ),
    "a scorer that raises": (
        lambda: write(text(scorer=lambda p, r: [1 / 0])),
        ZeroDivisionError,
        "division by zero",  # the scorer's own error, untouched
    ),
    "groups that do not fit the batch": (
        lambda: text(batch_size=4, group_size=3),
        ValueError,
        "TextEnv: batch_size 4 must be a multiple of group_size 3",
    ),
    "no room to write": (
        lambda: text(max_new_tokens=0),
        ValueError,
        "TextEnv: max_new_tokens must be at least 1, got 0",
    ),
    "a reward for silence": (
        lambda: text(missing_eos_penalty=-1.0),
        ValueError,
        "TextEnv: missing_eos_penalty must lie in",
    ),
    "a prompt longer than the context": (
        lambda: write(text(prompts=["a" * 9]), random_policy("gpt2", vocab_size=3, context=8)),
        ValueError,
        "prompt and response together have 10 tokens, more than the model's context of 8",
    ),
    "a response that outgrows the context": (
        lambda: write(text(prompts=["a" * 7], batch_size=16), random_policy("gpt2", vocab_size=3, context=8)),
        ValueError,
        "more than the model's context of 8",
    ),
    "a prompt beyond the vocabulary": (
        lambda: random_policy("gpt2", vocab_size=3).initial_state(Prompt(torch.tensor([[7]]), YES[:, :1])),
        ValueError,
        r"prompt tokens must lie in 0..2, got 7",
    ),
}

POLICIES: dict[str, Case] = {
    "a reference that is no distribution": (
        lambda: TabularPolicy(1, 2, ref=torch.tensor([0.0, 1.0])),
        ValueError,
        "TabularPolicy: ref must be positive probabilities",
    ),
    "a reference of another size": (
        lambda: TabularPolicy(1, 3, ref=P),
        ValueError,
        r"TabularPolicy: ref must be \[3\] or \[1, 3\], got \[2\]",
    ),
    "no states": (lambda: TabularPolicy(0, 2), ValueError, "TabularPolicy: n_states must be at least 1"),
    "half a state": (
        lambda: TabularPolicy(1.5, 2),  # type: ignore[arg-type]
        TypeError,
        "TabularPolicy: n_states must be a whole number, got 1.5",
    ),
    "a number as action space": (
        lambda: MLPPolicy(4, 2),  # type: ignore[arg-type]
        TypeError,
        "MLPPolicy: action_space must be Discrete or Box, got int",
    ),
    "no observations": (lambda: MLPCritic(0), ValueError, "MLPCritic: obs_size must be at least 1, got 0"),
    "a ready-made policy for text": (
        lambda: for_env(text()),
        ValueError,
        "for_env: no ready-made policy .* a text world takes a language model",
    ),
    "a table that has diverged": (
        lambda: rollout(diverged(TabularPolicy(1, 2)), BANDIT, generator=seeded()),
        ValueError,
        "the policy's logits are not finite: its weights have diverged",
    ),
    "a network that has diverged": (
        lambda: rollout(
            diverged(MLPPolicy(4, Discrete(2))), GymEnv("CartPole-v1"), steps=2, generator=seeded()
        ),
        ValueError,
        "the policy's logits are not finite",
    ),
    "a language model that has diverged": (
        lambda: write(text(), diverged(random_policy("gpt2", vocab_size=3))),
        ValueError,
        "CausalLMPolicy: the model's probabilities are not finite; its weights have diverged",
    ),
    "a generator on another device": (
        lambda: TabularPolicy(1, 2).to("meta").step(torch.zeros(3).long(), None, seeded()),
        ValueError,
        "the generator lives on cpu, the policy on meta",
    ),
    "temperature of zero": (
        lambda: random_policy("gpt2", temperature=0.0),
        ValueError,
        r"CausalLMPolicy: temperature must lie in \(0, inf\)",
    ),
    "an unknown architecture": (
        lambda: random_policy("gpt5"),
        ValueError,
        "random_policy: architecture must be one of 'gpt2', 'gpt_neox', 'llama', got 'gpt5'",
    ),
    "a path that is not there": (
        lambda: load_policy("./no/such/folder"),
        FileNotFoundError,
        "load_policy: there is no folder './no/such/folder'",
    ),
    "a device that is not there": (
        lambda: load_policy("reviews", device="cuda:99"),
        ValueError,
        "load_policy: device 'cuda:99' is not available on this machine",
    ),
    "left padding on the right": (
        lambda: random_policy("gpt2", vocab_size=3).initial_state(
            Prompt(torch.zeros(1, 2).long(), torch.tensor([[True, False]]))
        ),
        ValueError,
        "prompts must be padded on the left",
    ),
}

TRAINING: dict[str, Case] = {
    "clip of one in the settings": (
        lambda: PPOConfig(clip=1.0),
        ValueError,
        r"PPOConfig: clip must lie in \[0, 1\)",
    ),
    "negative beta": (lambda: PPOConfig(beta=-0.1), ValueError, "PPOConfig: beta must lie in"),
    "beta is NaN": (lambda: PPOConfig(beta=NAN), ValueError, "PPOConfig: beta must lie in .*, got nan"),
    "beta is a word": (
        lambda: PPOConfig(beta="small"),  # type: ignore[arg-type]
        TypeError,
        "PPOConfig: beta must be a number, got 'small'",
    ),
    "half an epoch": (
        lambda: PPOConfig(epochs=0.5),  # type: ignore[arg-type]
        TypeError,
        "PPOConfig: epochs must be a whole number, got 0.5",
    ),
    "endless updates": (
        lambda: PPOConfig(updates=INF),  # type: ignore[arg-type]
        TypeError,
        "PPOConfig: updates must be a whole number, got inf",
    ),
    "no minibatch": (lambda: PPOConfig(minibatches=0), ValueError, "minibatches must be at least 1, got 0"),
    "steps of zero": (lambda: PPOConfig(steps=0), ValueError, "PPOConfig: steps must be at least 1, got 0"),
    "no limit to the gradient": (
        lambda: PPOConfig(max_grad_norm=None),  # type: ignore[arg-type]
        TypeError,
        "PPOConfig: max_grad_norm must be a number, got None",
    ),
    "gamma above one": (lambda: PPOConfig(gamma=1.01), ValueError, r"gamma must lie in \[0, 1\], got 1.01"),
    "a negative learning rate": (
        lambda: PPOConfig(learning_rate=-1),
        ValueError,
        "learning_rate must lie in",
    ),
    "an infinite learning rate": (lambda: PPOConfig(learning_rate=INF), ValueError, "learning_rate must lie"),
    "an unknown advantage": (
        lambda: PPOConfig(advantage="rloo"),
        ValueError,
        "advantage must be one of 'gae', 'returns', 'leave_one_out', 'group', got 'rloo'",
    ),
    "an unknown placement": (
        lambda: PPOConfig(kl_placement="loss"),
        ValueError,
        "kl_placement must be one of 'reward', 'k1_loss', 'k2_loss', 'k3_loss', got 'loss'",
    ),
    "an unknown precision": (lambda: PPOConfig(precision="int8"), ValueError, "precision must be one of"),
    "gae without a critic": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT)),
        ValueError,
        "ppo: advantage='gae' needs a critic",
    ),
    "a2c without a critic": (
        lambda: first(a2c(TabularPolicy(1, 2), BANDIT, critic=None)),  # type: ignore[arg-type]
        ValueError,
        "advantage='gae' needs a critic",
    ),
    "beta without a reference": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, PPOConfig(advantage="returns", beta=0.1))),
        ValueError,
        "ppo: beta and kl_target price the distance to a reference",
    ),
    "a target that cannot be steered to": (
        lambda: first(
            ppo(
                TabularPolicy(1, 2),
                BANDIT,
                PPOConfig(advantage="returns", kl_target=0.1),
                reference=TabularPolicy(1, 2),
            )
        ),
        ValueError,
        "ppo: kl_target multiplies beta up and down, so beta must start above 0",
    ),
    "the policy as its own reference": (
        lambda: own_reference(),
        ValueError,
        r"ppo: the reference is the policy itself and would follow it; pass frozen_copy\(policy\)",
    ),
    "a frozen policy": (
        lambda: first(ppo(frozen_copy(TabularPolicy(1, 2)), BANDIT, RETURNS)),
        ValueError,
        "ppo: the policy has no parameter that trains; was it made by frozen_copy",
    ),
    "policy and world swapped": (
        lambda: first(ppo(BANDIT, TabularPolicy(1, 2), RETURNS)),  # type: ignore[arg-type]
        TypeError,
        "ppo: policy must have stateful, initial_state, step, evaluate, got Bandit",
    ),
    "no world": (
        lambda: first(reinforce(TabularPolicy(1, 2), None)),  # type: ignore[arg-type]
        TypeError,
        "reinforce: env must have begin, step, stack, horizon, got NoneType",
    ),
    "a policy as critic": (
        lambda: first(trpo(TabularPolicy(1, 2), BANDIT, critic=TabularPolicy(1, 2))),  # type: ignore[arg-type]
        TypeError,
        "trpo: critic must have value, got TabularPolicy",
    ),
    "groups that are not there": (
        lambda: first(
            ppo(random_policy("gpt2", vocab_size=3), text(), PPOConfig(advantage="group", updates=1))
        ),
        ValueError,
        "advantage='group' needs groups: 4 rows, group_size 1",
    ),
    "groups of enumerated actions": (
        lambda: first(
            ppo(
                TabularPolicy(1, 2),
                BANDIT,
                PPOConfig(advantage="group", whiten_advantages=False, minibatches=1),
                collect=enumerate_actions,
            )
        ),
        ValueError,
        "ppo: enumerated actions are weighted; set minibatches=1, no whitening, no groups",
    ),
    "a reference of another temperature": (
        lambda: first(
            ppo(
                random_policy("gpt2", vocab_size=3),
                text(),
                PPOConfig(advantage="returns", beta=0.1),
                reference=random_policy("gpt2", vocab_size=3, temperature=0.5),
            )
        ),
        ValueError,
        "ppo: policy and reference must have one temperature, got 1.0 and 0.5",
    ),
    "an unknown denominator in the settings": (
        lambda: PPOConfig(reduce="row"),
        TypeError,
        "PPOConfig: reduce, if not 'token' or 'sequence', must be a number, got 'row'",
    ),
    "a table for another world": (
        lambda: first(ppo(TabularPolicy(1, 2), Bandit(torch.eye(2), batch_size=32), RETURNS)),
        ValueError,
        r"TabularPolicy: observations must be state numbers in 0..0, got torch.int64 up to 1",
    ),
    "a network for another world": (
        lambda: first(
            ppo(MLPPolicy(3, Discrete(2)), GymEnv("CartPole-v1"), PPOConfig(advantage="returns", steps=2))
        ),
        ValueError,
        r"MLPPolicy: observations must be vectors of 3 real numbers, got shape \[8, 4\]",
    ),
    "a critic for another world": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, critic=MLPCritic(3))),
        ValueError,
        r"MLPCritic: observations must be vectors of 3 real numbers, got shape .* of torch.int64",
    ),
    "whitening what is weighted": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, RETURNS, collect=enumerate_actions)),
        ValueError,
        "ppo: enumerated actions are weighted; set minibatches=1, no whitening, no groups",
    ),
    "no steps for a world that goes on": (
        lambda: first(ppo(TabularPolicy(5, 2), chain(5), RETURNS)),
        ValueError,
        "rollout: this world goes on by itself",
    ),
    "reinforce with an unknown baseline": (
        lambda: ReinforceConfig(baseline="critic"),
        ValueError,
        "ReinforceConfig: baseline must be one of 'none', 'mean', 'leave_one_out', got 'critic'",
    ),
    "reinforce with half an update": (
        lambda: ReinforceConfig(updates=1.5),  # type: ignore[arg-type]
        TypeError,
        "ReinforceConfig: updates must be a whole number",
    ),
    "a2c with lambda above one": (
        lambda: A2CConfig(lam=2),
        ValueError,
        r"A2CConfig: lam must lie in \[0, 1\]",
    ),
    "a trust region of zero": (
        lambda: TRPOConfig(max_kl=0),
        ValueError,
        r"TRPOConfig: max_kl must lie in \(0",
    ),
    "trpo with a negative step": (
        lambda: TRPOConfig(value_learning_rate=-1.0),
        ValueError,
        "TRPOConfig: value_learning_rate must lie in",
    ),
    "a2c with a dictionary of settings": (
        lambda: first(a2c(TabularPolicy(1, 2), BANDIT, {"updates": 3}, critic=TabularCritic(1))),  # type: ignore[arg-type]
        TypeError,
        "a2c: config must be an A2CConfig, got {'updates': 3}",
    ),
    "a2c with the class of settings": (
        lambda: first(a2c(TabularPolicy(1, 2), BANDIT, A2CConfig, critic=TabularCritic(1))),  # type: ignore[arg-type]
        TypeError,
        "a2c: config must be an A2CConfig, got the class A2CConfig",
    ),
    "a2c with a seed for a generator": (
        lambda: first(a2c(TabularPolicy(1, 2), BANDIT, generator=0, critic=TabularCritic(1))),  # type: ignore[arg-type]
        TypeError,
        "a2c: generator must be a Generator or None, got 0",
    ),
    "reinforce with a dictionary of settings": (
        lambda: first(reinforce(TabularPolicy(1, 2), BANDIT, {"updates": 3})),  # type: ignore[arg-type]
        TypeError,
        "reinforce: config must be a ReinforceConfig, got {'updates': 3}",
    ),
    "reinforce with the class of settings": (
        lambda: first(reinforce(TabularPolicy(1, 2), BANDIT, ReinforceConfig)),  # type: ignore[arg-type]
        TypeError,
        "reinforce: config must be a ReinforceConfig, got the class ReinforceConfig",
    ),
    "reinforce with a seed for a generator": (
        lambda: first(reinforce(TabularPolicy(1, 2), BANDIT, generator=0)),  # type: ignore[arg-type]
        TypeError,
        "reinforce: generator must be a Generator or None, got 0",
    ),
    "ppo with a dictionary of settings": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, {"updates": 3})),  # type: ignore[arg-type]
        TypeError,
        "ppo: config must be a PPOConfig, got {'updates': 3}",
    ),
    "ppo with the class of settings": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, PPOConfig)),  # type: ignore[arg-type]
        TypeError,
        "ppo: config must be a PPOConfig, got the class PPOConfig",
    ),
    "ppo with a seed for a generator": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, generator=0)),  # type: ignore[arg-type]
        TypeError,
        "ppo: generator must be a Generator or None, got 0",
    ),
    "ppo told to imitate nothing": (
        lambda: first(ppo(TabularPolicy(1, 2), BANDIT, PPOConfig(advantage="returns", pretrain_coef=1.0))),
        ValueError,
        "ppo: pretrain and pretrain_coef go together",
    ),
    "trpo with a dictionary of settings": (
        lambda: first(trpo(TabularPolicy(1, 2), BANDIT, {"updates": 3})),  # type: ignore[arg-type]
        TypeError,
        "trpo: config must be a TRPOConfig, got {'updates': 3}",
    ),
    "trpo with the class of settings": (
        lambda: first(trpo(TabularPolicy(1, 2), BANDIT, TRPOConfig)),  # type: ignore[arg-type]
        TypeError,
        "trpo: config must be a TRPOConfig, got the class TRPOConfig",
    ),
    "trpo with a seed for a generator": (
        lambda: first(trpo(TabularPolicy(1, 2), BANDIT, generator=0)),  # type: ignore[arg-type]
        TypeError,
        "trpo: generator must be a Generator or None, got 0",
    ),
    "trpo with half a backtrack": (
        lambda: TRPOConfig(backtracks=0.5),  # type: ignore[arg-type]
        TypeError,
        "TRPOConfig: backtracks must be a whole number",
    ),
}


def diverse(n: int) -> TabularPolicy:
    return TabularPolicy(1, n, ref=torch.tensor([0.01, 0.01] + [0.98 / (n - 2)] * (n - 2)))


def spoilt(value: float) -> Bandit:
    bandit = Bandit(P, batch_size=4)
    bandit.rewards = torch.full_like(bandit.rewards, value)
    return bandit


def own_reference() -> Any:
    policy = TabularPolicy(1, 2)
    return first(ppo(policy, BANDIT, PPOConfig(advantage="returns", beta=0.1), reference=policy))


CASES = {
    f"{room}: {name}": case
    for room, cases in {
        "arithmetic": ARITHMETIC,
        "truths": TRUTHS,
        "worlds": WORLDS,
        "text": TEXT,
        "policies": POLICIES,
        "training": TRAINING,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_sentence(name: str) -> None:
    call, kind, sentence = CASES[name]
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert caught.type is kind  # no subclass, no error of a library
    assert "\n" not in str(caught.value).strip()
    assert caught.value.__cause__ is None and (
        caught.value.__suppress_context__ or not caught.value.__context__
    )


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 60


def test_a_checkpoint_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no config.json, so it is no saved model"):
        load_policy(tmp_path)


def test_temperature_belongs_to_the_policy() -> None:
    with pytest.raises(TypeError, match="temperature must be a number, got 'hot'"):
        CausalLMPolicy(random_policy("gpt2").model, temperature="hot")  # type: ignore[arg-type]
