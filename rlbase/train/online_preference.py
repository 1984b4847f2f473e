"""Online preference optimisation: draw two responses to each prompt, have them compared, learn, draw again.

Read `online_preference` top to bottom. The world's reward is what the rater knows and the policy is never told; the
loss is any that `rlbase.train.preference` takes. Left out on purpose: an optimiser that forgets between rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rlbase.feedback.raters import Rater
from rlbase.masked import masked_sum
from rlbase.policies import frozen_copy
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.best_of_n import grouped
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.preference_terms import OF_PAIRS, Loss, described, needs, terms
from rlbase.types import Choices, Env, Policy, PreferencePairs
from rlbase.validate import in_range, instance, one_of, whole

INFINITY = float("inf")
CAREFUL = Rater()  # follows Bradley and Terry, with no error


@dataclass(frozen=True)
class OnlineConfig:
    """Settings of `online_preference`; those of the loss are bound to the loss."""

    updates: int = 10
    """Rounds of drawing, comparing and learning."""
    epochs: int = 1
    """Passes over the comparisons of a round."""
    minibatches: int = 1
    """Parts of each pass; one gradient step each."""
    refresh: bool = False
    """Begin each round with the policy itself as the reference, instead of keeping one for the whole run."""
    soft: bool = False
    """Learn from the rater's probabilities instead of answers drawn from them."""
    learning_rate: float = 1e-4
    """Adam's step size."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    average: bool = False
    """Divide every log-probability that a loss calls ``logp`` by the response's length."""
    likelihood: float = 0.0
    """Weight of the chosen response's surprise per token, added to the loss."""
    precision: str = "float32"
    """``bfloat16`` runs forwards under autocast."""
    checkpoint_every: int = 1
    """Rounds between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        for name in ("updates", "epochs", "minibatches", "checkpoint_every"):
            whole("OnlineConfig", name, getattr(self, name), 1)
        for name in ("learning_rate", "likelihood"):
            in_range("OnlineConfig", name, getattr(self, name), 0, INFINITY, open_high=True)
        one_of("OnlineConfig", "precision", self.precision, ("float32", "bfloat16"))
        in_range("OnlineConfig", "max_grad_norm", self.max_grad_norm, 0, INFINITY, open_low=True)


def online_preference(
    policy: Policy,
    env: Env,
    loss: Loss,
    config: OnlineConfig = OnlineConfig(),
    *,
    rater: Rater = CAREFUL,
    reference: Policy | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Learn from comparisons of the policy's own responses, round after round; one record a round.

    Guo et al. (2024) for DPO. With one reference for the whole run, and every response within reach, the optimum of DPO
    is the offline one, $\pi_{ref}e^{r/\beta}/Z$, whatever the policy drew on its way: what changes is which comparisons
    the labels are spent on. With ``refresh``, k rounds each learned to the end arrive at $\pi_{ref}e^{kr/\beta}/Z$, as
    if the price had been $\beta/k$. A response that no data set contains can be found, and ranked, only here.

    ``env`` is a `rlbase.envs.Bandit` or `TextEnv`; each of its prompts (``batch_size``, or a group) gets two responses.
    Records hold ``update``, ``labels`` (comparisons so far), ``reward_mean`` of what was drawn, and what
    `rlbase.train.preference` records.

    Raises:
        ValueError: a world that cannot repeat a prompt, a loss that is not of comparisons, a missing or needless
            reference, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from functools import partial
    >>> from rlbase.envs import Bandit
    >>> from rlbase.losses import dpo
    >>> from rlbase.policies import TabularPolicy
    >>> policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0]), batch_size=256)
    >>> config = OnlineConfig(updates=60, learning_rate=0.05, soft=True)
    >>> records = list(online_preference(policy, bandit, partial(dpo, beta=1.0), config, reference=frozen_copy(policy)))
    >>> round(policy.probs()[0, 1].item(), 1)  # e / (1 + e) = 0.73
    0.7
    """
    _check(policy, env, loss, config, rater, reference)
    world = grouped("online_preference", env, 2)
    parameters = common.parameters_of(policy)
    generator = common.new_generator(parameters) if generator is None else generator
    optimizer = common.adam(parameters, config.learning_rate)
    settings = asdict(config) | {"loss": described(loss), "rater": str(rater)}
    saved = Checkpoint(checkpoint, (policy, optimizer, world, generator), config=settings)
    counters = saved.restore({"update": 0, "labels": 0})
    while counters["update"] < config.updates:
        reference = _frozen(policy) if config.refresh else reference
        pairs, reward = compared(policy, world, rater, generator, soft=config.soft)
        where, steps = f"online_preference, update {counters['update']}", []
        for _ in range(config.epochs):
            order = torch.randperm(len(pairs), generator=generator, device=generator.device)
            for rows in filter(len, order.tensor_split(config.minibatches)):
                value, metrics = terms(policy, pairs[rows], loss, config, reference, None)
                norm = common.gradient_step(where, value, parameters, optimizer, config.max_grad_norm)
                steps.append({"loss": value, **metrics, "grad_norm": norm})
        counters["update"] += 1
        counters["labels"] += len(pairs)
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == config.updates:
            saved.save(counters)
        yield {**counters, "reward_mean": reward, **common.averages(steps)}


@torch.no_grad()
def compared(
    policy: Policy, world: Env, rater: Rater, generator: torch.Generator, *, soft: bool = False
) -> tuple[PreferencePairs, float]:
    """Two neighbouring rows of a rollout against each other, by what the world paid; and the mean of what it paid.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=6, group_size=2)
    >>> pairs, reward = compared(TabularPolicy(1, 2), bandit, Rater(temperature=0), torch.Generator().manual_seed(0))
    >>> len(pairs), bool((pairs.chosen.actions >= pairs.rejected.actions).all())
    (3, True)
    """
    rolled = rollout(policy, world, generator=generator)
    rewards = masked_sum(rolled.rewards, rolled.mask)
    rows, one, two = Choices(rolled.obs, rolled.actions, rolled.mask), slice(0, None, 2), slice(1, None, 2)
    if soft:
        pairs = PreferencePairs(rows[one], rows[two], prob=rater.prob(rewards[one], rewards[two]))
        return pairs, rewards.mean().item()
    first = rater.prefer(rewards[one], rewards[two], generator).long()
    left = torch.arange(0, len(rows), 2, device=first.device)
    return PreferencePairs(rows[left + 1 - first], rows[left + first]), rewards.mean().item()


def _frozen(policy: Any) -> Any:
    return frozen_copy(policy)


def _check(
    policy: Policy, env: Env, loss: Loss, config: OnlineConfig, rater: Rater, reference: Policy | None
) -> None:
    where, names = "online_preference", needs(loss)
    instance(where, "config", config, OnlineConfig)
    instance(where, "rater", rater, Rater)
    common.check_parts(where, policy, env, reference=reference)
    if not set(names) <= OF_PAIRS:
        raise ValueError(
            f"{where}: {described(loss)} does not learn from comparisons, and those are what is drawn."
        )
    asks, given = any("ref" in name for name in names), reference is not None or config.refresh
    if asks != given:
        what = (
            "needs a reference: pass frozen_copy(policy), or refresh=True" if asks else "knows no reference"
        )
        raise ValueError(f"{where}: {described(loss)} {what}.")
    if config.refresh and reference is not None:
        raise ValueError(
            f"{where}: with refresh the policy itself is each round's reference; leave reference out."
        )
