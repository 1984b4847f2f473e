"""Low-rank adapters: train a sliver of a language model, and find the untouched model underneath.

The adapters are those of peft, imported where they are used (``pip install rlbase[lora]``).
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rlbase.policies.causal_lm import CausalLMPolicy, LMState
from rlbase.types import Prompt
from rlbase.validate import in_range, instance, whole


def with_lora(
    policy: CausalLMPolicy,
    rank: int = 8,
    *,
    alpha: float | None = None,
    targets: str | list[str] = "all-linear",
    seed: int = 0,
) -> CausalLMPolicy:
    r"""A copy of ``policy`` that trains low-rank corrections only, $W x+\frac{\alpha}{r}BAx$.

    Hu et al. (2022), eq. 3, with $A$ of r rows and $B$ of r columns. $B$ starts at zero: the copy begins as exactly the
    same policy. Its ``parameters()`` are all there, but only $A$ and $B$ require a gradient, and every trainer here
    trains what does.

    Args:
        alpha: the correction's scale; None is ``2 * rank``.
        targets: names of the layers to correct; ``"all-linear"`` takes every one but the output layer.
        seed: of $A$.

    Raises:
        ImportError: peft is not installed.
        TypeError: ``policy`` is no `CausalLMPolicy`.
        ValueError: it has adapters already, or ``rank``, ``alpha`` or ``targets`` make no sense.

    >>> from rlbase.policies.load import random_policy
    >>> policy = with_lora(random_policy("gpt2", vocab_size=5), rank=1)
    >>> sum(p.numel() for p in policy.parameters() if p.requires_grad)  # of 27,680
    1024
    """
    instance("with_lora", "policy", policy, CausalLMPolicy)
    whole("with_lora", "rank", rank, 1)
    scale = 2.0 * rank if alpha is None else alpha
    in_range("with_lora", "alpha", scale, 0, float("inf"), open_low=True, open_high=True)
    if importlib.util.find_spec("peft") is None:
        raise ImportError("with_lora: low-rank adapters need peft: pip install rlbase[lora].")
    import peft

    if _layers(policy):
        raise ValueError("with_lora: this policy has adapters already; begin with merged(policy).")
    corrected = _copied(policy)
    conv = any(type(layer).__name__ == "Conv1D" for layer in corrected.modules())  # GPT-2 stores W transposed
    peft_config: Any = peft.LoraConfig
    config = peft_config(
        r=rank,
        lora_alpha=scale,
        target_modules=targets,
        fan_in_fan_out=conv,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            corrected.model = peft.inject_adapter_in_model(config, corrected.model)
        except ValueError as error:
            raise ValueError(
                f"with_lora: targets={targets!r} do not fit this model ({error!s:.100})."
            ) from None
    return corrected


def merged(policy: CausalLMPolicy) -> CausalLMPolicy:
    r"""A copy without adapters that computes the same, $W+\frac{\alpha}{r}BA$ written into the weights.

    >>> from rlbase.policies.load import random_policy
    >>> plain = random_policy("gpt2", vocab_size=5)
    >>> [name for name, _ in merged(with_lora(plain)).named_parameters()] == [n for n, _ in plain.named_parameters()]
    True
    """
    instance("merged", "policy", policy, CausalLMPolicy)
    plain = _copied(policy)
    for name, layer in _layers(plain):
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(plain.get_submodule(parent), child, layer.get_base_layer())
    return plain.requires_grad_(True)


class AdaptersOff:
    """The policy that lies under the adapters of another: it is what it was before they were trained.

    It holds no weights of its own, so that a reference costs no memory and has nothing that could be trained. See
    `adapters_off`.
    """

    stateful = True

    def __init__(self, policy: CausalLMPolicy) -> None:
        self.policy = policy
        self.temperature, self.tokenizer = policy.temperature, policy.tokenizer

    def initial_state(self, obs: Prompt) -> LMState:
        return self.policy.initial_state(obs)

    def step(
        self, obs: Prompt | Tensor, state: LMState, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, LMState]:
        """Sample the next tokens from the policy underneath."""
        with _disabled(self.policy):
            return self.policy.step(obs, state, generator)

    def evaluate(self, obs: Prompt, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of the policy underneath, ``[B, T]``."""
        with _disabled(self.policy):
            return self.policy.evaluate(obs, actions)

    def logp(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities of the counted tokens under the policy underneath, ``[B, T]``; 0 for the others."""
        with _disabled(self.policy):
            return self.policy.logp(obs, actions, mask)


def adapters_off(policy: CausalLMPolicy) -> AdaptersOff:
    """The reference for a policy with adapters: the same weights, adapters switched off while it computes.

    Pass it as ``reference=``. It cannot drift: the weights under the adapters do not train.

    Raises:
        TypeError: ``policy`` is no `CausalLMPolicy`.
        ValueError: it has no adapters, or weights under them would train along.

    >>> from rlbase.policies.load import random_policy
    >>> policy = with_lora(random_policy("gpt2", vocab_size=5))
    >>> reference = adapters_off(policy)
    >>> hasattr(reference, "parameters")
    False
    """
    instance("adapters_off", "policy", policy, CausalLMPolicy)
    if not _layers(policy):
        raise ValueError(
            "adapters_off: this policy has no adapters; make it with with_lora, or use frozen_copy."
        )
    moving = [name for name, p in policy.named_parameters() if p.requires_grad and "lora_" not in name]
    if moving:
        raise ValueError(
            f"adapters_off: {moving[0]} under the adapters trains too, so the reference would drift."
        )
    return AdaptersOff(policy)


def _layers(policy: nn.Module) -> list[tuple[str, Any]]:
    """Names and layers that carry adapters."""
    if importlib.util.find_spec("peft") is None:
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in policy.named_modules() if isinstance(module, BaseTunerLayer)]


@contextlib.contextmanager
def _disabled(policy: nn.Module) -> Iterator[None]:
    """Adapters off, and back on as they were, whether they were training or frozen."""
    layers, training = _layers(policy), [(p, p.requires_grad) for p in policy.parameters()]
    try:
        for _, layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for _, layer in layers:
            layer.enable_adapters(True)
        for p, trains in training:
            p.requires_grad_(trains)


def _copied(policy: CausalLMPolicy) -> CausalLMPolicy:
    memo = {} if policy.tokenizer is None else {id(policy.tokenizer): policy.tokenizer}
    return copy.deepcopy(policy, memo)
