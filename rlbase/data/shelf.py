r"""A shelf of reviews to one request, in good form, so that what each is truly worth is linear in what can be counted.

With $f=1$ (see `rlbase.data.requests`) the gold preference is the mean of two things: how far the request was met, and
how many topics are spoken of. Length plays no part in it. A reward model with these three features can therefore be
exactly right, and one that pays for words is wrong by exactly what it pays.
"""

from __future__ import annotations

import random
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.data.requests import appeal, asked, form, helpfulness
from rlbase.data.reviews import genres, review, words
from rlbase.validate import whole

FEATURES = ("request met", "topics", "+10 words")


class Shelf(NamedTuple):
    """``n`` reviews: their ``features [n, 3]`` (see `FEATURES`), and ``appeal [n]``, the gold preference."""

    prompt: str
    texts: tuple[str, ...]
    features: Float[Tensor, "n 3"]
    appeal: Float[Tensor, " n"]

    @property
    def words(self) -> Float[Tensor, " n"]:
        """How many words each review has."""
        return 10 * self.features[:, 2]


def shelf(n: int = 40, *, seed: int = 0, prompt: str = "Write a kind review of a comedy:") -> Shelf:
    r"""``n`` reviews of 12 to 40 words to one request, kind and harsh ones, of this genre and of others.

    $$\text{appeal}=\tfrac12\,\text{request met}+\tfrac12\,\text{topics}+0\cdot\text{words}$$

    with "request met" the mean of genre and opinion, and "topics" their number, up to three, over three. Five times as
    many are drawn, and those kept that differ most in these features: else long and good would go together.

    Raises:
        ValueError: ``n`` is below 1, or ``prompt`` is none of `rlbase.data.requests.all_requests`.

    >>> found = shelf(20)
    >>> bool(torch.allclose(found.appeal, found.features @ torch.tensor([0.5, 0.5, 0.0])))
    True
    """
    whole("shelf", "n", n, 1)
    found = _shelf(n, seed, prompt)
    # the tensors are the caller's own: what is done to them must not reach the next one who asks
    return found._replace(features=found.features.clone(), appeal=found.appeal.clone())


@cache
def _shelf(n: int, seed: int, prompt: str) -> Shelf:
    genre, rng = asked(prompt)[1], random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < 5 * n:
        named = genre if rng.random() < 0.5 else rng.choice(genres())
        text = review(rng.choice("+-"), named, rng)
        if form(text) == 1:
            texts[text] = None
    found = list(texts)
    gold, met = (torch.tensor(scorer([prompt] * len(found), found)) for scorer in (appeal, helpfulness))
    length = torch.tensor([len(words(text)) / 10 for text in found])
    features = torch.stack([met, 2 * gold - met, length], 1)
    rows = _spread(features, n)
    return Shelf(prompt, tuple(found[row] for row in rows), features[rows], gold[rows])


def _spread(features: Tensor, n: int) -> list[int]:
    """``n`` rows as different from one another as can be: each is the one furthest from those chosen before."""
    apart = torch.cdist(features, features)
    chosen, nearest = [0], apart[0]
    while len(chosen) < n:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, apart[chosen[-1]])
    return chosen
