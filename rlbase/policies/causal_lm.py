"""A causal language model as a policy: tokens are actions, the KV cache is the recurrent state.

With the loader beside it, the only room that knows transformers (imported where it is used).
Log-probabilities come from ``model.base_model`` and the output embeddings, so that the head runs
where a token was chosen and nowhere else. Dropout stays off: a policy whose re-scored
log-probabilities differ from the sampled ones has a ratio that is noise before the first update.
Models that do something to the logits after the head (soft-capping, scaling) are refused.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from rlbase.policies.backbone import (
    _check_length,
    _check_tokens,
    _hidden,
    _mask_and_positions,
    state_features,
)
from rlbase.types import Prompt
from rlbase.validate import in_range, instance

if TYPE_CHECKING:
    from rlbase.policies.reward_model import LMRewardModel

Module = TypeVar("Module", bound=nn.Module)


@dataclass
class LMState:
    """What a language model remembers of its rows so far; `CausalLMPolicy.step` changes it in place."""

    cache: Any
    mask: Tensor  # [B, tokens so far], False on padding
    positions: Tensor  # [B, tokens about to be fed]
    length: int  # tokens in the longest row, the one about to be sampled included


class CausalLMPolicy(nn.Module):
    """The policy pi(token | prompt, earlier tokens) of a transformers causal language model.

    pi = softmax(logits / temperature), for sampling and for re-scoring alike. Everything is
    computed on the model's device, and answers come back on the device of the observation.

    Args:
        model: a causal LM of transformers (GPT-2, GPT-NeoX, Llama, ...), any float dtype.
        tokenizer: kept for whoever has the policy in hand; not used here.
        temperature: above 0; at 1 the model's own distribution.

    Raises:
        ValueError: when a prompt is empty or not left-padded, when a token is outside the
            vocabulary, when prompt and response together outgrow the model's context, and when
            the weights have become NaN.

    >>> import torch
    >>> from rlbase.policies.load import random_policy
    >>> from rlbase.types import Prompt
    >>> policy = random_policy("gpt2", vocab_size=5)
    >>> prompt = Prompt(torch.tensor([[0, 3], [1, 2]]), torch.tensor([[False, True], [True, True]]))
    >>> state = policy.initial_state(prompt)
    >>> tokens, logp, state = policy.step(prompt, state, torch.Generator().manual_seed(0))
    >>> again, entropy = policy.evaluate(prompt, tokens[:, None])
    >>> torch.allclose(again[:, 0], logp), entropy.shape
    (True, torch.Size([2, 1]))
    """

    stateful = True

    def __init__(self, model: nn.Module, tokenizer: Any = None, *, temperature: float = 1.0) -> None:
        super().__init__()
        ends_open = {"open_low": True, "open_high": True}
        in_range("CausalLMPolicy", "temperature", temperature, 0.0, float("inf"), **ends_open)
        config = cast(Any, model).config
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(config, name, None) not in (None, 1):
                raise ValueError(
                    f"CausalLMPolicy: models that change logits after the head ({name}) do not fit."
                )
        self.model = cast(Any, model)
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.eval()

    def train(self, mode: bool = True) -> CausalLMPolicy:
        """Stay in evaluation mode whatever ``mode`` says, so that dropout is always off."""
        return super().train(False)

    def initial_state(self, obs: Prompt) -> LMState:
        """An empty cache for the prompts ``obs``."""
        from transformers import DynamicCache

        _check_tokens("CausalLMPolicy", self.model.config.vocab_size, obs)
        mask, positions = _mask_and_positions(obs.to(self.model.device), 0)
        return LMState(DynamicCache(), mask, positions, int(obs.mask.sum(1).max()))

    @torch.no_grad()
    def step(
        self, obs: Prompt | Tensor, state: LMState, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, LMState]:
        """Sample the next token of every row: ``(tokens [B], logp [B], state)``.

        ``obs`` is the `Prompt` at first and the latest tokens ``[B]`` from then on. Sampling
        inverts the cumulative distribution at one uniform number a row: cheaper than a race
        over the vocabulary, and one generator gives the same tokens on every device.
        """
        state.length += 1
        _check_length("CausalLMPolicy", self.context, state.length)
        device = self.model.device
        ids = obs.ids if isinstance(obs, Prompt) else obs[:, None]
        given = ids.device
        hidden = _hidden(self.model.base_model, ids.to(device), state.mask, state.positions, state.cache)
        state.mask = torch.cat((state.mask, torch.ones_like(state.mask[:, :1])), 1)
        state.positions = state.positions[:, -1:] + 1
        probs = self._logits(hidden[:, -1]).softmax(-1)
        # Double precision: over 50,000 tokens a running float32 sum loses the rare ones. MPS has no other.
        cumulative = probs.cumsum(-1, dtype=torch.float32 if device.type == "mps" else torch.float64)
        if not bool(cumulative[:, -1].isfinite().all()):
            raise ValueError(
                "CausalLMPolicy: the model's probabilities are not finite; its weights have diverged."
            )
        uniform = torch.rand(
            len(ids), 1, generator=generator, device=generator.device, dtype=cumulative.dtype
        )
        threshold = uniform.to(cumulative) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=probs.shape[-1] - 1)
        logp = probs.gather(1, tokens).log_()
        return tokens[:, 0].to(given), logp[:, 0].to(given), state

    def evaluate(self, obs: Prompt, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens ``actions [B, T]`` and entropies (nats), both ``[B, T]``.

        One forward, with gradient. Tokens after the end of a response are scored like any
        other: it is the rollout's mask, not a token's identity, that leaves them out.
        """
        log_probs = self._logits(self._states(obs, actions)).log_softmax(-1)
        logp = log_probs.gather(-1, actions.to(log_probs.device)[..., None])[..., 0]
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return logp.to(actions.device), entropy.to(actions.device)

    def logp(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities of the tokens that ``mask`` counts and 0 for the others, ``[B, T]``, with gradient.

        What `evaluate` says, for those who want no entropies: the head runs on the counted tokens only, and its
        answer for all the vocabulary is held once.
        """
        states = self._states(obs, actions)
        counted = mask.to(states.device)
        logits, targets = self._logits(states[counted]), actions.to(states.device)[counted]
        each = -nn.functional.cross_entropy(logits, targets, reduction="none")
        return each.new_zeros(counted.shape).masked_scatter(counted, each).to(actions.device)

    def next_logp(self, obs: Prompt) -> Tensor:
        """Log-probabilities of every token as the next one, ``[B, vocabulary]``, with gradient: one forward for all."""
        first = torch.zeros(len(obs), 1, dtype=torch.long, device=obs.ids.device)  # which one does not matter
        return self._logits(self._states(obs, first)[:, 0]).log_softmax(-1).to(obs.ids.device)

    def _states(self, obs: Prompt, actions: Tensor) -> Tensor:
        """Hidden states ``[B, T, H]`` in which each of ``actions`` was chosen."""
        instance("CausalLMPolicy", "obs", obs, Prompt)
        if actions.ndim != 2 or actions.shape[1] == 0 or len(actions) != len(obs):
            shape = list(actions.shape)
            raise ValueError(f"CausalLMPolicy: actions must have shape [{len(obs)}, T], T >= 1, got {shape}.")
        _check_tokens("CausalLMPolicy", self.model.config.vocab_size, obs, actions)
        _check_length("CausalLMPolicy", self.context, int(obs.mask.sum(1).max()) + actions.shape[1])
        # The state after the last token chooses nothing, so that token is not even fed.
        return state_features(self.model.base_model, obs, actions[:, :-1])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.model.get_output_embeddings()(hidden).float()
        return logits if self.temperature == 1 else logits / self.temperature


class LMCritic(nn.Module):
    """A value for every state of a response: a linear head over a language model.

    V(s_t) = w . h_t + b, where h_t is the final hidden state of the last token before action t. Begun from a policy
    the head is zero; begun from a reward model (Ouyang et al. 2022, appendix C) it is the reward model's, so that the
    value after the last token starts out as the score.

    Args:
        policy: whose transformer to use, or a reward model such as `rlbase.policies.LMRewardModel`.
        share: False takes a trainable copy of it. True uses the policy's own weights, which stay
            the policy's: ``parameters()`` and ``state_dict()`` of the critic are the head alone.
        detach: True lets the value loss train the head only.

    Raises:
        ValueError: ``share`` with a reward model, which would then change while it judges.

    >>> import torch
    >>> from rlbase.policies.load import random_policy
    >>> from rlbase.types import Prompt
    >>> critic = LMCritic(random_policy("gpt2", vocab_size=5))
    >>> prompt = Prompt(torch.tensor([[0, 3]]), torch.tensor([[True, True]]))
    >>> critic.value(prompt, torch.tensor([[1, 4, 2]])).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(
        self, policy: CausalLMPolicy | LMRewardModel, *, share: bool = False, detach: bool = False
    ) -> None:
        super().__init__()
        judge = None if isinstance(policy, CausalLMPolicy) else policy
        if judge is not None and share:
            raise ValueError("LMCritic: share=True would train the reward model along; leave it out.")
        backbone = policy.model.base_model if isinstance(policy, CausalLMPolicy) else policy.backbone
        self.backbone = None if share else trainable_copy(backbone)
        self._shared: tuple[nn.Module, ...] = (
            (backbone,) if share else ()
        )  # a tuple hides it from parameters()
        self.detach = detach
        self.context = policy.context
        weight = next(backbone.parameters())
        self.head = nn.Linear(backbone.config.hidden_size, 1, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if judge is not None:
            self.head.weight.data.copy_(judge.head.weight / judge.scale)
            self.head.bias.data.copy_((judge.head.bias - judge.shift) / judge.scale)
        self.eval()

    def train(self, mode: bool = True) -> LMCritic:
        """Stay in evaluation mode whatever ``mode`` says, so that dropout is always off."""
        return super().train(False)

    def value(self, obs: Prompt, actions: Tensor) -> Tensor:
        """Values ``[B, T + 1]``: of the state before each token of ``actions [B, T]``, and after the last."""
        backbone: Any = self._shared[0] if self.backbone is None else self.backbone
        _check_tokens("LMCritic", backbone.config.vocab_size, obs, actions)
        _check_length("LMCritic", self.context, int(obs.mask.sum(1).max()) + actions.shape[1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            states = state_features(backbone, obs, actions)
        return self.head(states)[..., 0].float().to(actions.device)


def trainable_copy(module: Module) -> Module:
    """A copy that trains as the original does; a copy of what is frozen altogether trains altogether.

    >>> all(p.requires_grad for p in trainable_copy(frozen_copy(nn.Linear(2, 2))).parameters())
    True
    """
    copied = copy.deepcopy(module)
    trains = any(p.requires_grad for p in copied.parameters())
    return copied if trains else copied.requires_grad_(True)


def frozen_copy(module: Module) -> Module:
    """A copy whose weights no longer train: the reference that a KL penalty holds on to.

    >>> reference = frozen_copy(nn.Linear(2, 2))
    >>> any(p.requires_grad for p in reference.parameters())
    False
    """
    tokenizer = getattr(module, "tokenizer", None)  # shared: it is never changed, and slow to copy
    memo = {} if tokenizer is None else {id(tokenizer): tokenizer}
    return copy.deepcopy(module, memo).requires_grad_(False)
