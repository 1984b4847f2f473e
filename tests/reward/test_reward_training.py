"""Reward models where the truth is known: four arms, margins, ties, rankings, and the ceiling that nobody passes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.exact import bt_projection
from rlbase.losses import bradley_terry, k_wise, plackett_luce
from rlbase.policies import Ensemble, LMRewardModel, MLPReward, TabularReward, frozen_copy, random_policy
from rlbase.train import (
    Rankings,
    Ratings,
    RewardModelConfig,
    reward_model,
    reward_ranking,
    reward_regression,
    win_probability,
)
from rlbase.train.reward_model import pair_loss
from rlbase.train.reward_ranking import ranking_loss
from rlbase.types import Choices, Discrete, PreferencePairs, Prompt

B4 = torch.tensor([0.0, 1.0, 0.5, 2.0])
EXACT = RewardModelConfig(updates=250, batch_size=10_000_000, learning_rate=0.1, schedule="linear")


def arms(numbers: Tensor | list[int]) -> Choices:
    """Pulls of a one-state bandit's arms, one a row."""
    actions = torch.as_tensor(numbers).view(-1, 1)
    return Choices(torch.zeros_like(actions), actions, torch.ones_like(actions, dtype=torch.bool))


def compared(winners: Any, losers: Any, **extra: Any) -> PreferencePairs:
    return PreferencePairs(arms(winners), arms(losers), **extra)


def fit(model: Any, pairs: PreferencePairs, config: RewardModelConfig = EXACT) -> list[dict[str, float]]:
    return list(reward_model(model, pairs, config))


def table(model: TabularReward) -> Tensor:
    return model.table.detach()[0]


def deviation(found: Tensor, truth: Tensor) -> float:
    """The largest difference from the truth once the free constant is taken out."""
    gap = found - truth
    return (gap - gap.mean()).abs().max().item()


PAIRS = torch.combinations(torch.arange(4))
FIRST, SECOND = PAIRS[:, 0], PAIRS[:, 1]
WINS = torch.sigmoid(B4[FIRST] - B4[SECOND])


# identified up to a constant


def test_all_preferences_give_back_the_reward_up_to_a_constant() -> None:
    model = TabularReward(1, 4)
    records = fit(model, compared(FIRST, SECOND, prob=WINS))
    assert deviation(table(model), B4) < 1e-3
    # at rest the loss is the entropy of the labels, and the accuracy the ceiling
    entropy = -(WINS * WINS.log() + (1 - WINS) * (1 - WINS).log()).mean()
    assert records[-1]["loss"] == pytest.approx(entropy.item(), abs=1e-5)
    assert records[-1]["accuracy"] == pytest.approx(torch.maximum(WINS, 1 - WINS).mean().item(), abs=1e-6)
    assert records[-1]["confidence"] == pytest.approx(records[-1]["accuracy"], abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_million_comparisons_are_enough(seed: int) -> None:
    """Binomial counts of 10^6 sampled comparisons, as soft labels."""
    generator = torch.Generator().manual_seed(seed)
    asked = 1_000_000 // 6
    won = torch.binomial(torch.full((6,), float(asked)), WINS, generator=generator)
    model = TabularReward(1, 4)
    fit(model, compared(FIRST, SECOND, prob=won / asked))
    assert deviation(table(model), B4) < 0.02


def test_a_million_single_labels_by_batches() -> None:
    """The same as hard labels in shuffled batches; the fit is that of the counts, found by Newton's method."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(0, 6, (1_000_000,), generator=generator)
    first_won = torch.rand(1_000_000, generator=generator) < WINS[which]
    winners = torch.where(first_won, FIRST[which], SECOND[which])
    losers = torch.where(first_won, SECOND[which], FIRST[which])
    model = TabularReward(1, 4)
    config = RewardModelConfig(epochs=3, batch_size=20_000, learning_rate=0.05, schedule="linear")
    fit(model, compared(winners, losers), config)
    assert deviation(table(model), B4) < 0.02
    counts = torch.zeros(4, 4).index_put_((winners, losers), torch.ones(1_000_000), accumulate=True)
    asked = counts + counts.T
    best = bt_projection((counts / asked.clamp(min=1)).fill_diagonal_(0.5), weight=asked)
    assert deviation(table(model), best.float()) < 0.005


def test_an_unconnected_graph_has_many_answers() -> None:
    """Arms 0 and 1 are compared, and 2 and 3, never across: two fits that disagree by 5 have one and the same loss."""
    kept = torch.tensor([0, 5])
    pairs = compared(FIRST[kept], SECOND[kept], prob=WINS[kept])
    one, two = TabularReward(1, 4), TabularReward(1, 4)
    two.table.data[0, 2:] += 5
    losses = [fit(model, pairs)[-1]["loss"] for model in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert deviation(table(one), table(two)) > 2
    for model in (one, two):
        gaps = table(model)[FIRST[kept]] - table(model)[SECOND[kept]]
        torch.testing.assert_close(gaps, (B4[FIRST] - B4[SECOND])[kept], atol=1e-3, rtol=0)


def test_who_never_wins_falls_without_end() -> None:
    """The last arm lost every comparison: its maximum likelihood is at minus infinity, and training goes there."""
    pairs = compared([0, 1, 0, 1], [1, 0, 3, 3])
    model, gaps, losses = TabularReward(1, 4), [], []
    for _ in range(4):
        record = fit(model, pairs, replace(EXACT, updates=100, schedule="constant"))[-1]
        losses.append(record["loss"])
        gaps.append((table(model)[0] - table(model)[3]).item())
    assert all(later > earlier + 1 for earlier, later in itertools.pairwise(gaps)), gaps
    # the two even pairs of four stay at log 2, the other two go to 0
    assert losses[-1] == pytest.approx(math.log(2) / 2, abs=1e-4) and losses[0] > losses[-1]
    assert abs((table(model)[0] - table(model)[1]).item()) < 1e-3, "even among themselves"


# margins


@pytest.mark.parametrize("p", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("m", [0.0, 1.0, 3.0])
def test_a_margin_inflates_the_gap_as_predicted(p: float, m: float) -> None:
    """gap = log((b + sqrt(b^2 + 4 p (1-p))) / (2 (1-p))), b = (2p-1) e^m."""
    model = TabularReward(1, 2)
    pairs = compared([0], [1], prob=torch.tensor([p]), margin=torch.tensor([m]))
    fit(model, pairs)
    b = (2 * p - 1) * math.exp(m)
    predicted = math.log((b + math.sqrt(b * b + 4 * p * (1 - p))) / (2 * (1 - p)))
    gap = (table(model)[0] - table(model)[1]).item()
    assert gap == pytest.approx(predicted, abs=2e-3)
    assert m == 0 or gap > math.log(p / (1 - p)) + 0.15


def test_margins_belong_to_their_own_pair() -> None:
    """Margins 3 and 0 on two pairs: only the first is stretched."""
    model = TabularReward(1, 4)
    pairs = compared([0, 2], [1, 3], prob=torch.tensor([0.75, 0.75]), margin=torch.tensor([3.0, 0.0]))
    fit(model, pairs)
    stretched, plain = (table(model)[[0, 2]] - table(model)[[1, 3]]).tolist()
    assert plain == pytest.approx(math.log(3), abs=2e-3)
    assert stretched > plain + 1


# held-out comparisons and the ceiling


def linear_world(n: int, seed: int) -> tuple[PreferencePairs, Tensor]:
    """Pairs of four features each, judged by a linear reward; and the true P(first is preferred)."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, n, 1, 4, generator=generator)
    truth = torch.tensor([1.0, -0.5, 0.8, 0.0])
    prob = torch.sigmoid((features[0] - features[1])[:, 0] @ truth)
    first = torch.rand(n, generator=generator) < prob
    one = torch.where(first[:, None, None], features[0], features[1])
    two = torch.where(first[:, None, None], features[1], features[0])
    zero, yes = torch.zeros(n, 1).long(), torch.ones(n, 1).bool()
    pairs = PreferencePairs(Choices(one, zero, yes), Choices(two, zero, yes))
    return pairs, torch.where(first, prob, 1 - prob)


def test_accuracy_reaches_the_ceiling_and_stays_below() -> None:
    """Raters who flip coins cannot be predicted better than E[max(p, 1-p)], however many labels there are."""
    pairs, _ = linear_world(8000, 0)
    held_out, prob = linear_world(8000, 1)
    ceiling = torch.maximum(prob, 1 - prob).mean().item()
    assert 0.6 < ceiling < 0.9
    model = MLPReward(4, Discrete(1), hidden=(16,))
    config = RewardModelConfig(epochs=6, batch_size=128, learning_rate=1e-2)
    records = list(reward_model(model, pairs, config, held_out=replace(held_out, prob=prob)))
    assert ceiling - 0.01 < records[-1]["held_out_accuracy"] <= ceiling
    # and it knows how sure it may be: confidence is accuracy, and its probabilities are the true ones
    assert records[-1]["held_out_confidence"] == pytest.approx(ceiling, abs=0.01)
    said = win_probability(model, held_out)
    assert (said - prob).abs().mean() < 0.04
    # on labels drawn with chance, the accuracy is the same within its noise of 1 / sqrt(8000)
    sampled = list(
        reward_model(model, pairs, replace(config, updates=1, learning_rate=0.0), held_out=held_out)
    )
    assert sampled[-1]["held_out_accuracy"] == pytest.approx(ceiling, abs=0.02)


def test_a_language_model_learns_to_judge_text() -> None:
    """Reward: twos in the response minus half its length; 2,000 noisy comparisons of responses of all lengths."""
    generator = torch.Generator().manual_seed(0)

    def judged(n: int) -> tuple[PreferencePairs, Tensor]:
        actions = torch.randint(0, 4, (2 * n, 6), generator=generator)
        mask = torch.arange(6) < torch.randint(1, 7, (2 * n, 1), generator=generator)
        reward = ((actions == 2) & mask).sum(1) * 2.0 - 0.5 * mask.sum(1)
        prompts = torch.randint(0, 4, (n, 2), generator=generator).repeat(2, 1)
        rows = Choices(Prompt(prompts, torch.ones_like(prompts).bool()), actions, mask)
        prob = torch.sigmoid(reward[:n] - reward[n:])
        return PreferencePairs(rows[:n], rows[n:], prob=prob), prob

    pairs, prob = judged(2000)
    first = torch.rand(2000, generator=generator) < prob
    held_out, truth = judged(500)
    model = LMRewardModel(random_policy("gpt2", vocab_size=4, hidden_size=32, layers=2))
    labelled = PreferencePairs(pairs.chosen, pairs.rejected, prob=first.float())
    config = RewardModelConfig(epochs=6, batch_size=64, learning_rate=3e-3, group_by_length=True)
    records = list(reward_model(model, labelled, config, held_out=held_out, generator=generator))
    assert records[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    ceiling = torch.maximum(truth, 1 - truth).mean().item()
    assert ceiling - 0.01 < records[-1]["held_out_accuracy"] <= ceiling + 1e-6, (records[-1], ceiling)


# labels of 0 and of 100 %, identical pairs, one choice


def test_labels_of_nothing_and_of_all() -> None:
    """prob 0 says that the rejected one is better: the same fit as with the sides changed."""
    one, two = TabularReward(1, 2), TabularReward(1, 2)
    config = replace(EXACT, updates=50)
    records = fit(one, compared([0], [1], prob=torch.zeros(1)), config)
    fit(two, compared([1], [0], prob=torch.ones(1)), config)
    torch.testing.assert_close(table(one), table(two))
    assert records[-1]["accuracy"] == 1 and records[-1]["margin"] < 0


def test_identical_pairs_teach_nothing() -> None:
    model = TabularReward(1, 2)
    records = fit(model, compared([0, 1], [0, 1]), replace(EXACT, updates=5))
    assert table(model).tolist() == [0.0, 0.0]
    assert all(r["loss"] == pytest.approx(math.log(2)) and r["accuracy"] == 0.5 for r in records)


def test_centring_chooses_a_zero_and_leaves_the_gap() -> None:
    model, pairs = TabularReward(1, 2), compared([0], [1], prob=torch.tensor([0.9]))
    model.table.data += 3
    fit(model, pairs, replace(EXACT, centring=0.1))
    torch.testing.assert_close(table(model), torch.tensor([0.5, -0.5]) * math.log(9), atol=2e-3, rtol=0)
    model.table.data += 3
    fit(model, pairs)
    assert table(model).mean().item() == pytest.approx(3, abs=1e-3), "comparisons alone do not move it"


# rankings and ratings


SIX = torch.tensor([0.0, 1.0, 0.5, 2.0, -1.0, -0.3])


def ranked(n: int, k: int) -> Rankings:
    """``k`` of six arms, ranked by reward plus Gumbel noise."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(n, 6, generator=generator).argsort(1)[:, :k]
    gumbel = -(-torch.rand(n, k, generator=generator).log()).log()
    ranks = (SIX[numbers] + gumbel).argsort(1, descending=True).argsort(1) + 1
    return Rankings(arms(numbers.flatten()), ranks)


@pytest.mark.parametrize("kind", ["plackett_luce", "k_wise"])
def test_rankings_give_back_the_reward(kind: str) -> None:
    """Ranked by Gumbel noise they are Plackett-Luce (Yellott 1977), and their pairs Bradley-Terry."""
    model = TabularReward(1, 6)
    config = replace(EXACT, updates=120, ranking=kind)
    records = list(reward_ranking(model, ranked(10_000, 4), config))
    assert deviation(table(model), SIX) < 0.06
    assert records[-1]["confidence"] == pytest.approx(records[-1]["accuracy"], abs=0.01)


def test_a_ranking_is_one_element_and_its_pairs_read_k_minus_one_times() -> None:
    """The mean of K-wise losses is the mean over all split pairs, and so is its gradient; the work is not."""
    rankings, model = ranked(5, 4), TabularReward(1, 6, spread=1.0)
    read: list[int] = []
    honest = model.score

    def counted(obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
        read.append(len(actions))
        return honest(obs, actions, mask)

    model.score = counted  # type: ignore[method-assign]
    config = RewardModelConfig()
    whole, metrics = ranking_loss(model, rankings, config)
    split, other = pair_loss(model, rankings.pairs(), config)
    assert read == [5 * 4, 5 * 4 * 3]
    torch.testing.assert_close(whole, split)
    for name in ("accuracy", "margin", "confidence"):
        torch.testing.assert_close(metrics[name], other[name])
    gradients = [torch.autograd.grad(loss, model.table)[0] for loss in (whole, split)]
    torch.testing.assert_close(*gradients)


def test_split_pairs_count_long_rankings_more() -> None:
    """Prompts with 4 and with 2 responses: 6 pairs against 1. One element each gives both the same say."""
    model = TabularReward(1, 6, spread=1.0)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    rankings = Rankings(arms([0, 1, 2, 3, 4, 5, 0, 0]), torch.tensor([[1, 2, 3, 4], [1, 2, 9, 9]]), mask)
    r = table(model)
    four = k_wise(r[None, :4], torch.tensor([[1, 2, 3, 4]]))
    two = bradley_terry(r[4:5], r[5:6])
    whole, metrics = ranking_loss(model, rankings, RewardModelConfig())
    known = model.table[0].detach()
    assert metrics["reward_mean"].item() == pytest.approx(known.mean().item(), abs=1e-6), (
        "each arm once, no filler"
    )
    split, _ = pair_loss(model, rankings.pairs(), RewardModelConfig())
    torch.testing.assert_close(whole, (four + two)[0] / 2)
    torch.testing.assert_close(split, (6 * four + two)[0] / 7)


def test_rankings_keep_a_prompt_together() -> None:
    rankings = ranked(4, 3)
    some = rankings[torch.tensor([2, 0])]
    expected = torch.cat([rankings.choices.actions.view(4, 3)[2], rankings.choices.actions.view(4, 3)[0]])
    assert some.choices.actions.flatten().tolist() == expected.tolist()
    loss, _ = ranking_loss(TabularReward(1, 6, spread=1.0), some, RewardModelConfig(ranking="plackett_luce"))
    assert loss.isfinite()


def test_plackett_luce_sorts_before_it_scores() -> None:
    model = TabularReward(1, 3)
    model.table.data = torch.tensor([[0.3, -0.2, 0.9]])
    rankings = Rankings(arms([0, 1, 2]), torch.tensor([[2, 3, 1]]))  # 2 before 0 before 1
    loss, _ = ranking_loss(model, rankings, RewardModelConfig(ranking="plackett_luce"))
    torch.testing.assert_close(loss, plackett_luce(torch.tensor([[0.9, 0.3, -0.2]]))[0])


def test_ratings_are_averaged() -> None:
    numbers, ratings = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1.0, 2.0, 4.0, 4.0, 5.0])
    model = TabularReward(1, 2)
    given = Ratings(arms(numbers), ratings)
    record = list(reward_regression(model, given, replace(EXACT, updates=600), held_out=given))[-1]
    torch.testing.assert_close(table(model), torch.tensor([1.5, 13 / 3]), atol=2e-3, rtol=0)
    # squared errors .25 .25 .1111 .1111 .4444 over five
    assert record["held_out_squared_error"] == pytest.approx((0.5 + 2 / 3) / 5, abs=1e-4)
    assert record["held_out_loss"] == pytest.approx((0.5 + 2 / 3) / 10, abs=1e-4)


# runs


def lm_pairs(n: int = 18) -> PreferencePairs:
    generator = torch.Generator().manual_seed(1)
    actions = torch.randint(0, 4, (2 * n, 3), generator=generator)
    mask = torch.arange(3) < torch.randint(1, 4, (2 * n, 1), generator=generator)
    prompts = torch.randint(0, 4, (n, 2), generator=generator).repeat(2, 1)
    rows = Choices(Prompt(prompts, torch.ones_like(prompts).bool()), actions, mask)
    return PreferencePairs(rows[:n], rows[n:], margin=torch.rand(n, generator=generator))


@pytest.mark.parametrize("kind", ["pairs", "rankings", "ratings"])
def test_resume_in_the_middle_of_a_pass(kind: str, tmp_path: Path) -> None:
    def run(path: Path | None) -> tuple[Any, Any]:
        policy = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1)
        model = LMRewardModel(policy, torch.Generator().manual_seed(5))
        config = RewardModelConfig(
            epochs=2, batch_size=4, learning_rate=1e-2, group_by_length=True, centring=0.01
        )
        extra: dict[str, Any] = {"generator": torch.Generator().manual_seed(3), "checkpoint": path}
        pairs = lm_pairs()
        if kind == "pairs":
            return reward_model(model, pairs, config, held_out=pairs[:5], **extra), model
        if kind == "rankings":
            rankings = Rankings(pairs.joined(), torch.tensor([[1, 2]]).expand(18, 2))
            return reward_ranking(model, rankings, config, held_out=rankings[torch.arange(5)], **extra), model
        given = Ratings(pairs.chosen, torch.arange(18.0))
        return reward_regression(model, given, config, held_out=given[:5], **extra), model

    whole, one = run(None)
    records = list(whole)
    assert len(records) == 10
    assert math.isnan(records[0]["held_out_loss"]) and math.isfinite(records[4]["held_out_loss"])
    resumed: list[dict[str, float]] = []
    two = one
    for steps in (2, 1, 4, 99):  # passes are five batches: stops in the middle of both
        part, two = run(tmp_path / "run.safetensors")
        resumed += [record for _, record in zip(range(steps), part, strict=False)]
    assert [str(r) for r in resumed] == [str(r) for r in records]
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    part, _ = run(tmp_path / "run.safetensors")
    assert list(part) == []


def test_padding_is_not_computed() -> None:
    """Rows padded to 9 + 12 columns, of which a batch needs 2 + 3: that is what the model gets to read."""
    pairs, read = lm_pairs(4), []
    prompts = torch.zeros(4, 9).long()
    prompts[:, -2:] = 1
    wide = Prompt(prompts, torch.arange(9).expand(4, 9) >= 7)
    pad = torch.zeros(4, 9).long()

    def widened(side: Choices) -> Choices:
        return Choices(wide, torch.cat((side.actions, pad), 1), torch.cat((side.mask, pad.bool()), 1))

    class Watched(LMRewardModel):
        def score(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
            read.append((len(mask), obs.ids.shape[1], actions.shape[1]))
            return super().score(obs, actions, mask)

    model = Watched(random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1))
    both = PreferencePairs(widened(pairs.chosen), widened(pairs.rejected))
    given = Ratings(both.chosen, torch.arange(4.0))
    rankings = Rankings(both.joined(), torch.tensor([[1, 2]]).expand(4, 2))
    config = RewardModelConfig(updates=1)
    for run in (
        reward_model(model, both, config),
        reward_regression(model, given, config),
        reward_ranking(model, rankings, config),
    ):
        list(run)
    assert read == [(8, 2, 3), (4, 2, 3), (8, 2, 3)]


def test_a_nan_is_one_sentence_and_leaves_the_model_alone() -> None:
    class Broken(TabularReward):
        def score(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
            return super().score(obs, actions, mask) * float("nan")

    model = Broken(1, 2)
    told = (
        r"^reward_model, update 0: the model's scores or their gradient are not finite \(the loss is nan\); "
    )
    with pytest.raises(FloatingPointError, match=told):
        fit(model, compared([0], [1]))
    assert table(model).tolist() == [0.0, 0.0]


def test_held_out_is_the_mean_over_all_whatever_the_batches() -> None:
    model, pairs = TabularReward(1, 4, spread=1.0), compared(FIRST, SECOND, prob=WINS)
    said = []
    for batch_size in (1, 4, 6):
        config = RewardModelConfig(updates=1, batch_size=batch_size, learning_rate=0.0)
        said.append(list(reward_model(model, pairs, config, held_out=pairs))[-1])
    for name in ("loss", "accuracy", "margin", "confidence", "reward_mean"):
        assert len({round(r[f"held_out_{name}"], 5) for r in said}) == 1
    whole, metrics = pair_loss(model, pairs, RewardModelConfig())
    assert said[0]["held_out_loss"] == pytest.approx(whole.item(), rel=1e-5)
    assert said[0]["held_out_margin"] == pytest.approx(metrics["margin"].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("run", "error", "told"),
    [
        (
            lambda: reward_model(3, compared([0], [1])),
            TypeError,
            "reward_model: model must have score, got int",
        ),  # type: ignore[arg-type]
        (
            lambda: reward_model(TabularReward(1, 2), [1]),  # type: ignore[arg-type]
            TypeError,
            r"reward_model: pairs must be a PreferencePairs, got \[1\]",
        ),
        (
            lambda: reward_model(TabularReward(1, 2), compared([], [])),
            ValueError,
            "the number of rows must be at least 1, got 0",
        ),
        (
            lambda: reward_model(Ensemble([TabularReward(1, 2)]), compared([0], [1])),
            TypeError,
            "reward_model: the members of an ensemble learn one by one",
        ),
        (
            lambda: reward_model(frozen_copy(TabularReward(1, 2)), compared([0], [1])),
            ValueError,
            "reward_model: the model has no parameter that trains",
        ),
        (
            lambda: reward_model(TabularReward(1, 2), compared([0], [1], prob=torch.tensor([1.5]))),
            ValueError,
            r"soft_bradley_terry: prob_a must lie in \[0, 1\], got 1.5",
        ),
        (
            lambda: reward_ranking(
                TabularReward(1, 3),
                Rankings(arms([0, 1, 2]), torch.tensor([[1, 2, 2]])),
                RewardModelConfig(ranking="plackett_luce"),
            ),
            ValueError,
            "reward_ranking: plackett_luce needs rankings without ties and without mask",
        ),
        (
            lambda: [Rankings(arms([0, 1, 2]), torch.tensor([1, 2, 3]))],
            ValueError,
            r"Rankings: ranks must be \[N, K\] with a rank for each of the 3 rows of choices, got \[3\]",
        ),
        (
            lambda: [Ratings(arms([0]), torch.tensor([float("nan")]))],
            ValueError,
            "Ratings: ratings must be finite",
        ),
    ],
)
def test_one_sentence_for_bad_input(run: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        list(run())
