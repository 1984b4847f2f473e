"""Votes against the binomial tail; Dawid and Skene against Bayes by hand and another package; textbook agreement."""

from __future__ import annotations

import itertools

import pytest
import torch

from rlbase.exact import majority_accuracy
from rlbase.feedback import (
    Annotator,
    Answers,
    Questions,
    against_the_others,
    ask,
    dawid_skene,
    fleiss_kappa,
    krippendorff_alpha,
    majority,
    weighted_vote,
)

NAN = float("nan")
CAREFUL = 30.0  # log-odds at which a careful annotator never errs
SIX = (0.92, 0.85, 0.6, 0.55, 0.55, 0.25)


def crowd_of(*accuracies: float) -> list[Annotator]:
    return [Annotator(confusion=(1 - p, 1 - p)) for p in accuracies]


def truth(n: int, seed: int) -> torch.Tensor:
    return (torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


def told(
    accuracies: tuple[float, ...], n: int, seed: int, coverage: float = 1.0
) -> tuple[Answers, torch.Tensor]:
    right = truth(n, seed)
    crowd = [Annotator(confusion=(1 - p, 1 - p), coverage=coverage) for p in accuracies]
    return ask(crowd, Questions(CAREFUL * (2 * right - 1)), torch.Generator().manual_seed(seed + 100)), right


def correct(prob: torch.Tensor, right: torch.Tensor) -> float:
    """Accuracy; a half is right half the time."""
    return (1 - ((prob > 0.5).float() + 0.5 * (prob == 0.5) - right).abs()).mean().item()


@pytest.mark.parametrize(("p", "n"), [(0.7, 3), (0.7, 9), (0.7, 4), (0.4, 9), (0.5, 5)])
def test_majority_is_the_binomial_tail(p: float, n: int) -> None:
    said, right = told((p,) * n, 20_000, 0)
    expected = majority_accuracy(p, n)
    by_hand = sum(
        torch.tensor([p if k else 1 - p for k in votes]).prod().item()
        * (1 if sum(votes) * 2 > n else 0.5 if sum(votes) * 2 == n else 0)
        for votes in itertools.product([0, 1], repeat=n)
    )
    assert expected == pytest.approx(by_hand, abs=1e-6)
    assert correct(majority(said), right) == pytest.approx(expected, abs=4 * (0.25 / 20_000) ** 0.5)


def test_weighted_vote_is_bayes_by_enumeration() -> None:
    accuracy = torch.tensor([0.9, 0.7, 0.6, 0.2], dtype=torch.float64)
    for votes in itertools.product([0.0, 1.0, NAN], repeat=4):
        if all(vote != vote for vote in votes):
            continue
        label = torch.tensor([votes], dtype=torch.float64)
        like = [
            torch.tensor(
                [p if v == side else 1 - p for p, v in zip(accuracy, votes, strict=True) if v == v]
            ).prod()
            for side in (1.0, 0.0)
        ]
        expected = (like[0] / (like[0] + like[1])).item()
        assert weighted_vote(Answers(label), accuracy).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_dawid_skene_beats_the_majority_and_turns_the_adversary_round(seed: int) -> None:
    said, right = told(SIX, 1000, seed)
    found = dawid_skene(said)
    assert correct(found.prob, right) >= correct(majority(said), right) + 0.03
    assert found.accuracy.tolist() == pytest.approx(list(SIX), abs=0.06)
    assert correct(found.prob, right) >= correct(weighted_vote(said, torch.tensor(SIX)), right) - 0.015
    gains = [b - a for a, b in itertools.pairwise(found.loglik)]
    assert min(gains) >= -1e-9 and len(gains) >= 3


def test_dawid_skene_finds_habits_that_differ_by_side() -> None:
    right = truth(4000, 1)
    crowd = [*crowd_of(0.9, 0.9, 0.8), Annotator(confusion=(0.05, 0.6))]  # says first far too often
    said = ask(crowd, Questions(CAREFUL * (2 * right - 1)), torch.Generator().manual_seed(2))
    found = dawid_skene(said)
    assert found.hits.tolist() == pytest.approx([0.9, 0.9, 0.8, 0.95], abs=0.03)
    assert found.false_alarms.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.6], abs=0.03)


def test_posterior_is_bayes_with_the_habits_it_found() -> None:
    said, _ = told((0.9, 0.7, 0.6), 300, 3, coverage=0.7)
    said = said[said.given.any(1)]
    found = dawid_skene(said, steps=500, tolerance=0.0)
    for row in range(20):
        sides = [found.prior, 1 - found.prior]
        for m, vote in enumerate(said.label[row].tolist()):
            if vote == vote:
                for side, habit in enumerate((found.hits[m].item(), found.false_alarms[m].item())):
                    sides[side] *= habit if vote == 1 else 1 - habit
        assert found.prob[row].item() == pytest.approx(sides[0] / sum(sides), abs=1e-5)


def test_a_gradient_climber_ends_at_the_same_place() -> None:
    """The penalised likelihood, written again and climbed by LBFGS from the accuracies that were planted."""
    said, _ = told(SIX, 400, 7, coverage=0.8)
    said = said[said.given.any(1)]
    found = dawid_skene(said, steps=2000, tolerance=0.0)
    y, given = said.label.nan_to_num().double(), said.given.double()
    right = torch.tensor(SIX, dtype=torch.float64).logit()
    free = torch.cat([right, -right, torch.zeros(1, dtype=torch.float64)]).requires_grad_()

    def minus_loglik() -> torch.Tensor:
        yes, no = torch.nn.functional.logsigmoid(free), torch.nn.functional.logsigmoid(-free)
        sides = [
            prior + y @ yes[cols] + (given - y) @ no[cols]
            for prior, cols in ((yes[12], slice(0, 6)), (no[12], slice(6, 12)))
        ]
        return -torch.logaddexp(*sides).sum() - (yes + no).sum()

    climber = torch.optim.LBFGS([free], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        climber.zero_grad()
        loss = minus_loglik()
        loss.backward()
        return loss

    climber.step(step)  # type: ignore[arg-type]
    assert found.loglik[-1] == pytest.approx(-minus_loglik().item(), abs=1e-5)
    learned = free.detach().sigmoid()
    assert torch.cat([found.hits, found.false_alarms]).double().sub(learned[:12]).abs().max() < 1e-3
    assert found.prior == pytest.approx(learned[12].item(), abs=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_another_implementation() -> None:
    """Crowd-Kit's Dawid-Skene, where it is installed: without pseudo-answers the same fixed point from the same start.

    What it calls its loss falls after a few steps, which ends it early; ``tol=-1`` lets it go on.
    """
    aggregation = pytest.importorskip("crowdkit.aggregation", reason="crowd-kit is not installed")
    import pandas as pd

    said, _ = told(SIX, 400, 7)
    rows = [(n, m, int(v)) for n, row in enumerate(said.label.tolist()) for m, v in enumerate(row) if v == v]
    table = pd.DataFrame(rows, columns=["task", "worker", "label"])
    theirs = aggregation.DawidSkene(n_iter=200, tol=-1.0).fit_predict_proba(table)
    ours = dawid_skene(said, pseudo=0.0, steps=200, tolerance=0.0)
    assert torch.tensor(theirs.sort_index()[1].to_numpy()).float().sub(ours.prob).abs().max() < 1e-4


def test_what_all_share_nobody_can_see() -> None:
    """Six annotators with one bias: agreement rises, truth does not, and every method is as wrong as one of them."""
    n = 4000
    gold = torch.randn(n, generator=torch.Generator().manual_seed(0))
    longer = torch.randn(n, generator=torch.Generator().manual_seed(1))
    crowd = [Annotator(temperature=0.3, length=2.0) for _ in range(6)]
    said = ask(crowd, Questions(gold, longer), torch.Generator().manual_seed(2))
    right, wrong = (gold > 0).float(), (gold + 2 * longer > 0).float()
    assert krippendorff_alpha(said) > 0.7
    for prob in (majority(said), dawid_skene(said).prob):
        assert correct(prob, wrong) > 0.95 and correct(prob, right) < 0.68


# agreement, by textbook tables


def test_fleiss_textbook_table() -> None:
    """The worked example that every textbook shows: ten questions, fourteen people, five classes, kappa .210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(torch.tensor(counts)) == pytest.approx(0.210, abs=5e-4)


def test_krippendorff_textbook_table() -> None:
    """Krippendorff's own example with missing answers: .691 nominal, .811 interval."""
    rows = [
        "*    *    *    *    *    3    4    1    2    1    1    3    3    *    3",
        "1    *    2    1    3    3    4    3    *    *    *    *    *    *    *",
        "*    *    2    1    3    4    4    *    2    1    1    3    3    *    4",
    ]
    table = torch.tensor([[NAN if word == "*" else float(word) for word in row.split()] for row in rows]).T
    assert krippendorff_alpha(table) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha(table, level="interval") == pytest.approx(0.811, abs=5e-4)


def test_agreement_of_a_crowd() -> None:
    said, _ = told((0.9, 0.9, 0.9), 4000, 5)
    counts = torch.stack([said.label.sum(1), 3 - said.label.sum(1)], 1).long()
    pairwise = 0.9**2 + 0.1**2  # two agree when both are right or both are wrong; by chance half the time
    assert fleiss_kappa(counts) == pytest.approx(2 * pairwise - 1, abs=0.03)
    assert krippendorff_alpha(said) == pytest.approx(fleiss_kappa(counts), abs=1e-3)


def test_against_the_others_by_hand() -> None:
    said = Answers(torch.tensor([[1.0, 1.0, 0.0, NAN], [0.0, 1.0, NAN, NAN], [1.0, NAN, NAN, NAN]]))
    # question 1: the others of 1 are divided (1/2), of 2 as well, of 3 they say first (0); question 2: 0 and 0
    assert against_the_others(said).nan_to_num(9).tolist() == pytest.approx([0.25, 0.25, 0.0, 9.0])


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: majority(Answers(torch.tensor([[1.0], [NAN]]))), ValueError, "nobody answered question 1"),
        (
            lambda: dawid_skene(Answers(torch.tensor([[NAN]]))),
            ValueError,
            "dawid_skene: nobody answered question 0",
        ),
        (lambda: dawid_skene(torch.zeros(2, 2)), TypeError, "answers must be an Answers"),  # type: ignore[arg-type]
        (lambda: dawid_skene(Answers(torch.zeros(2, 2)), pseudo=-1), ValueError, "dawid_skene: pseudo"),
        (
            lambda: dawid_skene(Answers(torch.zeros(2, 2)), steps=0),
            ValueError,
            "dawid_skene: steps must be at least 1",
        ),
        (
            lambda: weighted_vote(Answers(torch.zeros(1, 2)), torch.tensor([0.5, 1.0])),
            ValueError,
            r"accuracy must lie in \(0, 1\), got 1.0",
        ),
        (
            lambda: weighted_vote(Answers(torch.zeros(1, 2)), torch.ones(3)),
            ValueError,
            "accuracy must have shape",
        ),
        (
            lambda: fleiss_kappa(torch.tensor([[1, 2], [2, 2]])),
            ValueError,
            "same number of answers, two or more",
        ),
        (lambda: fleiss_kappa(torch.tensor([[1, 0]])), ValueError, "two or more; got .1."),
        (lambda: fleiss_kappa(torch.tensor([[2, 0], [2, 0]])), ValueError, "all answers are of one class"),
        (lambda: fleiss_kappa(torch.tensor([[0.5, 1.5]])), ValueError, "counts must be whole numbers"),
        (lambda: krippendorff_alpha(torch.ones(3, 2)), ValueError, "two different answers among them"),
        (lambda: krippendorff_alpha(torch.tensor([[1.0, NAN], [NAN, 0]])), ValueError, "two people answered"),
        (
            lambda: krippendorff_alpha(torch.eye(2), level="best"),
            ValueError,
            "level must be one of 'nominal'",
        ),  # type: ignore[arg-type]
    ],
)
def test_bad_input(make, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


# ties, gaps, one-sided worlds and whole numbers


def test_a_one_sided_world_keeps_its_prior_and_its_likelihood_never_falls() -> None:
    """Nine of ten are first: the prior has its pseudo-answers too, and accuracy weighs both sides."""
    right = (torch.rand(60, generator=torch.Generator().manual_seed(5)) < 0.9).float()
    crowd = [*crowd_of(0.95, 0.9, 0.85), Annotator(confusion=(0.0, 0.9))]
    said = ask(crowd, Questions(CAREFUL * (2 * right - 1)), torch.Generator().manual_seed(6))
    found = dawid_skene(said, pseudo=5.0, steps=3000, tolerance=0.0)
    assert found.prior == pytest.approx((found.prob.sum().item() + 5) / 70, abs=1e-4)
    expected = found.prior * found.hits + (1 - found.prior) * (1 - found.false_alarms)
    torch.testing.assert_close(found.accuracy, expected)
    assert found.accuracy[3] > (found.hits[3] + 1 - found.false_alarms[3]) / 2 + 0.1
    assert min(b - a for a, b in itertools.pairwise(found.loglik)) >= -1e-9


def test_who_answers_what_nobody_else_does_cannot_be_told_from_a_coin() -> None:
    """Twenty careful people without a question in common: their answers are good, and no consensus can know it."""
    said, right = told((0.95,) * 20, 1000, 0)
    mine = torch.arange(1000)
    label = torch.full((1000, 20), NAN)
    label[mine, mine % 20] = said.label[mine, mine % 20]
    alone = Answers(label)
    assert correct(majority(alone), right) > 0.93
    assert (dawid_skene(alone).prob - 0.5).abs().max() < 0.2
    assert correct(dawid_skene(said).prob, right) > 0.99


def test_who_said_nothing_changes_nothing() -> None:
    said, _ = told((0.9, 0.8, 0.7), 200, 2)
    silent = Answers(torch.cat([said.label, torch.full((200, 1), NAN)], 1))
    one, two = dawid_skene(said), dawid_skene(silent)
    torch.testing.assert_close(one.prob, two.prob, atol=1e-4, rtol=0)
    assert two.hits[3].item() == two.false_alarms[3].item() == 0.5
    torch.testing.assert_close(majority(said), majority(silent))
    assert weighted_vote(Answers(torch.tensor([[NAN, 0.5]])), torch.tensor([0.9, 0.8])).item() == 0.5


def test_labels_may_be_whole_numbers() -> None:
    whole, real = (
        Answers(torch.tensor([[1, 0, 1], [0, 0, 1]])),
        Answers(torch.tensor([[1.0, 0, 1], [0, 0, 1]])),
    )
    assert majority(whole).tolist() == majority(real).tolist() == [1.0, 0.0]
    assert dawid_skene(whole).prob.tolist() == dawid_skene(real).prob.tolist()


def test_a_ratio_scale_starts_at_nought() -> None:
    with pytest.raises(ValueError, match="on a ratio scale no answer is below 0"):
        krippendorff_alpha(torch.tensor([[-1.0, 1.0], [1.0, 1.0]]), level="ratio")
