"""Maximum likelihood: how a language model comes to be before anybody rewards it.

The same `Policy.evaluate` that PPO uses gives the log-probabilities; the "actions" are now the
words of a text that somebody else wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlbase.masked import masked_mean
from rlbase.policies.causal_lm import CausalLMPolicy
from rlbase.train import common
from rlbase.types import Prompt
from rlbase.validate import in_range, instance, whole


@dataclass(frozen=True)
class LanguageModelConfig:
    """Settings of `language_model`."""

    batch_size: int = 64  # texts in one update
    learning_rate: float = 3e-3  # AdamW's peak; falls to zero along a cosine
    warmup: int = 100  # updates in which the learning rate rises from zero
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        where = "LanguageModelConfig"
        whole(where, "batch_size", self.batch_size, 1)
        whole(where, "warmup", self.warmup, 0)
        in_range(where, "learning_rate", self.learning_rate, 0, math.inf, open_low=True, open_high=True)
        in_range(where, "weight_decay", self.weight_decay, 0, math.inf, open_high=True)
        in_range(where, "max_grad_norm", self.max_grad_norm, 0, math.inf, open_low=True)


def language_model(
    policy: CausalLMPolicy,
    texts: Sequence[Sequence[int]],
    config: LanguageModelConfig = LanguageModelConfig(),
) -> Iterator[dict[str, float]]:
    r"""Raise the likelihood of ``texts`` (token ids, two or more each), read once from first to last.

    Each update lowers $-\frac1{|y|}\sum_t\log\pi(y_t|y_{<t})$, averaged over the tokens of one batch.
    A text's first token is given, not predicted. Yields ``update, loss`` (nats a token), ``tokens``
    (so far), ``grad_norm`` and ``learning_rate``.

    Raises:
        TypeError: ``config`` is of another kind.
        ValueError: a text of fewer than two tokens.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.policies.load import random_policy
    >>> policy = random_policy("gpt2", vocab_size=4)
    >>> run = language_model(policy, [[0, 1, 2, 3]] * 1920, LanguageModelConfig(warmup=5))
    >>> losses = [record["loss"] for record in run]
    >>> losses[0] > 1.3, losses[-1] < 0.4
    (True, True)
    """
    instance("language_model", "config", config, LanguageModelConfig)
    parameters = list(policy.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95)
    )
    updates, tokens = math.ceil(len(texts) / config.batch_size), 0
    for update in range(updates):
        after_warmup = (update - config.warmup) / max(1, updates - config.warmup)
        scale = (
            (update + 1) / config.warmup if after_warmup < 0 else (1 + math.cos(math.pi * after_warmup)) / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = scale * config.learning_rate
        logp, mask = score(policy, texts[update * config.batch_size : (update + 1) * config.batch_size])
        loss = -masked_mean(logp, mask)
        where = f"language_model, update {update}"
        norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
        tokens += int(mask.sum())
        yield {
            "update": update,
            "loss": loss.item(),
            "tokens": tokens,
            "grad_norm": norm.item(),
            "learning_rate": scale * config.learning_rate,
        }


def score(policy: CausalLMPolicy, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Log-probability of every token after the first, and which of them are text: both ``[B, longest - 1]``.

    >>> from rlbase.policies.load import random_policy
    >>> logp, mask = score(random_policy("gpt2", vocab_size=4), [[0, 1, 2], [3, 1]])
    >>> mask.tolist()
    [[True, True], [True, False]]
    """
    if not texts or min(map(len, texts)) < 2:
        raise ValueError("language_model: every text must have at least two tokens, the first being given.")
    longest = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    mask = torch.arange(1, longest) < torch.tensor([len(text) for text in texts])[:, None]
    logp, _ = policy.evaluate(Prompt(ids[:, :1], torch.ones_like(ids[:, :1], dtype=torch.bool)), ids[:, 1:])
    return logp, mask


@torch.no_grad()
def nats(
    policy: CausalLMPolicy, texts: Sequence[Sequence[int]], *, batch_size: int = 256
) -> tuple[float, int]:
    """Total surprise in nats over all tokens but the first of each text, and how many these are.

    >>> from rlbase.policies.load import random_policy
    >>> total, tokens = nats(random_policy("gpt2", vocab_size=4), [[0, 1, 2], [3, 1]])
    >>> round(total / tokens, 1), tokens  # log 4 before training
    (1.4, 3)
    """
    total, tokens = 0.0, 0
    for start in range(0, len(texts), batch_size):
        logp, mask = score(policy, texts[start : start + batch_size])
        total, tokens = total - float(logp[mask].double().sum()), tokens + int(mask.sum())
    return total, tokens
