"""Reward models of whole responses: a language model with one number at the end, several of them, and their zero.

All of them answer ``score(obs, actions, mask) -> [B]``, which is what `rlbase.envs.TextEnv` takes as its
``token_scorer``. Rewards that are paid step by step are in `rlbase.policies.step_reward`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from rlbase.policies.causal_lm import (
    CausalLMPolicy,
    _check_length,
    _check_tokens,
    state_features,
    trainable_copy,
)
from rlbase.policies.load import _untrained, reviews_folder
from rlbase.types import Choices, Obs, Prompt
from rlbase.validate import boolean, in_range, instance, one_of, same_shape, whole

INFINITY = float("inf")
WEIGHTS = "reward_model.safetensors"


class LMRewardModel(nn.Module):
    r"""A language model that reads a response and says what it is worth, $r(x,y)=(w\cdot h_{last}+b-\mu)/s$.

    $h_{last}$ is the final hidden state of the last token that was chosen (the EOS when there is one), found by the
    mask: padding on either side, whatever its token, moves nothing. The transformer is a copy of the policy's,
    without its output layer, as in Stiennon et al. (2020) and Ouyang et al. (2022). $\mu$ and $s$ are the buffers
    ``shift`` (0) and ``scale`` (1), which `normalise` sets and training leaves alone.

    Args:
        policy: where to start; the supervised policy as a rule. Its transformer is copied, see `trainable_copy`.
        generator: draws the head with standard deviation $1/\sqrt{H+1}$ (Stiennon et al.), so that the members of an
            ensemble begin apart; None starts it at zero: every response is worth 0.

    Raises:
        ValueError: a response without any token, or tokens that the model cannot read.

    >>> from rlbase.policies.load import random_policy
    >>> model = LMRewardModel(random_policy("gpt2", vocab_size=5), torch.Generator().manual_seed(0))
    >>> prompt = Prompt(torch.tensor([[3], [3]]), torch.ones(2, 1).bool())
    >>> twice = torch.tensor([[1, 2, 0], [1, 2, 4]])  # one response and two kinds of padding
    >>> scores = model.score(prompt, twice, torch.tensor([[True, True, False]]).expand(2, 3))
    >>> bool((scores[0] - scores[1]).abs() < 1e-6)
    True
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, policy: CausalLMPolicy, generator: torch.Generator | None = None) -> None:
        super().__init__()
        instance("LMRewardModel", "policy", policy, CausalLMPolicy)
        self.backbone: Any = trainable_copy(policy.model.base_model)
        self.context = policy.context
        weight, size = next(self.backbone.parameters()), self.backbone.config.hidden_size
        self.head = nn.Linear(size, 1, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(self.head.bias)
        if generator is None:
            nn.init.zeros_(self.head.weight)
        else:
            drawn = torch.randn(1, size, generator=generator, device=generator.device)
            self.head.weight.data.copy_(drawn / (size + 1) ** 0.5)
        self.register_buffer("shift", torch.zeros((), device=weight.device))
        self.register_buffer("scale", torch.ones((), device=weight.device))
        self.eval()

    def train(self, mode: bool = True) -> LMRewardModel:
        """Stay in evaluation mode whatever ``mode`` says, so that dropout is always off."""
        return super().train(False)

    def raw(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        """Scores before ``shift`` and ``scale``, ``[B]``."""
        same_shape("LMRewardModel", actions=actions, mask=mask)
        boolean("LMRewardModel", mask)
        if not bool(mask.any(1).all()):
            raise ValueError("LMRewardModel: every response needs at least one chosen token to be read at.")
        _check_tokens("LMRewardModel", self.backbone.config.vocab_size, obs, actions)
        _check_length("LMRewardModel", self.context, int(obs.mask.sum(1).max()) + actions.shape[1])
        states = state_features(self.backbone, obs, actions)
        after = mask.shape[1] - mask.flip(1).int().argmax(1)  # the state that has just read the last choice
        rows = torch.arange(len(mask), device=states.device)
        return self.head(states[rows, after.to(states.device)])[:, 0].float().to(actions.device)

    def score(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        """One number for each response, ``[B]``, with gradient."""
        raw = self.raw(obs, actions, mask)
        return (raw - self.shift.to(raw.device)) / self.scale.to(raw.device)

    def save(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``reward_model.safetensors`` to ``folder``, for `load_reward_model`.

        ``dtype`` is that of the written weights (None: as they are); ``shift`` and ``scale`` stay in float32. Each file
        appears whole or not at all.

        Raises:
            ValueError: the model has low-rank adapters, see `rlbase.policies.merged`.
            OSError: the folder cannot be written.

        >>> import tempfile
        >>> from rlbase.policies.load import random_policy
        >>> model, folder = LMRewardModel(random_policy("gpt2", vocab_size=5)), tempfile.mkdtemp()
        >>> model.save(folder)
        >>> sorted(os.listdir(folder))
        ['config.json', 'reward_model.safetensors']
        """
        from safetensors.torch import save

        tensors = {name: x.detach().cpu().contiguous() for name, x in self.state_dict().items()}
        if any("lora_" in name for name in tensors):
            raise ValueError(
                "LMRewardModel.save: low-rank adapters are not saved; begin from merged(policy)."
            )
        for name in tensors.keys() - {"shift", "scale"}:
            tensors[name] = tensors[name].to(dtype)
        config = self.backbone.config.to_json_string().encode()
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, payload in (("config.json", config), (WEIGHTS, save(tensors, metadata={"format": "pt"}))):
            partial = Path(
                folder, f".{name}.part"
            )  # one name: what a killed process leaves, the next overwrites
            try:
                partial.write_bytes(payload)
                os.replace(partial, Path(folder, name))
            finally:
                partial.unlink(missing_ok=True)


def load_reward_model(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LMRewardModel:
    """A reward model that `LMRewardModel.save` wrote, or ``"reviews-reward"``, which ships with rlbase.

    The shipped one judges responses to `rlbase.data.requests`; a demonstration scores 0 on average, and its unit is
    the spread over responses of ``load_policy("reviews-sft")``.

    Raises:
        FileNotFoundError: no such folder, or none of a reward model's files in it.
        ValueError: the files cannot be read or do not belong together, or the device is not there.

    >>> model = load_reward_model("reviews-reward")
    >>> bool(model.scale > 0)
    True
    """
    where = "load_reward_model"
    folder = (
        reviews_folder("reviews-reward", where) if name_or_path == "reviews-reward" else Path(name_or_path)
    )
    if not folder.is_dir():
        raise FileNotFoundError(f"{where}: there is no folder {os.fspath(name_or_path)!r}.")
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{where}: {folder} has no {name}, so it is no saved reward model.")
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):  # the weights that are drawn now do not stay
        model = LMRewardModel(_untrained(folder))
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:
        why = str(error).strip().splitlines()[-1].strip().rstrip(".")
        raise ValueError(f"{where}: {folder / WEIGHTS} is torn or of another model ({why:.100}).") from None
    if not (model.shift.isfinite() and 0 < model.scale < INFINITY):
        raise ValueError(f"{where}: {folder / WEIGHTS} holds a shift or a scale that is no number.")
    for part in (model.backbone, model.head):
        part.to(dtype)
    try:
        return model.to(device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"{where}: device {str(device)!r} is not available on this machine.") from None


class Ensemble(nn.Module):
    r"""Several reward models as one: their mean, their minimum, or their mean less a price on their variance.

    ``mean`` $\bar r$, ``min`` $\min_k r_k$, ``variance`` $\bar r-\lambda\frac1K\sum_k(r_k-\bar r)^2$; the last two
    distrust what only some members like (Coste et al. 2023). Members are compared on one scale only
    after `normalise`, which gives each its own shift. What all of them get wrong together no rule finds.

    Raises:
        ValueError: no members, an unknown rule, or a negative penalty.

    >>> from rlbase.policies import TabularReward
    >>> members = [TabularReward(1, 2), TabularReward(1, 2)]
    >>> for member, value in zip(members, (1.0, 3.0)): member.table.data[0, 1] = value
    >>> row = (torch.zeros(1, 1).long(), torch.ones(1, 1).long(), torch.ones(1, 1).bool())
    >>> [Ensemble(members, rule).score(*row).item() for rule in ("mean", "min", "variance")]
    [2.0, 1.0, 1.5]
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, members: Sequence[Any], rule: str = "mean", penalty: float = 0.5) -> None:
        super().__init__()
        if not members:
            raise ValueError("Ensemble: needs at least one member, got none.")
        one_of("Ensemble", "rule", rule, ("mean", "min", "variance"))
        in_range("Ensemble", "penalty", penalty, 0, INFINITY, open_high=True)
        self.members: Any = nn.ModuleList(members)
        self.rule, self.penalty = rule, penalty
        device = next((p.device for p in self.members.parameters()), None)
        self.register_buffer("shift", torch.zeros(len(members), device=device))
        self.register_buffer("scale", torch.ones(len(members), device=device))

    def __len__(self) -> int:
        return len(self.members)

    def raw(self, obs: Obs, actions: Tensor, mask: Tensor) -> Tensor:
        """What each member says, ``[members, B]``, before the ensemble's ``shift`` and ``scale``."""
        return torch.stack([member.score(obs, actions, mask) for member in self.members])

    def score(self, obs: Obs, actions: Tensor, mask: Tensor) -> Tensor:
        """What they say together, ``[B]``, with gradient."""
        raw = self.raw(obs, actions, mask)
        each = (raw - self.shift.to(raw.device)[:, None]) / self.scale.to(raw.device)[:, None]
        if self.rule == "min":
            return each.min(0).values
        mean = each.mean(0)
        return mean if self.rule == "mean" else mean - self.penalty * each.var(0, correction=0)


Scaled = TypeVar("Scaled", LMRewardModel, Ensemble)


@torch.no_grad()
def normalise(
    model: Scaled, choices: Choices, *, mean: float = 0.0, std: float | None = None, batch_size: int = 64
) -> Scaled:
    """Choose the zero (and with ``std`` the unit) of ``model``: these choices score ``mean`` on average from now on.

    Comparisons leave both open. Ouyang et al. (2022), section 3.5, let demonstrations score 0 on average, so that a
    positive reward means better than a demonstration. Every member of an `Ensemble` is brought there by itself; to
    give a zero to another kind of reward, wrap it in an ensemble of one. Returns the model.

    Raises:
        ValueError: no rows, a score that is not finite, ``std`` not positive, or asked of choices that all score alike.
        TypeError: a model without ``raw``, ``shift`` and ``scale``.

    >>> from rlbase.policies import TabularReward
    >>> arm = TabularReward(1, 2)
    >>> arm.table.data = torch.tensor([[4.0, 10.0]])
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> model = normalise(Ensemble([arm]), arms[:1])  # the first arm is the demonstration
    >>> model.score(arms.obs, arms.actions, arms.mask).tolist()
    [0.0, 6.0]
    """
    if not all(hasattr(model, name) for name in ("raw", "shift", "scale")):
        raise TypeError(
            f"normalise: a {type(model).__name__} has no shift and scale; wrap it in Ensemble([model])."
        )
    whole("normalise", "batch_size", batch_size, 1)
    whole("normalise", "the number of choices", len(choices), 1)
    in_range("normalise", "mean", mean, -INFINITY, INFINITY, open_low=True, open_high=True)
    parts = [choices[i : i + batch_size].trimmed() for i in range(0, len(choices), batch_size)]
    judge = cast(Any, model)
    raw = torch.cat([judge.raw(part.obs, part.actions, part.mask) for part in parts], -1).double()
    if not raw.isfinite().all():
        raise ValueError("normalise: the model's scores are not finite; its weights have diverged.")
    scale = torch.ones(raw.shape[:-1], dtype=raw.dtype, device=raw.device)
    if std is not None:
        in_range("normalise", "std", std, 0, INFINITY, open_low=True, open_high=True)
        spread = raw.std(-1, correction=0)
        if (spread <= 1e-6 * raw.abs().amax(-1)).any():
            raise ValueError(
                "normalise: all these choices score alike, so that no scale gives them a spread."
            )
        scale = spread / std
    model.scale.copy_(scale)
    model.shift.copy_(raw.mean(-1) - mean * scale)
    return model
