"""What the training loops share: a generator, an optimiser, advantages, one gradient step. No loop lives here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rlbase.advantages import discounted_returns, gae, group_normalised, leave_one_out
from rlbase.masked import fill_unchosen, masked_mean, masked_sum
from rlbase.types import Choices, Critic, Env, Obs, Policy, Rollout
from rlbase.validate import one_of

ADVANTAGES = ("gae", "returns", "leave_one_out", "group")


def parameters_of(*parts: Any) -> list[nn.Parameter]:
    """The trainable parameters of several modules, each once (a critic may share the policy's)."""
    seen: dict[int, nn.Parameter] = {}
    for part in parts:
        for p in getattr(part, "parameters", tuple)():
            if p.requires_grad:
                seen[id(p)] = p
    return list(seen.values())


def check_parts(
    where: str, policy: Policy, env: Env, critic: Critic | None = None, reference: Any = None
) -> None:
    """Raise ``TypeError`` for a part of the wrong kind, ``ValueError`` for a reference that is no fixed point of
    comparison: one that would train along, or that has another temperature.

    >>> from rlbase.envs import chain
    >>> check_parts("ppo", chain(4), chain(4))
    Traceback (most recent call last):
    TypeError: ppo: policy must have stateful, initial_state, step, evaluate, got TabularMDP.
    """
    acts = ("stateful", "initial_state", "step", "evaluate")
    kinds = (("policy", policy, acts), ("env", env, ("begin", "step", "stack", "horizon")))
    for name, part, needs in (*kinds, ("critic", critic, ("value",)), ("reference", reference, acts)):
        optional = name in ("critic", "reference") and part is None
        if not optional and not all(hasattr(part, need) for need in needs):
            raise TypeError(f"{where}: {name} must have {', '.join(needs)}, got {type(part).__name__}.")
    if not parameters_of(policy):
        raise ValueError(f"{where}: the policy has no parameter that trains; was it made by frozen_copy?")
    check_reference(where, policy, reference)


def check_reference(where: str, policy: Any, reference: Any) -> None:
    """Raise ``ValueError`` for a reference that would train along, or that has another temperature; None is no fault.

    >>> from rlbase.policies import TabularPolicy
    >>> policy = TabularPolicy(1, 2)
    >>> check_reference("ppo", policy, policy)
    Traceback (most recent call last):
    ValueError: ppo: the reference is the policy itself and would follow it; pass frozen_copy(policy).
    """
    if reference is None:
        return
    mine, theirs = getattr(policy, "temperature", None), getattr(reference, "temperature", None)
    if mine != theirs:
        raise ValueError(
            f"{where}: policy and reference must have one temperature, got {mine} and {theirs}; "
            "their distance would not be zero even with equal weights."
        )
    trained = {id(p) for p in parameters_of(policy)}
    if any(id(p) in trained for p in parameters_of(reference)):
        raise ValueError(
            f"{where}: the reference is the policy itself and would follow it; pass frozen_copy(policy)."
        )


def new_generator(parameters: list[nn.Parameter], seed: int = 0) -> torch.Generator:
    """A seeded generator on the device where the parameters live."""
    return torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(seed)


def device_of(module: Any) -> torch.device:
    """Where a module's weights live; the CPU for one without weights."""
    weight = next(iter(getattr(module, "parameters", tuple)()), None)
    return torch.device("cpu") if weight is None else weight.device


def adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Adam in its fused form, with the epsilon of the PPO codes (1e-5)."""
    return torch.optim.Adam(parameters, lr=learning_rate, eps=1e-5, fused=True)


def autocast(policy: Any, precision: str) -> torch.autocast:
    """A context in which forwards on the policy's device run in ``"bfloat16"``; does nothing for ``"float32"``."""
    return torch.autocast(device_of(policy).type, torch.bfloat16, enabled=precision == "bfloat16")


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def gradient_step(
    where: str,
    loss: Tensor,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> Tensor:
    """One optimiser step on ``loss``; returns the gradient's norm before clipping.

    Raises:
        FloatingPointError: the loss or its gradient is not finite; the parameters have not been touched.
    """
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    if (norm + loss.detach()).isfinite():  # one look for both: on a GPU each look waits for it
        optimizer.step()
        optimizer.zero_grad()  # the next forward, where memory is scarcest, need not carry them along
        return norm
    raise FloatingPointError(
        f"{where}: the loss ({loss.item()}) or its gradient is not finite; the policy is as it was before this step. "
        "Look at the rewards and log-probabilities, or lower the learning rate."
    )


def imitation_loss(policy: Policy, choices: Choices, rows: int | None, generator: torch.Generator) -> Tensor:
    """Mean surprise ``-log pi`` of demonstrated choices, on ``rows`` of them drawn anew (None: on all).

    Rows are drawn without replacement; more than there are means all. One number per choice, whatever its row.
    """
    if rows is not None and rows < len(choices):
        device = choices.mask.device
        choices = choices[
            torch.randperm(len(choices), generator=generator, device=generator.device)[:rows].to(device)
        ]
    logp = logp_of(policy, choices)
    return masked_mean(-logp if choices.weight is None else -logp * choices.weight, choices.mask)


def logp_of(policy: Policy, choices: Choices) -> Tensor:
    """Log-probabilities of choices, ``[B, T]``, and 0 where there is none; without entropies where a policy can do so.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(1, 2).long(), torch.tensor([[0, 1]]), torch.tensor([[True, False]]))
    >>> logp_of(TabularPolicy(1, 2), arms).tolist()
    [[-0.6931471824645996, 0.0]]
    """
    score: Any = getattr(policy, "logp", None)  # a language model's, see CausalLMPolicy
    if score is not None:
        return score(choices.obs, choices.actions, choices.mask)
    return fill_unchosen(policy.evaluate(choices.obs, choices.actions)[0], choices.mask)


def estimate_advantages(
    batch: Rollout,
    rewards: Tensor,
    values: Tensor | None,
    kind: str,
    *,
    gamma: float,
    lam: float,
    group_size: int,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns ``[B, T]`` of a rollout by one of four rules; the arithmetic is in `rlbase.advantages`.

    ``gae`` needs ``values`` ``[B, T+1]``; ``returns`` is the plain reward-to-go; ``leave_one_out`` and
    ``group`` compare the summed rewards of ``group_size`` neighbouring rows and give every choice of a row the
    same advantage.

    Raises:
        ValueError: an unknown rule, ``gae`` without a critic, or rows that do not divide into groups.
    """
    one_of("PPOConfig", "advantage", kind, ADVANTAGES)
    discounts = gamma * (~batch.terminated).to(rewards.dtype)
    if kind == "gae":
        if values is None:
            raise ValueError(
                "advantage='gae' needs a critic; pass one, or choose 'returns', 'leave_one_out' or 'group'."
            )
        advantages = gae(rewards, values, discounts, batch.mask, lam=lam)
        return advantages, advantages + values[:, :-1]
    if kind == "returns":
        # a column that is no choice stops the sum: beyond a truncation lies another episode
        returns = discounted_returns(torch.where(batch.mask, rewards, 0), discounts * batch.mask)
        return returns, returns
    if len(rewards) % group_size or group_size < 2:
        raise ValueError(f"advantage={kind!r} needs groups: {len(rewards)} rows, group_size {group_size}.")
    totals = masked_sum(rewards, batch.mask)
    rule = leave_one_out if kind == "leave_one_out" else group_normalised
    advantages = rule(totals.view(-1, group_size)).view(-1, 1).expand_as(rewards)
    return advantages, totals[:, None].expand_as(rewards)


@torch.no_grad()
def values_of(critic: Critic | None, obs: Obs, actions: Tensor) -> Tensor | None:
    """The critic's values without gradient, or None without a critic."""
    return None if critic is None else critic.value(obs, actions)


def recent_return(env: Env) -> float:
    """Mean return of the latest finished episodes (at most 100); NaN before the first."""
    return sum(env.returns) / len(env.returns) if env.returns else float("nan")


def averages(records: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Mean of each metric over minibatches; a name that ends in ``_max`` takes the largest instead."""
    columns: dict[str, list[Tensor]] = {}
    for record in records:
        for name, value in record.items():
            columns.setdefault(name, []).append(value.detach())
    joined = {name: torch.stack(column).float() for name, column in columns.items()}
    return {name: (c.max() if name.endswith("_max") else c.mean()).item() for name, c in joined.items()}
