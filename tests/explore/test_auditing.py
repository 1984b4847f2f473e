"""An audit in hand: what is planted is found, the policy follows it, gold tells a liking from a correlation."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.data.requests import appeal
from rlbase.data.reviews import words
from rlbase.data.shelf import shelf
from rlbase.explore.auditing import CARE, SIDES, WORD, audit_scene, audited, features, labelled, material
from rlbase.explore.scene import Bars
from rlbase.feedback import Annotator, ask
from rlbase.train.linear_reward import linear_reward


def test_questions_say_of_the_texts_what_can_be_counted() -> None:
    pairs, asked = material()
    assert asked.longer is not None and asked.traits is not None
    for i in (0, 17, 400):
        one, two = (getattr(pairs[i], side) for side in SIDES)
        gold = [appeal([pairs[i].prompt], [text])[0] for text in (one, two)]
        assert asked.gold[i].item() == pytest.approx(CARE * (gold[0] - gold[1]), abs=1e-5)
        ratio = (len(words(one)) + 1) / (len(words(two)) + 1)
        assert asked.longer[i].item() == pytest.approx(math.log2(ratio), abs=1e-5)
        assert asked.traits[i, 0].item() == (WORD in words(one)) - (WORD in words(two))
    assert abs(asked.gold.sign().mean().item()) < 0.1  # nobody judged them yet


def test_a_file_holds_what_was_said() -> None:
    pairs, asked = material()
    rater = Annotator(length=1.0)
    said = ask([rater], asked[:200], torch.Generator().manual_seed(3)).label[:, 0]
    for label, pair, row in zip(said.tolist(), pairs, labelled(rater, 200, seed=3), strict=False):
        assert row.chosen == (pair.chosen if label else pair.rejected) and row.prompt == pair.prompt


@pytest.mark.parametrize("length", [0.0, 1.0])
def test_gold_tells_a_liking_from_a_correlation(length: float) -> None:
    _, asked = material()
    assert asked.longer is not None
    x, gold, alone, known = asked.longer[:, None], asked.gold[:, None], [], []
    for seed in range(6):
        y = ask([Annotator(length=length)], asked, torch.Generator().manual_seed(seed)).label[:, 0]
        alone.append(linear_reward(x, y).weight.item())
        known.append(linear_reward(x, y, covariates=gold).weight.item())
    assert min(alone) > length + 0.2 and abs(sum(known) / 6 - length) < 0.15


def test_the_policy_follows_what_the_rater_likes() -> None:
    plain, long, wordy = (audited(*likes, 1200) for likes in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0)))
    lengths, spoken = shelf().words.double(), features(list(shelf().texts))[:, 1].double()
    assert long.policy.double() @ lengths > plain.policy.double() @ lengths + 2
    assert wordy.policy.double() @ spoken > 0.5 > 0.3 > plain.policy.double() @ spoken
    assert wordy.found.words[0].word == WORD and wordy.share > 0.75 and abs(plain.share - 0.5) < 0.1
    assert plain.found.longer.low > 0.5  # and nobody likes length


def test_the_scene_shows_the_audit() -> None:
    scene = audit_scene(1.0, 2.0, "300")
    seen = audited(1.0, 2.0, 300)
    bars = scene.panels[0].marks[0]
    assert isinstance(bars, Bars) and list(bars.heights[:2]) == pytest.approx(
        [seen.found.longer.value, seen.share]
    )
    assert scene.panels[0].categories[:2] == ("longer", f"“{WORD}”")
    assert (
        f"{len(seen.found.words)} telling words" in scene.caption
        and str(seen.found.shortcut) in scene.caption
    )
