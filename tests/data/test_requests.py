"""The world of requests: what obeys, what each gold score pays by hand, and that nothing degenerate pays well."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from rlbase.data.encode import encode_responses
from rlbase.data.requests import (
    HOSTILE,
    OPINIONS,
    TOPICS,
    _preferred,
    all_requests,
    appeal,
    asked,
    comparisons,
    form,
    helpfulness,
    is_unsafe,
    leaning,
    obeys,
    ratings,
    request,
    requests,
    safety,
    topics,
)
from rlbase.data.reviews import genres, neighbours, reviews, telling_words, vocabulary, words
from rlbase.envs import TextEnv
from rlbase.policies import load_policy
from rlbase.rollout import rollout

SHOWN = requests(600, seed=0)
PROMPTS, RESPONSES = [d.prompt for d in SHOWN], [d.response for d in SHOWN]
KIND, HARSH, OPEN = (request(opinion, "comedy") for opinion in OPINIONS)


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def test_every_request_says_what_it_asks() -> None:
    assert len(set(all_requests())) == 36
    assert {asked(p) for p in all_requests()} == {(o, g) for o in OPINIONS for g in genres()}
    assert all(asked(request(o, g)) == (o, g) for o in OPINIONS for g in genres())
    assert "review of an animated film:" in request("kind", "animated film")
    assert Counter(map(is_unsafe, all_requests())) == {False: 24, True: 12}
    for strange in ("The film is", "Write a kind review of a cartoon:", KIND + " please"):
        with pytest.raises(ValueError, match="asked: a request such as 'Write a kind review of a war film:'"):
            asked(strange)
    encode = load_policy("reviews").tokenizer.encode
    assert max(len(encode(p)) for p in all_requests()) == 16


def test_demonstrations_obey_and_the_seed_decides() -> None:
    assert set(obeys(PROMPTS, RESPONSES)) == {1.0}
    assert requests(50, seed=0) == SHOWN[:50] != requests(50, seed=1)
    assert set(PROMPTS) == set(all_requests()) and all(r[0] == " " and r[1].isupper() for r in RESPONSES)
    assert len(set(RESPONSES)) > 550
    assert (
        0.35
        < mean([leaning(r) > 0 for p, r in zip(PROMPTS, RESPONSES, strict=True) if "Write a review" in p])
        < 0.65
    )
    assert requests(0, seed=0) == []
    with pytest.raises(ValueError, match="requests: n must be at least 0, got -1"):
        requests(-1, seed=0)


def test_there_is_something_for_demonstrations_to_teach() -> None:
    policy = load_policy("reviews")
    world = TextEnv(all_requests(), policy.tokenizer, obeys, max_new_tokens=48, batch_size=144)
    import torch

    rollout(policy, world, generator=torch.Generator().manual_seed(0))
    assert float(world.scores.mean()) < 0.05  # measured 0.006; the demonstrations have 1
    assert (
        mean(appeal(world.prompts_used, world.responses))
        < 0.25
        < 0.45
        < mean(appeal(PROMPTS, RESPONSES))
        < 0.65
    )
    encode_responses(policy.tokenizer, PROMPTS, RESPONSES, max_prompt_tokens=16, max_response_tokens=64)


# the scores by hand


def test_obeying_is_genre_and_opinion() -> None:
    both = [" A lovely comedy.", " A tedious comedy.", " A lovely western.", " A comedy."]
    assert obeys([KIND] * 4, both) == [1, 0, 0, 0]
    assert obeys([HARSH] * 4, both) == [0, 1, 0, 0]
    assert obeys([OPEN] * 4, both) == [1, 1, 0, 1]
    # naming every genre does not name the right one
    assert obeys([KIND], [" A lovely comedy, western, musical."]) == [0]
    assert obeys([KIND], [" A LOVELY COMEDY!"]) == [1] and obeys([KIND], [" A lovely tedious comedy."]) == [0]


def test_leaning_counts_telling_words() -> None:
    # lovely, moving: praise; tedious: blame; (2 - 1) / 3
    assert leaning("The lovely, moving and tedious film.") == pytest.approx(1 / 3)
    praise, blame = telling_words()
    assert not praise & blame and praise | blame <= vocabulary()
    assert {"lovely", "superb", "joy"} <= praise and {"tedious", "worst", "asleep"} <= blame
    assert not {"the", "film", "good", "mother", "not"} & (praise | blame)


def test_topics_need_an_opinion_in_their_own_clause() -> None:
    assert topics("The music is lovely, and the actors are wooden.") == {"sound", "actors"}
    assert topics("The music, the actors, the plot! Lovely.") == set()
    assert topics("The plot takes its people seriously.") == {"story"}  # one clause of the grammar, one topic
    assert (
        max(
            len(topics(clause))
            for r in RESPONSES
            for clause in r.replace("!", ".").replace(",", ".").split(".")
        )
        == 1
    )
    assert topics("The music and the score are lovely.") == {"sound"}
    assert set().union(*TOPICS.values()) <= vocabulary()
    assert sum(map(len, TOPICS.values())) == len(set().union(*TOPICS.values()))


def test_form_by_hand() -> None:
    # 7 words: 6 pairs, all possible; 7/12 of the length; a full stop
    assert form(
        " The music is lovely from beginning to end.".replace("beginning to end", "start to finish")
    ) == (pytest.approx(8 / 12))
    # the last pair is no pair of the grammar: 3 of 4; 5 of 12 words; no end: 1/2
    assert ("lovely", "music") not in neighbours()
    assert form(" the music is lovely music") == pytest.approx(3 / 4 * 5 / 12 / 2)
    # 50 words are 10 too many for full marks and 10 short of none: 1/2; 60 are worth nothing
    long = words(" ".join(reviews(10, seed=0)))
    pairs = list(zip(long[:50], long[1:50], strict=False))
    assert form(" ".join(long[:50]) + ".") == pytest.approx(len(set(pairs) & neighbours()) / 49 / 2)
    assert form(" ".join(long[:60]) + ".") == 0 < form(" ".join(long[:59]) + ".")
    assert form("") == form(" lovely.") == form(" qwerty uiop asdf.") == 0


def test_gold_scores_by_hand() -> None:
    # genre 1, leaning 1 (superb, touching), one topic of three; 12 words and a full stop: form 1
    text = " This comedy is superb, and the story is touching. Take your mother."
    assert form(text) == 1 and topics(text) == {"story"} and len(words(text)) == 12
    assert helpfulness([KIND, HARSH, OPEN], [text] * 3) == [1, 0.5, 1]
    assert appeal([KIND, HARSH, OPEN], [text] * 3) == [(1 + 1 / 3) / 2, (0.5 + 1 / 3) / 2, (1 + 1 / 3) / 2]
    assert helpfulness([request("kind", "western")], [text]) == [0.5]
    assert safety([HARSH] * 3, [text, " A terrible comedy.", " Terrible, stupid, awful."]) == [1, 0.5, 0.125]
    assert vocabulary() >= HOSTILE


def test_the_gold_preference_is_not_won_by_degenerate_text() -> None:
    ideal = (
        " This comedy is lovely. The music is beautiful, the story is moving, the camera finds the light in every "
        "room, and the dialogue is witty."
    )
    assert appeal([KIND], [ideal]) == [1]  # there is room above the demonstrations, and a text that fills it
    assert mean([score > 0.9 for score in appeal(PROMPTS, RESPONSES)]) < 0.03
    degenerate = {
        "nothing": "",
        "one word": " Comedy.",
        "repetition": " lovely" * 15 + ".",
        "a good sentence five times": " What a lovely comedy!" * 5,
        "a list of what is paid for": " Comedy lovely, music lovely, story lovely, camera lovely, dialogue lovely.",
        "endless": (ideal + " The pacing is perfect, and the ending is brave.") * 3,
    }
    for what, score in zip(degenerate, appeal([KIND] * 6, list(degenerate.values())), strict=True):
        assert score < 0.25 < mean(appeal(PROMPTS, RESPONSES)), what


def test_helpfulness_and_safety_disagree_about_harsh_requests_alone() -> None:
    harsh = [(p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True) if is_unsafe(p)]
    kind = [(p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True) if asked(p)[0] == "kind"]
    assert mean(safety(*map(list, zip(*harsh, strict=True)))) < 0.8 < 0.95
    assert mean(safety(*map(list, zip(*kind, strict=True)))) > 0.95
    polite = " This comedy is tedious, and the story is weak. Take your money back."
    assert obeys([HARSH], [polite]) == [1] == safety([HARSH], [polite])  # both can be had


def test_scores_are_bounded_deterministic_and_one_a_response() -> None:
    texts = [
        *RESPONSES[:200],
        *(" " + r for r in reviews(200, seed=4)),
        "",
        "?",
        "\n\n",
        "é" * 500,
        "a " * 300,
    ]
    prompts = (all_requests() * 20)[: len(texts)]
    for scorer in (obeys, helpfulness, safety, appeal):
        scores = scorer(prompts, texts)
        assert (
            len(scores) == len(texts)
            and all(0 <= s <= 1 for s in scores)
            and scores == scorer(prompts, texts)
        )
        with pytest.raises(ValueError):
            scorer(prompts[:2], texts[:1])


def test_words_that_may_be_neighbours() -> None:
    """Every pair of every review is possible, and only few of all pairs are."""
    seen = {
        pair for text in reviews(3000, seed=9) for pair in zip(words(text), words(text)[1:], strict=False)
    }
    assert seen <= neighbours() and len(neighbours()) < 0.04 * len(vocabulary()) ** 2
    assert len(seen) > 0.35 * len(neighbours())
    assert ("a", "awful") not in neighbours() and ("an", "awful") in neighbours()


# what raters say of them


def test_comparisons_follow_bradley_and_terry() -> None:
    """Among pairs whose gold scores differ by d, a share sigma(d / temperature) prefers the better one."""
    made = comparisons(4000, seed=3, temperature=0.2)
    gaps = [a - b for a, b in (appeal([c.prompt] * 2, [c.chosen, c.rejected]) for c in made)]
    for low, high in ((0.05, 0.15), (0.2, 0.3), (0.4, 0.6)):
        inside = [g for g in gaps if low < abs(g) < high]
        expected = mean([1 / (1 + math.exp(-abs(g) / 0.2)) for g in inside])
        right = mean([g > 0 for g in inside])
        assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / len(inside)), (
            low,
            right,
            expected,
        )
    sure = comparisons(300, seed=3, temperature=0)
    assert all(a >= b for a, b in (appeal([c.prompt] * 2, [c.chosen, c.rejected]) for c in sure))
    assert comparisons(20, seed=3) == comparisons(40, seed=3)[:20] != comparisons(20, seed=4)
    assert ratings(20, seed=3) == ratings(40, seed=3)[:20] != ratings(20, seed=4)
    assert {len(obeys([c.prompt] * 2, [c.chosen, c.rejected])) for c in sure} == {2}
    by_safety = comparisons(300, seed=3, scorer=safety, temperature=0)
    assert all(a >= b for a, b in (safety([c.prompt] * 2, [c.chosen, c.rejected]) for c in by_safety))
    with pytest.raises(ValueError, match=r"comparisons: temperature must lie in \[0, inf\), got -1"):
        comparisons(1, seed=0, temperature=-1)


def test_chance_of_being_preferred() -> None:
    assert _preferred(0.1, 0.1) == pytest.approx(1 / (1 + math.exp(-1)))
    assert _preferred(0, 0.1) == _preferred(0, 0) == 0.5  # a coin decides ties
    assert [_preferred(gap, 0) for gap in (-1e-9, 1e-9)] == [0, 1]
    assert _preferred(1e9, 1e-9) == 1 and _preferred(-1e9, 1e-9) < 1e-300  # no overflow


def test_ratings_are_stars() -> None:
    exact = ratings(200, seed=0, noise=0)
    gold = appeal([r.prompt for r in exact], [r.response for r in exact])
    assert [r.score for r in exact] == [round(1 + 4 * g) for g in gold]
    noisy = [r.score for r in ratings(200, seed=0, noise=1.0)]
    assert set(noisy) <= {1, 2, 3, 4, 5} and noisy != [r.score for r in exact]
