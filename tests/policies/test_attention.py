"""Padding looks at itself and at nothing else; what is read does not change by it, and no kernel has an empty row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlbase.policies import backbone, random_policy
from rlbase.types import Prompt

ARCHITECTURES = ("gpt2", "gpt_neox", "llama")


def rows(width: int, response: int, vocab: int, seed: int = 0) -> tuple[Prompt, Tensor]:
    g = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([[width], [width // 2], [1]])
    mask = torch.arange(width)[None] >= width - lengths
    return Prompt(torch.randint(vocab, (3, width), generator=g), mask), torch.randint(
        vocab, (3, response), generator=g
    )


def test_who_looks_at_whom_by_hand() -> None:
    """A row of one pad and two tokens: the pad sees itself, the tokens see themselves and what is before, no pad."""
    policy = random_policy("gpt2", vocab_size=5)
    mask = torch.tensor([[False, True, True], [True, True, True]])
    sees = backbone._attention(policy.model.base_model, mask)[:, 0].int().tolist()
    assert sees == [[[1, 0, 0], [0, 1, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]]
    dense = torch.ones(2, 3).bool()
    assert backbone._attention(policy.model.base_model, dense) is dense  # kernels without a mask are faster


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_numbers_as_with_the_mask_that_transformers_makes(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = random_policy(architecture, vocab_size=50, initializer_range=0.3)
    prompt, actions = rows(9, 5, 50)
    found = []
    for theirs in (False, True):
        if theirs:
            monkeypatch.setattr(backbone, "_attention", lambda _, mask: mask)
        policy.zero_grad()
        logp, _ = policy.evaluate(prompt, actions)
        logp.sum().backward()
        found.append([logp.detach(), *(p.grad.clone() for p in policy.parameters() if p.grad is not None)])
    for ours, others in zip(*found, strict=True):
        torch.testing.assert_close(ours, others, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel in question runs on a GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_finite_in_bfloat16_on_a_gpu(architecture: str) -> None:
    """With empty rows of attention, 64, 192 and 320 tokens gave NaN gradients on an H100; 128 and 256 did not."""
    policy = random_policy(architecture, vocab_size=50, hidden_size=64, context=512).to("cuda")
    for length in (64, 128, 192, 320):
        prompt, actions = rows(length - 16, 17, 50)
        policy.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logp, _ = policy.evaluate(prompt.to("cuda"), actions.to("cuda"))
        logp.mean().backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in policy.parameters())
