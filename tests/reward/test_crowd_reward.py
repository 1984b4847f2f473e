"""The crowd's reward against the truth over seeds, and against votes that are fitted afterwards."""

from __future__ import annotations

import pytest
import torch

from rlbase.feedback import Annotator, Answers, Questions, ask, dawid_skene
from rlbase.train import crowd_reward, linear_reward

WEIGHT = torch.tensor([1.0, -0.5], dtype=torch.float64)
ACCURACY = (0.92, 0.85, 0.6, 0.55, 0.55, 0.25)


def told(seed: int, n: int = 3000, coverage: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, Answers]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=draws, dtype=torch.float64)
    right = (torch.rand(n, generator=draws, dtype=torch.float64) < (x @ WEIGHT).sigmoid()).double()
    crowd = [Annotator(confusion=(1 - a, 1 - a), coverage=coverage) for a in ACCURACY]
    return x, right, ask(crowd, Questions(100 * (2 * right - 1)), draws)


def test_finds_the_reward_and_who_can_be_trusted() -> None:
    found = [crowd_reward(x, said) for x, _, said in map(told, range(5))]
    weights = torch.stack([each.fit.weight for each in found])
    assert (weights.mean(0) - WEIGHT).abs().max() < 0.06
    for each in found:
        right = (each.hits + 1 - each.false_alarms) / 2
        assert (right - torch.tensor(ACCURACY)).abs().max() < 0.05


def test_votes_fitted_afterwards_are_too_small() -> None:
    x, _, said = told(0)
    mean = sum(ACCURACY) / 6  # pooled, a label is right that often: log-odds near 0 shrink by 2 a - 1
    pooled = linear_reward(x, said.share()).weight[0].item()
    assert pooled == pytest.approx(2 * mean - 1, abs=0.05)
    assert crowd_reward(x, said).fit.weight[0].item() > 0.85


def test_a_model_helps_where_annotators_leave_gaps() -> None:
    """Each answers half of the questions; what the features say is worth a rater more."""
    x, right, said = told(0, 4000, coverage=0.5)
    some = said.given.any(1)
    x, right, said = x[some], right[some], said[some]
    alone = ((dawid_skene(said).prob > 0.5) == (right > 0.5)).double().mean()
    together = ((crowd_reward(x, said).prob > 0.5) == (right > 0.5)).double().mean()
    assert together > alone + 0.01


def test_one_rater_who_is_believed_is_bradley_terry() -> None:
    """Nothing tells one rater's errors from chance of the world: with strong trust in them it is the plain fit."""
    x, right, _ = told(1, 500)
    said = Answers(right[:, None].repeat(1, 5))
    torch.testing.assert_close(
        crowd_reward(x, said).fit.weight, linear_reward(x, right).weight, atol=0.02, rtol=0
    )


def test_bad_input_gets_one_sentence() -> None:
    x, _, said = told(0, 20)
    with pytest.raises(ValueError, match="difference must have shape"):
        crowd_reward(x[:5], said)
    with pytest.raises(ValueError, match="pseudo must lie in"):
        crowd_reward(x, said, pseudo=0.0)
    with pytest.raises(TypeError, match="answers must be an Answers"):
        crowd_reward(x, said.label)  # type: ignore[arg-type]


def test_the_prior_holds_the_weights() -> None:
    x, _, said = told(0, 500)
    free, held = (crowd_reward(x, said, prior=prior).fit for prior in (0.0, 1e4))
    assert held.weight.abs().max() < 0.05 < 0.5 < free.weight.abs().max()
    q = crowd_reward(x, said, prior=5.0)
    torch.testing.assert_close(q.fit.weight, linear_reward(x, q.prob, prior=5.0).weight, atol=1e-4, rtol=0)


def test_shapes_that_cannot_be_are_told() -> None:
    x, _, said = told(0, 20)
    for bad, error, sentence in (
        (x[:, 0], ValueError, r"must be \[comparisons, features\], got \[20\]"),
        (torch.tensor(1.0), ValueError, r"must be \[comparisons, features\], got \[\]"),
        (x.tolist(), TypeError, "difference must be a tensor, got list"),
    ):
        with pytest.raises(error, match=sentence):
            crowd_reward(bad, said)  # type: ignore[arg-type]
