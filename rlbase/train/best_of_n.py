"""Choosing among draws: best-of-n, rejection sampling, and fine-tuning on what was chosen.

Two methods share a name. In *statistical* rejection sampling (Liu et al. 2024, RSO) a draw is accepted with
probability exp((r - max r) / beta), and what is accepted follows the KL-regularised optimum exactly. What Llama 2 calls
rejection sampling keeps the best of K draws and imitates it (Touvron et al. 2023, section 3.2.3): another law, with no
beta. Left out: Llama 2 also imitates the best samples of earlier rounds, which it found to lose less.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.masked import masked_sum
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.types import Choices, Env, Policy
from rlbase.validate import finite, in_range, instance, whole

INFINITY = float("inf")


class Draws(NamedTuple):
    """Responses that were kept, ``[K]``, out of ``n`` drawn for each of ``P`` prompts.

    ``choices`` holds the kept ones as `Choices` of ``K`` rows; ``prompts`` and ``responses`` are their texts (empty
    lists in worlds without text); ``kept`` says which of the draws they are and ``scores`` what all were paid, both
    ``[P, n]``; ``env_steps`` counts the choices of all draws.
    """

    choices: Choices
    prompts: list[str]
    responses: list[str]
    kept: Tensor
    scores: Tensor
    env_steps: int


def best_of_n(policy: Policy, env: Env, n: int, *, generator: torch.Generator) -> Draws:
    r"""Draw ``n`` responses to each prompt of a batch and keep the best, $\arg\max_{y_1..y_n\sim\pi}r(y)$.

    Stiennon et al. (2020). No training, ``n`` times the sampling. Its law and its KL are in `rlbase.exact.best_of_n`;
    of equal scores the first is kept, which is fair since draws come in no order. The world draws as many prompts as
    it has groups, or rows where it has no groups.

    Raises:
        ValueError: ``n`` is below 1, or the world cannot repeat a prompt.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=1000)
    >>> found = best_of_n(TabularPolicy(1, 2), bandit, 3, generator=torch.Generator().manual_seed(0))
    >>> found.scores.shape, found.choices.actions.double().mean().item()  # 1 - 1 / 2 ** 3 = .875
    (torch.Size([1000, 3]), 0.863)
    """
    return _draw(policy, grouped("best_of_n", env, n), generator)


def rejection_sampling(
    policy: Policy,
    env: Env,
    n: int,
    *,
    beta: float,
    generator: torch.Generator,
    max_reward: float | None = None,
) -> Draws:
    r"""Draw ``n`` responses to each prompt and accept each with probability $e^{(r-M)/\beta}$.

    Liu et al. (2024), algorithm 1. With $M$ the largest reward there is, what is accepted follows
    `rlbase.exact.kl_optimum` with ``policy`` as reference, exactly. Without ``max_reward``, $M$ is the largest among a
    prompt's own draws, and too much is accepted (`rlbase.exact.rejection_law`). Rewards above a ``max_reward`` that is
    too small count as no more than it. The paper goes over its candidates until enough are accepted; here each draw
    is judged once.

    Raises:
        ValueError: ``n`` is below 1, ``beta`` is not positive, or the world cannot repeat a prompt.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> bandit, generator = Bandit(torch.tensor([0.0, 1.0]), batch_size=1000), torch.Generator().manual_seed(0)
    >>> found = rejection_sampling(TabularPolicy(1, 2), bandit, 4, beta=1.0, max_reward=1.0, generator=generator)
    >>> round(found.choices.actions.double().mean().item(), 2)  # e / (1 + e) = .731
    0.73
    """
    in_range("rejection_sampling", "beta", beta, 0, INFINITY, open_low=True)
    return _draw(policy, grouped("rejection_sampling", env, n), generator, beta, max_reward)


def accept(
    scores: Float[Tensor, "P n"],
    *,
    beta: float,
    generator: torch.Generator,
    max_reward: Tensor | float | None = None,
) -> Bool[Tensor, "P n"]:
    r"""Which draws rejection sampling keeps: each with probability $\min(1, e^{(r-M)/\beta})$.

    ``max_reward`` is $M$: a number, a tensor that broadcasts (``scores.cummax(1).values`` is the largest *so far*), or
    None for the largest of each row.

    Raises:
        ValueError: a score is not finite, or ``beta`` is not positive.

    >>> generator = torch.Generator().manual_seed(0)
    >>> accept(torch.tensor([[0.0, 5.0]]), beta=0.1, generator=generator)
    tensor([[False,  True]])
    """
    finite("accept", scores=scores)
    in_range("accept", "beta", beta, 0, INFINITY, open_low=True)
    largest = scores.max(1, keepdim=True).values if max_reward is None else max_reward
    uniform = torch.rand(scores.shape, generator=generator, device=scores.device, dtype=scores.dtype)
    return uniform < ((scores - largest) / beta).exp()


def _draw(
    policy: Policy,
    world: Any,
    generator: torch.Generator,
    beta: float | None = None,
    max_reward: float | None = None,
) -> Draws:
    rolled = rollout(policy, world, generator=generator)
    scores = masked_sum(rolled.rewards, rolled.mask).view(-1, world.group_size)
    if beta is None:
        kept = torch.arange(world.group_size, device=scores.device) == scores.argmax(1, keepdim=True)
    else:
        kept = accept(scores, beta=beta, generator=generator, max_reward=max_reward)
    rows = kept.flatten().nonzero()[:, 0]
    texts = [getattr(world, name, []) for name in ("prompts_used", "responses")]
    prompts, responses = ([text[i] for i in rows.tolist()] if text else [] for text in texts)
    choices = Choices(rolled.obs, rolled.actions, rolled.mask)[rows]
    return Draws(choices.trimmed(), prompts, responses, kept, scores, int(rolled.mask.sum()))


def grouped(where: str, env: Env, n: int) -> Any:
    """The same world with ``n`` rows to each of its prompts, and a memory of its own for returns.

    >>> from rlbase.envs import Bandit
    >>> grouped("best_of_n", Bandit(torch.zeros(2), batch_size=3), 4).batch_size
    12
    """
    whole(where, "n", n, 1)
    if not hasattr(env, "group_size") or env.horizon is None:
        raise ValueError(f"{where}: {type(env).__name__} cannot begin several rows alike, as a TextEnv can.")
    world: Any = copy.copy(env)
    world.batch_size, world.group_size = env.batch_size // (world.group_size or 1) * n, n
    world.returns = deque(maxlen=env.returns.maxlen)
    return world


@dataclass(frozen=True)
class RejectionConfig:
    """Settings of `rejection_finetune`."""

    updates: int = 10
    """Rounds of drawing, choosing and imitating."""
    samples: int = 8
    """Draws for each prompt."""
    beta: float | None = None
    """None imitates the best draw (Llama 2); a price accepts each with probability exp((r - max r) / beta) (RSO)."""
    max_reward: float | None = None
    """The largest reward there is, where it is known; only with ``beta``."""
    epochs: int = 1
    """Passes over what was chosen."""
    minibatches: int = 1
    """Parts of each pass; one gradient step each."""
    learning_rate: float = 1e-4
    """Adam's step size."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        for name in ("updates", "samples", "epochs", "minibatches", "checkpoint_every"):
            whole("RejectionConfig", name, getattr(self, name), 1)
        in_range("RejectionConfig", "learning_rate", self.learning_rate, 0, INFINITY, open_high=True)
        in_range("RejectionConfig", "max_grad_norm", self.max_grad_norm, 0, INFINITY, open_low=True)
        beta = 1.0 if self.beta is None else self.beta
        in_range("RejectionConfig", "beta", beta, 0, INFINITY, open_low=True)
        if self.max_reward is not None and self.beta is None:
            raise ValueError(
                "RejectionConfig: max_reward is what rejection with a beta measures from; give both."
            )


def rejection_finetune(
    policy: Policy,
    env: Env,
    config: RejectionConfig = RejectionConfig(),
    *,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Imitate one's own best draws, round after round: $\max_\theta E[\log\pi_\theta(y_{best})]$; one record a round.

    Touvron et al. (2023), section 3.2.3. If each round is imitated perfectly, the policy after k rounds of best of n is
    the best of $n^k$ draws of the policy at the start; with ``beta`` and ``max_reward`` it is $ref\,e^{kr/\beta}/Z$.
    Records: ``update``, ``env_steps`` (choices drawn), ``reward_mean`` (of all draws), ``kept_reward_mean``, ``kept``
    (their share), ``loss`` (nats a choice), ``grad_norm``; NaN in a round that accepts nothing. With ``checkpoint``,
    called again alike, it goes on from there bit for bit.

    Raises:
        ValueError: a world that cannot repeat a prompt, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0]))
    >>> records = list(rejection_finetune(policy, bandit, RejectionConfig(samples=2, learning_rate=0.2)))
    >>> bool(policy.probs()[0, 1] > 0.8), records[-1]["kept"]
    (True, 0.5)
    """
    instance("rejection_finetune", "config", config, RejectionConfig)
    instance("rejection_finetune", "generator", generator, torch.Generator, optional=True)
    common.check_parts("rejection_finetune", policy, env)
    world = grouped("rejection_finetune", env, config.samples)
    parameters = common.parameters_of(policy)
    generator = common.new_generator(parameters) if generator is None else generator
    optimizer = common.adam(parameters, config.learning_rate)
    saved = Checkpoint(checkpoint, (policy, optimizer, world, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0})
    while counters["update"] < config.updates:
        drawn = _draw(policy, world, generator, config.beta, config.max_reward)
        where, steps = f"rejection_finetune, update {counters['update']}", []
        for _ in range(config.epochs):
            order = torch.randperm(len(drawn.choices), generator=generator, device=generator.device)
            for rows in filter(len, order.tensor_split(config.minibatches)):
                loss = common.imitation_loss(policy, drawn.choices[rows], None, generator)
                norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
                steps.append({"loss": loss, "grad_norm": norm})
        counters["update"] += 1
        counters["env_steps"] += drawn.env_steps
        record = {
            **counters,
            "reward_mean": drawn.scores.mean().item(),
            "kept_reward_mean": drawn.scores[drawn.kept].mean().item(),
            "kept": drawn.kept.double().mean().item(),
            **{"loss": math.nan, "grad_norm": math.nan, **common.averages(steps)},
        }
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == config.updates:
            saved.save(counters)
        yield record
