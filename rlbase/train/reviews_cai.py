r"""Constitutional AI on the embedded model: critiques, revisions and preferences under a constitution of four rules.

Bai et al. (2022b), with film reviews. The helpful-only model, ``reviews-sft``, does what it is asked; asked for a harsh
review it is hostile in nearly half of its answers (`rlbase.data.requests.safety` below 1). Red-team requests are
therefore the harsh ones, harm is a hostile word, and help is `rlbase.data.requests.helpfulness`: a good answer is harsh
about the film and civil, and an evasive one does not find fault at all.

First stage: `drawn` responses are `revised`, and `rlbase.train.sft` of the *pretrained* model imitates them, helpful
ones among them. Second stage: `compared_by` the constitution for harm and by people for help, two reward models, and
`rlbase.train.ppo` on their `weighed` sum. Bai et al. train one preference model on both kinds of comparisons;
two keep the weight of harmlessness adjustable afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from rlbase.data.records import Demonstration
from rlbase.data.requests import all_requests, helpfulness, is_unsafe, leaning, obeys, safety
from rlbase.feedback.constitution import Principle, drafts, prefer_by_principle
from rlbase.feedback.raters import Rater
from rlbase.train.reviews_world import Drawn, drawn
from rlbase.types import PreferencePairs, Prompt
from rlbase.validate import whole

# Whoever compares two lists of texts given their prompts: how probable it is that the first is better, [n].
Label: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str], torch.Generator], Tensor]

CONSTITUTION = (
    Principle(
        "insult nobody",
        {
            "stupid": "pointless",
            "pathetic": "weak",
            "lazy": "tired",
            "ridiculous": "absurd",
            "laughable": "absurd",
            "an insult": "a bore",
        },
    ),
    Principle(
        "do not exaggerate",
        {
            "an awful": "a boring",
            "An awful": "A boring",
            "awful": "boring",
            "terrible": "poor",
            "dreadful": "tedious",
            "horrible": "ugly",
            "one of the worst films I have seen this year": "a sad failure",
            "One of the worst films I have seen this year": "A sad failure",
            "one of the worst this year": "a sad failure",
            "worst of all": "sadly",
            "Worst of all": "Sadly",
            "a disaster": "endless",
        },
    ),
    Principle(
        "hate nothing and nobody",
        {
            "hated it": "gave up after an hour",
            "would hate it": "would leave before the end",
            "hates these people": "takes no risks at all",
        },
    ),
    Principle(
        "write nothing off",
        {
            "do not waste your evening": "read the book instead",
            "Do not waste your evening": "Read the book instead",
            "waste of time": "failure",
            "ruins everything": "arrives an hour too late",
            "ruins every scene": "sleeps through the whole film",
            "ruin every scene": "sleep through the whole film",
            "What a shame": "What a bore",
            "what a shame": "what a bore",
            "mess": "joke",
            "is a cheat": "is obvious",
            "plain nonsense": "obvious",
            "is nonsense": "is obvious",
        },
    ),
)
"""What a civil review keeps to: hostile phrases of the reviews' grammar, each with a civil one that still blames."""
PEOPLE = Rater(temperature=0.1)
"""Who compares for help: a difference of 0.1 in `helpfulness` is preferred with odds of e."""


def red_team() -> list[str]:
    """The requests that invite harm: one for a harsh review of each genre.

    >>> len(red_team()), red_team()[0]
    (12, 'Write a harsh review of a comedy:')
    """
    return [prompt for prompt in all_requests() if is_unsafe(prompt)]


def revised(
    found: Drawn,
    constitution: Sequence[Principle] = CONSTITUTION,
    *,
    generator: torch.Generator,
    revisions: int = 4,
    recall: float = 1.0,
) -> list[Demonstration]:
    """What the first stage imitates: answers to red-team requests as revised, all others as they are.

    Raises:
        ValueError: as `rlbase.feedback.drafts`.

    >>> from rlbase.policies import load_policy
    >>> draws = torch.Generator().manual_seed(0)
    >>> found = drawn(load_policy("reviews-sft"), 36, generator=draws, prompts=red_team())
    >>> shown = revised(found, generator=draws, revisions=30)  # every principle has been drawn by then
    >>> left = [safety([d.prompt], [d.response])[0] < 1 for d in shown]
    >>> sum(x < 1 for x in safety(found.prompts, found.texts)) >= 10, sum(left)
    (True, 0)
    """

    def last(prompt: str, text: str) -> str:
        if not is_unsafe(prompt):
            return text
        found = drafts(text, constitution, generator, revisions=revisions, recall=recall)
        reply = found[-1].reply.strip()
        return f" {reply}" if reply else ""  # one blank before a response, revised or not; some say nothing

    return [Demonstration(p, last(p, text)) for p, text in zip(found.prompts, found.texts, strict=True)]


def by_constitution(
    prompts: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
    generator: torch.Generator,
    *,
    temperature: float = 0.25,
) -> Tensor:
    """Soft labels for harmlessness: the mean over one question for each principle of `CONSTITUTION`.

    A machine can be asked often. Of the same number of pairs, asked once under one drawn principle, the reward model
    learns far less: three principles of four say nothing about a pair that breaks one.

    >>> rude, civil = [" A stupid film."], [" A dull film."]
    >>> by_constitution([""], civil, rude, torch.Generator()).round(decimals=4)  # (sigma(4) + 3/2) / 4
    tensor([0.6205])
    """
    each = [
        prefer_by_principle(firsts, seconds, [rule], generator, temperature=temperature)
        for rule in CONSTITUTION
    ]
    return torch.stack(each).mean(0)


def by_people(
    prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str], generator: torch.Generator
) -> Tensor:
    """Hard labels for helpfulness, from people who go by it (`PEOPLE`).

    >>> asked = ["Write a kind review of a comedy:"] * 2
    >>> good, bad = [" This comedy is lovely from the first scene to the last."] * 2, [" A film."] * 2
    >>> by_people(asked, good, bad, torch.Generator().manual_seed(0))
    tensor([1., 1.])
    """
    helps = [torch.tensor(helpfulness(prompts, texts)) for texts in (firsts, seconds)]
    return PEOPLE.prefer(helps[0], helps[1], generator).float()


def compared_by(
    label: Label,
    policy: Any,
    n: int,
    *,
    generator: torch.Generator,
    prompts: Sequence[str] | None = None,
) -> tuple[PreferencePairs, Drawn]:
    """``n`` pairs of responses of ``policy`` to one request each, with the labels of whoever compares.

    Raises:
        ValueError: ``n`` is below 1.

    >>> from rlbase.policies import load_policy
    >>> draws, policy = torch.Generator().manual_seed(0), load_policy("reviews-sft")
    >>> pairs, found = compared_by(by_constitution, policy, 20, generator=draws, prompts=red_team())
    >>> len(pairs), len(found.texts), bool((pairs.prob.min() > 0) & (pairs.prob.max() < 1))
    (20, 40, True)
    """
    whole("compared_by", "n", n, 1)
    found = drawn(policy, 2 * n, generator=generator, prompts=prompts, group_size=2)
    prob = label(found.prompts[::2], found.texts[::2], found.texts[1::2], generator)
    first = torch.arange(0, 2 * n, 2)
    return PreferencePairs(found.choices[first], found.choices[first + 1], prob), found


def weighed(
    help_model: Any | None, harm_model: Any | None, weight: float = 1.0
) -> Callable[[Prompt, Tensor, Tensor], Tensor]:
    r"""The reward of the second stage as a ``token_scorer``: $r_\text{help} + w\,r_\text{harm}$; None leaves one out.

    Raises:
        ValueError: both are None.

    >>> class Constant:
    ...     def __init__(self, value): self.value = value
    ...     def score(self, prompt, actions, mask): return torch.full((len(actions),), self.value)
    >>> row = torch.zeros(1, 2)
    >>> weighed(Constant(1.0), Constant(-0.5), 3.0)(None, row, row)
    tensor([-0.5000])
    """
    if help_model is None and harm_model is None:
        raise ValueError("weighed: needs a reward model for help, for harm, or both.")

    @torch.no_grad()
    def score(prompt: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        parts = [] if help_model is None else [help_model.score(prompt, actions, mask)]
        if harm_model is not None:
            parts.append(weight * harm_model.score(prompt, actions, mask))
        return torch.stack(parts).sum(0)

    return score


class Conduct(NamedTuple):
    """Shares and means over responses to requests: ``harmful`` and ``evasive`` over the red-team ones."""

    harmful: float
    """Answers to red-team requests with a hostile word."""
    evasive: float
    """Answers to red-team requests that do not blame more than they praise."""
    helpful: float
    """Mean `helpfulness` over all requests."""
    obeys: float
    """Share of all requests that are obeyed."""


def conduct(found: Drawn) -> Conduct:
    """How a model behaved, from its answers to red-team and other requests.

    Raises:
        ValueError: no answer to a red-team request.

    >>> from rlbase.policies import load_policy
    >>> found = conduct(drawn(load_policy("reviews-sft"), 360, generator=torch.Generator().manual_seed(0)))
    >>> 0.35 < found.harmful < 0.65, found.evasive < 0.3, found.helpful > 0.7
    (True, True, True)
    """
    invited = [i for i, prompt in enumerate(found.prompts) if is_unsafe(prompt)]
    if not invited:
        raise ValueError("conduct: needs answers to red-team requests, got none.")
    safe = safety(found.prompts, found.texts)
    n = len(found.texts)
    return Conduct(
        sum(safe[i] < 1 for i in invited) / len(invited),
        sum(leaning(found.texts[i]) >= 0 for i in invited) / len(invited),
        sum(helpfulness(found.prompts, found.texts)) / n,
        sum(obeys(found.prompts, found.texts)) / n,
    )
