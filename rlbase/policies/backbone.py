"""What every head over a transformer shares: padding, positions, who looks at whom, and the shift by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlbase.types import Prompt


def state_features(backbone: nn.Module, obs: Prompt, actions: Tensor) -> Tensor:
    """Hidden states ``[B, T + 1, H]`` of the states before each of ``actions [B, T]`` and after the last.

    Action t is chosen at the position of the token before it: the first at the prompt's last
    token, the second at the first action. This is the one place that knows about the shift.
    """
    device = next(backbone.parameters()).device
    ids = torch.cat((obs.ids, actions.to(obs.ids.device)), 1).to(device)
    mask, positions = _mask_and_positions(obs.to(device), actions.shape[1])
    return _hidden(backbone, ids, _attention(backbone, mask), positions, None)[:, obs.ids.shape[1] - 1 :]


def _attention(backbone: Any, mask: Tensor) -> Tensor:
    """Who may look at whom: every token at those before it that are no padding, and padding at itself.

    Left to transformers, padding looks at nothing, and on a GPU some attention kernels then send NaN backwards from
    positions that nobody reads (seen on an H100 in bfloat16, at rows of a multiple of 64 tokens).
    """
    config = backbone.config
    plain = config._attn_implementation == "sdpa" and getattr(config, "sliding_window", None) is None
    if not plain or bool(mask.all()):
        return mask
    causal = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return (causal & mask[:, None, None, :]) | itself


def _mask_and_positions(obs: Prompt, extra: int) -> tuple[Tensor, Tensor]:
    """Attention mask and positions of the prompts and ``extra`` tokens more, both ``[B, P + extra]``."""
    mask = torch.cat((obs.mask, obs.mask.new_ones(len(obs), extra)), 1)
    return mask, (mask.cumsum(1) - 1).clamp_(min=0)


def _hidden(backbone: Any, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
    """Final hidden states ``[B, S, H]`` of the tokens ``ids [B, S]``."""
    options = {"past_key_values": cache, "use_cache": cache is not None}
    return backbone(ids, attention_mask=mask, position_ids=positions, **options)[0]


def _check_tokens(where: str, vocab_size: int, obs: Prompt, actions: Tensor | None = None) -> None:
    if obs.ids.ndim != 2 or obs.ids.shape != obs.mask.shape:
        shapes = f"ids {list(obs.ids.shape)} and mask {list(obs.mask.shape)}"
        raise ValueError(f"Prompt: ids and mask must both have shape [B, P], got {shapes}.")
    if obs.ids.numel() == 0 or not bool(obs.mask.any(1).all()):
        raise ValueError("Prompt: every prompt must have at least one token (the end-of-text token will do).")
    if not bool((obs.mask[:, 1:] >= obs.mask[:, :-1]).all()):
        raise ValueError("Prompt: prompts must be padded on the left (mask False, then True).")
    for name, ids in (("prompt", obs.ids), ("action", actions)):
        if ids is not None and ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= vocab_size):
            worst = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
            raise ValueError(f"{where}: {name} tokens must lie in 0..{vocab_size - 1}, got {worst}.")


def _check_length(where: str, context: int | None, length: int) -> None:
    if context is not None and length > context:
        raise ValueError(
            f"{where}: prompt and response together have {length} tokens, "
            f"more than the model's context of {context}."
        )
