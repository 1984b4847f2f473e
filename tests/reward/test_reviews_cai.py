"""Constitutional AI on the embedded model: what the constitution covers, what revisions leave, who labels what."""

from __future__ import annotations

import random
import re

import pytest
import torch

from rlbase.data.requests import HOSTILE, leaning, safety
from rlbase.data.reviews import genres, review, vocabulary, words
from rlbase.exact import residual_harm
from rlbase.feedback import drafts
from rlbase.policies import load_policy
from rlbase.train.reviews_cai import (
    CONSTITUTION,
    by_constitution,
    by_people,
    compared_by,
    conduct,
    red_team,
    revised,
    weighed,
)
from rlbase.train.reviews_world import Drawn, drawn
from rlbase.types import Choices


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def answers() -> Drawn:
    """What the helpful-only model answers to red-team requests."""
    return drawn(load_policy("reviews-sft"), 720, generator=seeded(), prompts=red_team())


def texts(*found: str) -> Drawn:
    nothing = Choices(
        torch.zeros(len(found), 1), torch.zeros(len(found), 1), torch.ones(len(found), 1).bool()
    )
    return Drawn(nothing, [red_team()[0]] * len(found), list(found), torch.zeros(len(found)))


def test_the_constitution_covers_the_grammar_and_keeps_the_opinion() -> None:
    rng, turned, n = random.Random(0), 0, 1500
    for _ in range(n):
        harsh = review("-", rng.choice(genres()), rng)
        civil = harsh
        for rule in CONSTITUTION:
            civil = rule.keep(civil)
        assert not HOSTILE & set(words(civil)) and set(words(civil)) <= vocabulary(), (harsh, civil)
        assert not re.search(r"\b[Aa]n [^aeiouhAEIOU]|\b[Aa] [aeio]", civil), (harsh, civil)
        assert harsh == civil or any(rule.broken_by(harsh) for rule in CONSTITUTION)
        turned += leaning(harsh) < 0 <= leaning(civil)
    assert turned <= n / 100  # a civil review still finds fault


@pytest.mark.parametrize("recall", [1.0, 0.5])
def test_what_is_left_of_each_principle_follows_its_law(answers: Drawn, recall: float) -> None:
    draws = seeded(1)
    runs = [drafts(text, CONSTITUTION, draws, recall=recall) for text in answers.texts]
    for rule in CONSTITUTION:
        broken = [bool(rule.broken_by(text)) for text in answers.texts]
        for k in range(5):
            left = sum(bool(rule.broken_by(run[k].reply)) for run in runs)
            per_reply = residual_harm(1.0, recall / len(CONSTITUTION), k)
            spread = (sum(broken) * per_reply * (1 - per_reply)) ** 0.5
            assert abs(left - sum(broken) * per_reply) <= 3.5 * spread + 1e-9


def test_only_red_team_answers_are_revised(answers: Drawn) -> None:
    everything = drawn(load_policy("reviews-sft"), 144, generator=seeded(2))
    shown = revised(everything, generator=seeded(), revisions=30)
    for before, after, prompt in zip(everything.texts, shown, everything.prompts, strict=True):
        assert after.prompt == prompt
        if prompt in red_team():
            assert safety([prompt], [after.response]) == [1.0] and after.response.startswith(" ")
        else:
            assert after.response == before
    untouched = revised(answers, generator=seeded(), revisions=0)
    assert [d.response for d in untouched] == [" " + text.strip() if text else "" for text in answers.texts]
    once = [d.response for d in revised(answers, generator=seeded(), revisions=1)]
    assert "" in once  # the model says nothing at all now and then
    assert all(text == " " + text.strip() for text in once if text)


def test_labels_belong_to_the_pair_that_was_drawn() -> None:
    policy: object = load_policy("reviews-sft")
    pairs, found = compared_by(by_constitution, policy, 60, generator=seeded(), prompts=red_team())
    read = policy.tokenizer.decode  # type: ignore[attr-defined]
    for i in range(60):
        for side, text in ((pairs.chosen, found.texts[2 * i]), (pairs.rejected, found.texts[2 * i + 1])):
            assert read(side.actions[i][side.mask[i]].tolist(), skip_special_tokens=True) == text
        breaks = [
            [len(rule.broken_by(text)) for text in found.texts[2 * i : 2 * i + 2]] for rule in CONSTITUTION
        ]
        hand = sum(1 / (1 + 2.718281828459045 ** (-(b - a) / 0.25)) for a, b in breaks) / 4
        assert pairs.prob is not None and pairs.prob[i].item() == pytest.approx(hand, abs=1e-5)
    people, _ = compared_by(by_people, policy, 60, generator=seeded())
    assert people.prob is not None and set(people.prob.tolist()) <= {0.0, 1.0}


def test_conduct_by_hand() -> None:
    civil, rude, kind = " A dull comedy. It is too slow.", " A stupid comedy.", " A lovely comedy."
    found = conduct(texts(civil, rude, kind, kind))
    assert (found.harmful, found.evasive, found.obeys) == (0.25, 0.5, 0.5)
    with pytest.raises(ValueError, match="needs answers to red-team requests"):
        conduct(texts(civil)._replace(prompts=["Write a review of a comedy:"]))


def test_weights_of_the_two_rewards() -> None:
    class Counts:
        def __init__(self, unit: float) -> None:
            self.unit = unit

        def score(self, prompt: object, actions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.unit * mask.sum(1).double()

    mask = torch.tensor([[True, True], [True, False]])
    row = (None, torch.zeros(2, 2), mask)
    assert weighed(Counts(1.0), Counts(-3.0), 2.0)(*row).tolist() == [-10.0, -5.0]  # type: ignore[arg-type]
    assert weighed(Counts(1.0), None, 2.0)(*row).tolist() == [2.0, 1.0]  # type: ignore[arg-type]
    assert weighed(None, Counts(-3.0))(*row).tolist() == [-6.0, -3.0]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for help, for harm, or both"):
        weighed(None, None)
    with pytest.raises(ValueError, match="n must be at least 1"):
        compared_by(by_people, load_policy("reviews-sft"), 0, generator=seeded())


@pytest.mark.parametrize(("n", "group"), [(721, 2), (5, 2), (1442, 721)])
def test_groups_are_drawn_whole(n: int, group: int) -> None:
    with pytest.raises(ValueError, match="drawn: n must be a multiple of group_size"):
        drawn(load_policy("reviews-sft"), n, generator=seeded(), group_size=group)
