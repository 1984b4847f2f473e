"""A number for every state and action: the policy about which everything can be proved."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlbase.validate import a_tensor, same_shape, whole


class TabularPolicy(nn.Module):
    r"""Softmax over a table of logits, $\pi(a|s)\propto e^{\theta_{sa}}$; starts uniform.

    Observations are state numbers, ``[B]`` or ``[B, T]``. ``ref`` (``[n_actions]`` or ``[n_states,
    n_actions]``) starts it at those probabilities instead.

    Raises:
        ValueError: a size below 1, or ``ref`` does not fit or is not positive.

    >>> policy = TabularPolicy(1, 2, ref=torch.tensor([0.25, 0.75]))
    >>> policy.probs()
    tensor([[0.2500, 0.7500]], grad_fn=<SoftmaxBackward0>)
    """

    stateful = False

    def __init__(self, n_states: int, n_actions: int, *, ref: Tensor | None = None) -> None:
        super().__init__()
        whole("TabularPolicy", "n_states", n_states, 1)
        whole("TabularPolicy", "n_actions", n_actions, 1)
        self.logits = nn.Parameter(torch.zeros(n_states, n_actions))
        if ref is not None:
            a_tensor("TabularPolicy", ref=ref)
            if ref.shape[-1] != n_actions or ref.ndim > 2 or (ref.ndim == 2 and len(ref) != n_states):
                raise ValueError(
                    f"TabularPolicy: ref must be [{n_actions}] or [{n_states}, {n_actions}], got {list(ref.shape)}."
                )
            if not ((ref > 0) & ref.isfinite()).all():
                raise ValueError(
                    f"TabularPolicy: ref must be positive probabilities (no logit is -inf), got {ref}."
                )
            self.logits.data += ref.log()

    def probs(self) -> Tensor:
        """The whole table of probabilities, ``[n_states, n_actions]``."""
        return self.logits.softmax(-1)

    def initial_state(self, obs: Tensor) -> None:
        return None

    @torch.no_grad()
    def step(self, obs: Tensor, state: None, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        return *_drawn(_look_up("TabularPolicy", self.logits.log_softmax(-1), obs), generator), state

    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        # The table is small, the rows that look it up are many: its softmax is taken once, not once a row.
        logp, states = self.logits.log_softmax(-1), obs[:, : actions.shape[1]]
        entropy = _look_up("TabularPolicy", -(logp.exp() * logp).sum(-1), states)
        return entries("TabularPolicy", logp, states, actions), entropy


class TabularCritic(nn.Module):
    """One value for each state, starting at 0.

    >>> TabularCritic(3).value(torch.tensor([[0, 2]]), torch.tensor([[1]])).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, n_states: int) -> None:
        super().__init__()
        whole("TabularCritic", "n_states", n_states, 1)
        self.values = nn.Parameter(torch.zeros(n_states))

    def value(self, obs: Tensor, actions: Tensor) -> Tensor:
        return _look_up("TabularCritic", self.values, obs)


def _look_up(where: str, table: Tensor, states: Tensor, *actions: Tensor) -> Tensor:
    try:
        return table[(states, *actions)]
    except IndexError:
        raise ValueError(
            f"{where}: observations must be state numbers in 0..{len(table) - 1}, got {states.dtype} up to "
            f"{states.max().item()}; does it fit this world?"
        ) from None


def entries(where: str, table: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """The entry of a table ``[states, actions]`` for each state and the action taken in it.

    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> entries("TabularReward", table, torch.tensor([1, 0]), torch.tensor([0, 1])).tolist()
    [3.0, 2.0]
    """
    same_shape(where, observations=states, actions=actions)
    if actions.dtype != torch.long:  # a boolean one would pick rows
        raise TypeError(f"{where}: actions must be whole numbers, got {actions.dtype}.")
    low, high = (int(x) for x in actions.aminmax()) if actions.numel() else (0, 0)
    if low < 0 or high >= table.shape[1]:  # a negative one would count from the end
        raise _no_such_action(low, high, table.shape[1])
    return _look_up(where, table, states, actions)


def sample(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one action per row of ``[B, A]`` logits; returns actions and their log-probabilities, ``[B]``."""
    return _drawn(logits.log_softmax(-1), generator)


def _drawn(logp: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if generator.device.type != logp.device.type:
        raise ValueError(f"the generator lives on {generator.device}, the policy on {logp.device}; move one.")
    try:
        actions = torch.multinomial(logp.exp(), 1, generator=generator)
    except RuntimeError:
        if not logp.isnan().any():
            raise
        raise ValueError("the policy's logits are not finite: its weights have diverged.") from None
    return actions[:, 0], logp.gather(1, actions)[:, 0]


def score(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of ``[B, T]`` actions and entropies under ``[B, T, A]`` logits."""
    logp = logits.log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    try:
        return logp.gather(-1, actions[..., None])[..., 0], entropy
    except RuntimeError:
        low, high, n = int(actions.min()), int(actions.max()), logits.shape[-1]
        if low >= 0 and high < n:
            raise
        raise _no_such_action(low, high, n) from None


def _no_such_action(low: int, high: int, n: int) -> ValueError:
    worst = low if low < 0 else high
    return ValueError(f"actions must lie in 0..{n - 1}, got {worst}; does the policy fit this world?")
