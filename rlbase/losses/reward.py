"""Losses of reward models: what a comparison, a ranking or a rating says about scores; one number per judgement.

A comparison sees differences only: whatever is added to every score of one prompt leaves these losses as they are,
so that a score means nothing by itself (`centring` and `rlbase.policies.normalise` choose a zero). ``pointwise`` is
the exception. Where a paper leaves ties open, a tie counts as half a preference for either side, as in Christiano et
al. (2017).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlbase.validate import a_tensor, boolean, finite, in_range, same_shape


def bradley_terry(
    chosen_reward: Float[Tensor, " B"],
    rejected_reward: Float[Tensor, " B"],
    *,
    margin: Float[Tensor, " B"] | float = 0.0,
) -> Float[Tensor, " B"]:
    r"""The surprise that ``chosen`` won, $-\log\sigma(r_w - r_l - m)$.

    Bradley & Terry (1952); the reward loss of Christiano et al. (2017), section 2.2.3. ``margin`` is Llama 2's
    (Touvron et al. 2023, eq. 2): it stands inside the sigmoid with a minus, so that a clear win must be clear in the
    scores too. It stretches the scores, and with them everything that a fixed KL price is weighed against.

    Raises:
        ValueError: the shapes differ.

    >>> bradley_terry(torch.tensor([2.0]), torch.tensor([1.0]))  # log(1 + 1/e)
    tensor([0.3133])
    >>> bradley_terry(torch.tensor([2.0]), torch.tensor([1.0]), margin=1.0)  # log 2: the margin is just met
    tensor([0.6931])
    """
    gap = _gap("bradley_terry", chosen_reward=chosen_reward, rejected_reward=rejected_reward)
    return -logsigmoid(gap - _margin("bradley_terry", margin, gap))


def soft_bradley_terry(
    reward_a: Float[Tensor, " B"],
    reward_b: Float[Tensor, " B"],
    prob_a: Float[Tensor, " B"],
    *,
    margin: Float[Tensor, " B"] | float = 0.0,
) -> Float[Tensor, " B"]:
    r"""Bradley-Terry when ``a`` is preferred with probability $p$ only: $-p\log\sigma(d-m)-(1-p)\log\sigma(-d-m)$.

    $d=r_a-r_b$. Votes of several raters, a rater's known error rate, or a tie (1/2) as one number. Without a margin
    the gradient is $\sigma(d)-p$: at rest the scores differ by exactly $\log\frac{p}{1-p}$, which is finite. With one,
    whoever was preferred had to win by $m$.

    Raises:
        ValueError: the shapes differ, or a probability is outside [0, 1].

    >>> even = torch.zeros(1)
    >>> soft_bradley_terry(even, even, torch.tensor([0.9]))
    tensor([0.6931])
    """
    gap = _gap("soft_bradley_terry", reward_a=reward_a, reward_b=reward_b, prob_a=prob_a)
    if prob_a.numel():
        for extreme in prob_a.aminmax():
            in_range("soft_bradley_terry", "prob_a", extreme.item(), 0, 1)
    margin = _margin("soft_bradley_terry", margin, gap)
    return -prob_a * logsigmoid(gap - margin) - (1 - prob_a) * logsigmoid(-gap - margin)


def k_wise(
    rewards: Float[Tensor, "N K"], ranks: Shaped[Tensor, "N K"], *, mask: Bool[Tensor, "N K"] | None = None
) -> Float[Tensor, " N"]:
    r"""Mean Bradley-Terry loss over all pairs of one prompt's $K$ ranked responses, one number per prompt.

    $$-\frac{1}{\binom K2}\sum_{i\text{ before }j}\log\sigma(r_i-r_j)$$

    Ouyang et al. (2022), eq. 1. ``ranks`` are numbers of which the smallest is best; equal ones are a tie. Where
    fewer than ``K`` responses were ranked, ``mask`` says which. All pairs of a prompt belong into one batch element:
    each response is read once, and no prompt counts more for having more of them.

    Raises:
        ValueError: shapes differ, a rank is not finite, or a prompt has fewer than two responses.

    >>> k_wise(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1, 2, 3]]))  # (2 * 0.3133 + 0.1269) / 3
    tensor([0.2512])
    """
    same_shape("k_wise", rewards=rewards, ranks=ranks)
    if mask is None:
        mask = torch.ones_like(rewards, dtype=torch.bool)
    boolean("k_wise", mask)
    same_shape("k_wise", rewards=rewards, mask=mask)
    if rewards.ndim != 2 or bool((mask.sum(-1) < 2).any()):
        raise ValueError("k_wise: rewards must be [N, K] with at least two ranked responses for each prompt.")
    rewards, ranks = torch.where(mask, rewards, 0), torch.where(mask, ranks, 0)
    if ranks.is_floating_point():  # a rank that is missing would silently be the last
        finite("k_wise", ranks=ranks)
    i, j = torch.triu_indices(rewards.shape[1], rewards.shape[1], 1, device=rewards.device)
    first = (ranks[:, i] < ranks[:, j]).to(rewards) + 0.5 * (ranks[:, i] == ranks[:, j]).to(rewards)
    each, pair = soft_bradley_terry(rewards[:, i], rewards[:, j], first), mask[:, i] & mask[:, j]
    return torch.where(pair, each, 0).sum(-1) / pair.sum(-1)


def plackett_luce(rewards: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    r"""The surprise of a whole ranking, picked from the top: $-\sum_k\big(r_k-\log\sum_{j\ge k}e^{r_j}\big)$.

    Plackett (1975); Luce (1959). ``rewards`` stand in order of preference, best first. The listwise alternative to
    `k_wise`, with which it agrees for two responses and no further.

    Raises:
        ValueError: rewards are not ``[N, K]`` with two responses or more.

    >>> plackett_luce(torch.tensor([[1.0, 0.0]])), plackett_luce(torch.zeros(1, 3))  # log(1 + 1/e) and log 3!
    (tensor([0.3133]), tensor([1.7918]))
    """
    a_tensor("plackett_luce", rewards=rewards)
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"plackett_luce: rewards must be [N, K] with K >= 2, got {list(rewards.shape)}.")
    size = rewards.shape[1]
    gone = torch.ones(size, size, dtype=torch.bool, device=rewards.device).tril(
        -1
    )  # [k, j]: j was picked before k
    remaining = rewards[:, None, :].masked_fill(gone, float("-inf"))
    return (remaining.logsumexp(-1) - rewards).sum(-1)


def pointwise(reward: Float[Tensor, " B"], rating: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    r"""Half the squared error to a rating, $\tfrac12(r-y)^2$: a score on the raters' own scale.

    At rest the score is the mean rating. Unlike a comparison this also learns who was a strict rater.

    Raises:
        ValueError: the shapes differ.

    >>> pointwise(torch.tensor([1.0]), torch.tensor([4.0]))
    tensor([4.5000])
    """
    same_shape("pointwise", reward=reward, rating=rating)
    return 0.5 * (reward - rating).square()


def centring(chosen_reward: Float[Tensor, " B"], rejected_reward: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    r"""How far a pair lies from zero, $(r_w+r_l)^2$: a little of it picks one of all the equally good solutions.

    Eisenstein et al. (2023). One pair's gap does not feel it (sum and difference move apart), but a response met in
    several pairs is pulled both ways: keep its weight small, 0.01 say.

    Raises:
        ValueError: the shapes differ.

    >>> centring(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0]))
    tensor([16.,  0.])
    """
    same_shape("centring", chosen_reward=chosen_reward, rejected_reward=rejected_reward)
    return (chosen_reward + rejected_reward).square()


def _gap(where: str, **scores: Tensor) -> Tensor:
    same_shape(where, **scores)
    winner, loser, *_ = scores.values()
    return winner - loser


def _margin(where: str, margin: Tensor | float, gap: Tensor) -> Tensor | float:
    if isinstance(margin, Tensor):
        same_shape(where, rewards=gap, margin=margin)
    return margin
