"""Small fully connected networks for vector observations, with categorical or Gaussian actions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rlbase.policies.tabular import sample, score
from rlbase.types import Box, Discrete
from rlbase.validate import whole

LOG_2PI = math.log(2 * math.pi)


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int, *, last_gain: float) -> nn.Sequential:
    """Tanh network with orthogonal weights (gain √2, ``last_gain`` in the last layer) and zero biases.

    A small last gain starts a policy near uniform, which Andrychowicz et al. (2021) found to matter.

    >>> [layer.out_features for layer in mlp(4, (8,), 2, last_gain=0.01) if hasattr(layer, "out_features")]
    [8, 2]
    """
    layers: list[nn.Module] = []
    for size_in, size_out in zip((inputs, *hidden), hidden, strict=False):
        layers += [_orthogonal(size_in, size_out, math.sqrt(2)), nn.Tanh()]
    return nn.Sequential(*layers, _orthogonal((inputs, *hidden)[-1], outputs, last_gain))


def _orthogonal(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class MLPPolicy(nn.Module):
    """A network from ``[B, obs_size]`` or ``[B, T, obs_size]`` observations to actions.

    A `Discrete` action space gives a softmax over alternatives, a `Box` a diagonal Gaussian whose standard deviation
    does not depend on the state (``log_std`` is its starting logarithm). Gaussian log-probabilities are those of the
    unclipped action; the world clips.

    Raises:
        ValueError: ``obs_size`` below 1.
        TypeError: an action space that is neither `Discrete` nor `Box`.

    >>> policy = MLPPolicy(4, Discrete(2))
    >>> logp, entropy = policy.evaluate(torch.zeros(3, 6, 4), torch.zeros(3, 5, dtype=torch.long))
    >>> logp.shape, entropy.shape
    (torch.Size([3, 5]), torch.Size([3, 5]))
    """

    stateful = False

    def __init__(
        self,
        obs_size: int,
        action_space: Discrete | Box,
        *,
        hidden: tuple[int, ...] = (64, 64),
        log_std: float = 0.0,
    ) -> None:
        super().__init__()
        whole("MLPPolicy", "obs_size", obs_size, 1)
        if not isinstance(action_space, Discrete | Box):
            raise TypeError(
                f"MLPPolicy: action_space must be Discrete or Box, got {type(action_space).__name__}."
            )
        self.continuous = isinstance(action_space, Box)
        outputs = action_space.size if isinstance(action_space, Box) else action_space.n
        self.net = mlp(obs_size, hidden, outputs, last_gain=0.01)
        self.log_std = nn.Parameter(torch.full((outputs,), log_std)) if self.continuous else None

    def initial_state(self, obs: Tensor) -> None:
        return None

    @torch.no_grad()
    def step(self, obs: Tensor, state: None, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        out = _forward("MLPPolicy", self.net, obs)
        if self.log_std is None:
            return *sample(out, generator), state
        noise = torch.randn(out.shape, generator=generator, device=out.device, dtype=out.dtype)
        actions = out + self.log_std.exp() * noise
        return actions, _gaussian(out, self.log_std, actions)[0], state

    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        out = _forward("MLPPolicy", self.net, obs[:, : actions.shape[1]])
        return score(out, actions) if self.log_std is None else _gaussian(out, self.log_std, actions)


def _forward(where: str, net: nn.Sequential, obs: Tensor) -> Tensor:
    """The network in its own precision; observations of another size are refused in words."""
    weight = next(net.parameters())
    if obs.shape[-1] != weight.shape[1] or not obs.is_floating_point():
        wanted = f"vectors of {weight.shape[1]} real numbers"
        raise ValueError(
            f"{where}: observations must be {wanted}, got shape {list(obs.shape)} of {obs.dtype}."
        )
    return net(obs.to(weight.dtype))


def _gaussian(mean: Tensor, log_std: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    scaled = (actions - mean) * torch.exp(-log_std)
    logp = -(0.5 * scaled.square() + log_std + 0.5 * LOG_2PI).sum(-1)
    entropy = (log_std + 0.5 * (1 + LOG_2PI)).sum().expand_as(logp)
    return logp, entropy


class MLPCritic(nn.Module):
    """A network from observations to values, sharing nothing with the policy.

    >>> MLPCritic(4).value(torch.zeros(3, 6, 4), torch.zeros(3, 5)).shape
    torch.Size([3, 6])
    """

    def __init__(self, obs_size: int, *, hidden: tuple[int, ...] = (64, 64)) -> None:
        super().__init__()
        whole("MLPCritic", "obs_size", obs_size, 1)
        self.net = mlp(obs_size, hidden, 1, last_gain=1.0)

    def value(self, obs: Tensor, actions: Tensor) -> Tensor:
        return _forward("MLPCritic", self.net, obs)[..., 0]
