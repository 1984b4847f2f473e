"""Many answers to one question: votes, weighted votes, and Dawid and Skene's estimate of who can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.feedback.crowd import Answers
from rlbase.validate import has_shape, in_range, instance, whole

INFINITY = float("inf")


def majority(answers: Answers) -> Float[Tensor, " N"]:
    """What most of those who answered prefer: 1 for the first, 0 for the second, 1/2 where they are divided equally.

    Raises:
        ValueError: a question that nobody answered.

    >>> majority(Answers(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, float("nan")]])))
    tensor([1.0000, 0.5000])
    """
    _heard("majority", answers)
    return ((answers.share() - 0.5).sign() + 1) / 2


def weighted_vote(answers: Answers, accuracy: Float[Tensor, " M"]) -> Float[Tensor, " N"]:
    r"""Probability that the first is better when annotator $m$ is right with probability $p_m$, independently.

    $$\sigma\Big(\sum_m(2y_m-1)\log\frac{p_m}{1-p_m}\Big)$$

    The best use of independent votes (Nitzan & Paroush 1982): a coin weighs nothing, who is mostly wrong counts
    against what they say. A tie (1/2) says nothing, and where nobody answers 1/2 is left. Annotators who share a bias
    are not independent, and the formula then is surer than it is right.

    Raises:
        ValueError: an accuracy that is not strictly between 0 and 1, or not one for each annotator.

    >>> said = Answers(torch.tensor([[1.0, 0.0, 0.0]]))
    >>> weighted_vote(said, torch.tensor([0.9, 0.6, 0.6]))  # odds 9 against 1.5 x 1.5
    tensor([0.8000])
    """
    instance("weighted_vote", "answers", answers, Answers)
    has_shape("weighted_vote", "accuracy", accuracy, (answers.label.shape[1],))
    for share in accuracy.tolist():
        in_range("weighted_vote", "accuracy", share, 0, 1, open_low=True, open_high=True)
    says = torch.where(answers.given, 2 * answers.label - 1, 0)
    return (says @ accuracy.to(says).logit()).sigmoid()


class Consensus(NamedTuple):
    """What `dawid_skene` found: ``prob [N]`` that the first is better, and each annotator's habits.

    ``hits [M]`` is how often they say first where the first is better, ``false_alarms [M]`` where it is not;
    ``prior`` how often the first is better; ``loglik`` the penalised log-likelihood after each step, which never falls.
    """

    prob: Tensor
    hits: Tensor
    false_alarms: Tensor
    prior: float
    loglik: tuple[float, ...]

    @property
    def accuracy(self) -> Tensor:
        """How often each annotator is right, ``[M]``."""
        return self.prior * self.hits + (1 - self.prior) * (1 - self.false_alarms)


def dawid_skene(
    answers: Answers, *, steps: int = 200, pseudo: float = 1.0, tolerance: float = 1e-9
) -> Consensus:
    r"""Truth and annotators at once: expectation maximisation of Dawid & Skene (1979) for two classes.

    E step, with $h_m$ and $f_m$ the chances that $m$ says first where the first is or is not better, and $\pi$ the
    prior: $q_n\propto\pi\prod_m h_m^{y}(1-h_m)^{1-y}$ against $(1-\pi)\prod_m f_m^{y}(1-f_m)^{1-y}$. M step: the
    shares of answers, weighted with $q_n$. It starts from the share of the votes.

    Nothing in the data says which of two opposite truths is the true one: the start decides, so the *majority* of the
    answers must be better than chance. Nor can it see a bias that all share. It learns who is right from who agrees:
    with one annotator, or none who answered the same questions, there is nothing to learn from, and the pseudo-answers
    draw everything to chance. A tie counts as half an answer of each kind.

    Args:
        pseudo: how many answers of each kind everybody is given beforehand, a Beta(1 + pseudo, 1 + pseudo) prior:
            without any, somebody with three answers can be called infallible.
        tolerance: stop once a step gains less than this, relative to the log-likelihood.

    Raises:
        ValueError: a question that nobody answered, or a ``pseudo`` below 0.

    >>> from rlbase.feedback import Annotator, Questions, ask
    >>> gold = torch.tensor([9.0, -9.0]).repeat(100)
    >>> crowd = [Annotator(), Annotator(), Annotator(malice=1.0), Annotator(spamming=1.0)]
    >>> found = dawid_skene(ask(crowd, Questions(gold), torch.Generator().manual_seed(0)))
    >>> [round(share, 1) for share in found.accuracy.tolist()]  # careful, careful, malicious, a coin
    [1.0, 1.0, 0.0, 0.5]
    """
    _heard("dawid_skene", answers)
    whole("dawid_skene", "steps", steps, 1)
    in_range("dawid_skene", "pseudo", pseudo, 0, INFINITY, open_high=True)
    given = answers.given.double()
    first = torch.where(answers.given, answers.label, 0).double()
    second = given - first
    q, loglik = answers.share().double(), []
    hits = false_alarms = prior = torch.zeros(())
    for _ in range(steps):
        hits, false_alarms = habits_of(first, given, q, pseudo)
        prior = (q.sum() + pseudo) / (len(q) + 2 * pseudo)
        better = prior.log() + _times(first, hits) + _times(second, 1 - hits)
        worse = (1 - prior).log() + _times(first, false_alarms) + _times(second, 1 - false_alarms)
        habits = torch.cat([hits, false_alarms, prior[None]])
        penalty = pseudo * (habits.log() + (1 - habits).log()).sum() if pseudo else 0.0
        loglik.append((torch.logaddexp(better, worse).sum() + penalty).item())
        q = (better - worse).sigmoid()
        if len(loglik) > 1 and loglik[-1] - loglik[-2] <= tolerance * abs(loglik[-1]):
            break
    like = answers.label
    return Consensus(q.to(like), hits.to(like), false_alarms.to(like), prior.item(), tuple(loglik))


def habits_of(first: Tensor, given: Tensor, q: Tensor, pseudo: float) -> tuple[Tensor, Tensor]:
    """M step: shares of ``first`` among the answers ``given``, both ``[N, M]``, where it is right and where it is not.

    >>> said = torch.tensor([[1.0], [0.0], [1.0]])
    >>> habits_of(said, torch.ones(3, 1), torch.tensor([1.0, 0.0, 1.0]), 1.0)
    (tensor([0.7500]), tensor([0.3333]))
    """
    hits = (q @ first + pseudo) / (q @ given + 2 * pseudo).clamp(min=1e-300)
    return hits, ((1 - q) @ first + pseudo) / ((1 - q) @ given + 2 * pseudo).clamp(min=1e-300)


def _times(count: Tensor, share: Tensor) -> Tensor:
    """Sum over annotators of count log share, ``[N]``; 0 log 0 is 0."""
    return torch.special.xlogy(count, share.expand_as(count)).sum(1)


def _heard(where: str, answers: Answers) -> None:
    instance(where, "answers", answers, Answers)
    silent = (~answers.given.any(1)).nonzero()
    if len(silent):
        raise ValueError(
            f"{where}: nobody answered question {silent[0].item()} ({len(silent)} such); leave those out."
        )
