"""The shipped stages: what the committed models do, and the recipe that made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbase.cli import main
from rlbase.data.requests import appeal
from rlbase.feedback.raters import Rater
from rlbase.policies import LMCritic, LMRewardModel, frozen_copy, load_policy, load_reward_model
from rlbase.train import reviews_chain, reviews_world
from rlbase.train.ppo import ppo
from rlbase.train.reviews_chain import RATER, RLHF, compared, measure_policy, measure_reward, request_world
from rlbase.types import Choices, Prompt


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def written(tokenizer: Any, rows: Choices) -> list[list[str]]:
    """The prompts of ``rows`` and the responses to them, as texts."""
    sides = ((rows.obs.ids, rows.obs.mask), (rows.actions, rows.mask))
    return [
        [
            tokenizer.decode(row[kept].tolist(), skip_special_tokens=True)
            for row, kept in zip(*side, strict=True)
        ]
        for side in sides
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[dict[str, float]]]]:
    """Both stages, from a few rows only."""
    folder = tmp_path_factory.mktemp("chain")
    yield (
        folder,
        list(reviews_chain.train_reviews_chain(folder, demonstrations=32, comparisons=40, measured_on=36)),
    )


def test_recipe_yields_both_stages_and_writes_them(made: tuple[Path, list[dict[str, float]]]) -> None:
    folder, (*records, figures) = made
    stages = ["margin" in record for record in records]
    assert stages == sorted(stages) and {*stages} == {False, True}  # demonstrations first, then comparisons
    assert sorted(path.name for path in folder.iterdir()) == ["reviews-reward", "reviews-sft"]
    for name in ("reviews-sft", "reviews-reward"):
        files = list((folder / name).iterdir())
        assert "README.md" in {path.name for path in files}
        assert sum(path.stat().st_size for path in files) <= 2_200_000
        assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
        assert "{" not in (folder / name / "README.md").read_text()
    assert 0 <= figures["accuracy"] <= 1 and figures["measured"] == 36


def test_recipe_is_the_same_every_time(made: tuple[Path, list[dict[str, float]]], tmp_path: Path) -> None:
    folder, records = made
    again = reviews_chain.train_reviews_chain(tmp_path, demonstrations=32, comparisons=40, measured_on=36)
    assert repr(records) == repr(list(again))  # nothing was held out, so that there are NaNs
    for path in folder.glob("*/*"):
        assert path.read_bytes() == (tmp_path / path.parent.name / path.name).read_bytes()


def test_interrupted_recipe_leaves_what_was_there(
    made: tuple[Path, list[dict[str, float]]], tmp_path: Path
) -> None:
    for _ in reviews_chain.train_reviews_chain(tmp_path, demonstrations=32, comparisons=40, measured_on=36):
        break
    assert list(tmp_path.iterdir()) == []


def test_command_names_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["train-reviews-chain", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("train-reviews-chain: cannot use ")


def test_pairs_are_neighbours_and_the_rater_goes_by_their_gold_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = load_policy("reviews-sft")
    monkeypatch.setattr(reviews_world, "AT_ONCE", 90)
    found = compared(policy, 100, generator=seeded(), rater=Rater(temperature=0))  # more than fit at once
    assert len(found.pairs) == 100 and len(found.responses) == len(found.gold) == 200
    ids = found.responses.obs.ids
    assert torch.equal(ids[::2], ids[1::2])  # both responses answer one request
    texts = written(policy.tokenizer, found.responses)
    assert torch.allclose(found.gold, torch.tensor(appeal(*texts)))
    better = torch.where(found.gold[::2] > found.gold[1::2], 0, 1) + torch.arange(0, 200, 2)
    told = found.gold[::2] != found.gold[1::2]
    assert torch.equal(found.pairs.chosen.actions[told], found.responses.actions[better][told])
    assert torch.equal(found.pairs.rejected.actions[told], found.responses.actions[better ^ 1][told])
    assert found.ceiling == pytest.approx(1 - 0.5 * (~told).double().mean().item())


def test_no_comparison_is_an_error() -> None:
    with pytest.raises(ValueError, match="compared: n must be"):
        compared(load_policy("reviews-sft"), 0, generator=seeded())


def test_normalised_to_demonstrations_and_the_spread_of_responses() -> None:
    policy = load_policy("reviews-sft")
    found = compared(policy, 30, generator=seeded())
    model = LMRewardModel(policy, seeded())
    shown = found.pairs.chosen
    reviews_chain.normalise_to(model, found.responses, shown)
    with torch.no_grad():
        scores = model.score(found.responses.obs, found.responses.actions, found.responses.mask)
        assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)
        assert model.score(shown.obs, shown.actions, shown.mask).mean().item() == pytest.approx(0, abs=1e-4)


def test_the_raters_own_score_is_as_sure_as_it_is_right() -> None:
    """What the rater goes by, in another unit: its verdicts are Bayes', so its mean confidence is the ceiling."""
    policy = load_policy("reviews-sft")

    class Oracle:
        scale = torch.tensor(4.0)

        def score(self, obs: Prompt, actions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            gold = appeal(*written(policy.tokenizer, Choices(obs, actions, mask)))
            return torch.tensor(gold, dtype=torch.float64) / RATER.temperature / self.scale + 0.3

    figures = measure_reward(Oracle(), policy, n=72)
    assert figures["confidence"] == pytest.approx(figures["ceiling"], abs=1e-6)
    assert figures["correlation"] == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def shipped() -> dict[str, float]:
    """What the shipped policy makes of requests."""
    return measure_policy(load_policy("reviews-sft"), n=216)


def test_shipped_policy_obeys_and_leaves_room(shipped: dict[str, float]) -> None:
    figures = shipped
    assert 0.6 < figures["obeys"] < 0.95
    assert 0.35 < figures["appeal"] < figures["demonstrated_appeal"] < 0.6
    assert figures["nats_per_token"] < 0.9 and figures["unfinished"] < 0.05


def test_shipped_reward_model_judges_below_the_ceiling_and_is_calibrated() -> None:
    figures = measure_reward(load_reward_model("reviews-reward"), load_policy("reviews-sft"), n=300)
    assert 0.64 < figures["accuracy"] < figures["ceiling"] < 0.8
    assert abs(figures["confidence"] - figures["accuracy"]) < 0.06
    assert 0.65 < figures["correlation"] < 0.95


@pytest.mark.slow
def test_ppo_against_the_shipped_reward_model_raises_the_gold_score(shipped: dict[str, float]) -> None:
    policy, model = load_policy("reviews-sft"), load_reward_model("reviews-reward")
    reference, world = frozen_copy(policy), request_world(policy.tokenizer, token_scorer=model.score)
    run = ppo(policy, world, RLHF, critic=LMCritic(model), reference=reference, generator=seeded())
    records = [record for record, _ in zip(run, range(8), strict=False)]
    assert records[-1]["reward_mean"] > records[0]["reward_mean"] + 0.6
    assert measure_policy(policy, n=216)["appeal"] > shipped["appeal"] + 0.05
    assert 1 < records[-1]["ref_k1"] < 15
