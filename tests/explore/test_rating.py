"""Be the rater: the deck tells quality, length and place apart; planted likings are found; no answer is lost."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.exact import kl_optimum
from rlbase.explore import rating
from rlbase.explore.annotating import GOLD, policy_of
from rlbase.explore.live import to_json
from rlbase.explore.rating import (
    AGAIN,
    KEYS,
    NEW,
    RaterPanel,
    answers_of,
    deck,
    fit_rater,
    rating_scene,
    read,
)
from rlbase.feedback import Annotator
from rlbase.train import linear_reward

SEEDS = range(150)


def heard(annotator: Annotator, seed: int) -> str:
    return answers_of(annotator, deck(seed % 5), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_the_deck_is_balanced_and_four_come_back_swapped(seed: int) -> None:
    cards = deck(seed)
    gap = cards.design
    assert gap.shape == (20, 4) and (gap[:, 3] == 1).all()
    torch.testing.assert_close(gap[NEW:, :3], -gap[:AGAIN, :3])
    torch.testing.assert_close(cards.questions.gold, gap[:, :3] @ GOLD)
    better, longer = cards.questions.gold > 0, gap[:, 2] > 0
    for one in (better, longer, better == longer):
        assert one.float().mean() == 0.5
    assert abs(torch.corrcoef(torch.stack([cards.questions.gold, gap[:, 2]]))[0, 1]) < 0.35


@pytest.mark.parametrize(
    ("planted", "truth"),
    [
        (Annotator(), (2.0, 2.0, 0.0, 0.0)),
        (Annotator(position=1.5), (2.0, 2.0, 0.0, 1.5)),
        (Annotator(length=1.0), (2.0, 2.0, 1.0, 0.0)),
        (Annotator(position=-1.0, length=-1.0), (2.0, 2.0, -1.0, -1.0)),
        (Annotator(temperature=2.0, position=2.0), (1.0, 1.0, 0.0, 1.0)),
    ],
    ids=str,
)
def test_planted_likings_lie_in_their_intervals(planted: Annotator, truth: tuple[float, ...]) -> None:
    """Over 150 raters: intervals called 95 % hold length and place in 90 % or more, and not by being wide."""
    held, wide = torch.zeros(4), torch.zeros(4)
    for seed in SEEDS:
        said = torch.tensor([float(letter == "L") for letter in heard(planted, seed)])
        weight, covariance = fit_rater(deck(seed % 5).design, said)
        half = 1.96 * covariance.diagonal().sqrt()
        held += (weight - torch.tensor(truth)).abs() < half
        wide += half
    share, half = held / len(SEEDS), wide / len(SEEDS)
    assert share[2:].min() > 0.9, share
    assert half[3] < 1.5 and half[2] < 1.5  # the prior alone says 3.9
    assert half[3] > 0.87  # twenty answers cannot say more than 1.96 / sqrt(20/4)


def test_nothing_answered_is_the_prior_and_one_sided_answers_stay_finite() -> None:
    cards = deck()
    weight, covariance = fit_rater(cards.design[:0], torch.zeros(0))
    assert weight.abs().max() == 0
    torch.testing.assert_close(covariance, 4 * torch.eye(4, dtype=covariance.dtype))
    always = read("L" * 20, cards)
    assert 1.5 < always.weight[3] < 6 and always.same.value == 0
    with pytest.raises(ValueError, match="no finite weights"):  # what the prior on the place is for
        linear_reward(cards.design, torch.ones(20))


def test_no_more_is_read_from_the_rows_than_the_rows_say() -> None:
    """A strong check of the fit: exact shares in place of letters give the weights back, as the prior gets small."""
    cards = deck()
    weight = torch.tensor([2.0, 2.0, 1.0, -0.5])
    rows = cards.design.repeat(2000, 1)
    found, covariance = fit_rater(rows, (rows @ weight).sigmoid())
    torch.testing.assert_close(found.float(), weight, atol=0.01, rtol=0)
    assert covariance.diagonal().max() < 2e-3


def test_agreement_knows_friend_from_foe() -> None:
    cards = deck()
    gold = "".join("L" if g > 0 else "R" for g in cards.questions.gold)
    against = gold.translate(str.maketrans("LR", "RL"))
    friend, foe = read(gold, cards), read(against, cards)
    assert friend.same.value == foe.same.value == 1
    assert friend.agreement[0] > 0.7 > 0.3 > foe.agreement[0] and friend.alpha > foe.alpha
    assert math.isnan(read("-" * 20, cards).agreement[0])


def test_the_policy_is_the_one_that_the_weights_train() -> None:
    cards = deck()
    found = read(heard(Annotator(), 0), cards)
    n = len(cards.reviews.texts)
    expected = kl_optimum(
        torch.full((n,), 1 / n), cards.reviews.features.double() @ found.weight[:3], beta=0.5
    )
    torch.testing.assert_close(policy_of(cards.reviews, found.weight[:3]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("answers", ["-" * 20, "L" * 20, "R" * 20, "LR" * 10, "L" + "-" * 19, "-" * 19 + "R"])
def test_every_state_draws(answers: str) -> None:
    to_json(rating_scene(answers, deck()))
    data, metadata = RaterPanel(answers)._repr_mimebundle_()
    assert "image/png" in data and len(metadata["image/png"]["alt"]) > 100


def test_favourites_are_the_likeliest_reviews_of_the_policy() -> None:
    panel = RaterPanel().let(Annotator(length=3.0, temperature=0.5))
    policy = policy_of(panel.deck.reviews, read(panel.answers, panel.deck).weight[:3])
    shares, texts = zip(*panel.favourites, strict=True)
    assert list(shares) == sorted(policy.tolist(), reverse=True)[:3]
    assert all(policy[panel.deck.reviews.texts.index(t)] == s for s, t in panel.favourites)
    mean = sum(len(text.split()) for text in texts) / 3
    assert mean > panel.deck.reviews.words.mean() + 5  # who pays for words gets words


def pressed(panel: RaterPanel, *keys: str) -> None:
    for key in keys:
        panel.buttons.children[1 + KEYS.index(key)].click()


def shown(panel: RaterPanel) -> bool:
    return panel._figure.layout.display != "none"


def test_buttons_answer_take_back_and_show() -> None:
    panel = RaterPanel()
    cards = panel.deck
    assert panel.asking == 0 and not shown(panel)
    for side in (cards.left, cards.right):
        assert cards.reviews.texts[side[0]].replace("'", "&#x27;") in panel._cards.value
    pressed(panel, "left", "right", "right", "take back")
    assert (panel.answers[:4], panel.asking) == ("LR--", 2) and not shown(panel)
    pressed(panel, KEYS[3])
    assert shown(panel) and "2 of 20 answered" in panel._figure.current.caption
    pressed(panel, "left")
    assert not shown(panel), "who goes on is not to see the result"
    pressed(panel, *["right"] * 17)
    assert panel.asking is None and shown(panel) and panel.answers == "LRL" + "R" * 17
    pressed(panel, "left")  # after the last: nothing happens
    assert panel.answers == "LRL" + "R" * 17
    pressed(panel, "take back", "left")
    assert panel.answers == "LRL" + "R" * 16 + "L"
    pressed(RaterPanel(), "take back")  # nothing there to take back


def test_answers_can_be_passed_in_again() -> None:
    first = RaterPanel(seed=2).let(Annotator(), seed=1)
    again = RaterPanel(first.answers, seed=2)
    assert again.answers == first.answers and again.scene.alt == first.scene.alt
    half = RaterPanel("LR-L", seed=2)
    assert half.asking == 2 and repr(half) == f"RaterPanel('LR-L{'-' * 16}')"
    half.answer(2, "right")
    assert half.let(Annotator(), seed=1).answers == "LRRL" + first.answers[4:]


def test_an_interrupted_cell_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = RaterPanel("L" * 19)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rating, "rating_scene", interrupted)
        pressed(panel, "right")
    assert panel.answers == "L" * 19 + "R"
    pressed(panel, KEYS[3])
    assert shown(panel)


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match="up to 20 letters"):
        RaterPanel("LRX")
    with pytest.raises(ValueError, match="up to 20 letters"):
        RaterPanel("L" * 21)
    panel = RaterPanel()
    with pytest.raises(ValueError, match="numbered 0 to 19"):
        panel.answer(20, "left")
    with pytest.raises(ValueError, match="side must be one of"):
        panel.answer(0, "up")
    with pytest.raises(TypeError, match="whole number"):
        panel.answer(0.5, "left")  # type: ignore[arg-type]
