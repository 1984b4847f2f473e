"""From scores to rewards: where a response's score is paid, what two goals make of one, the price of leaving."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.losses import k1
from rlbase.masked import last_choice, masked_whiten
from rlbase.types import Prompt, RewardModel, Tokenizer
from rlbase.validate import finite, has_shape, in_range, same_shape


def place_on_last_action(scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Pay each response's score on its last chosen action, and nothing anywhere else.

    Raises:
        ValueError: not one score per row, or a row without any choice to pay.

    >>> place_on_last_action(torch.tensor([5.0]), torch.tensor([[True, True, False]]))
    tensor([[0., 5., 0.]])
    """
    has_shape("place_on_last_action", "scores", scores, (len(mask),))
    if not mask.any(-1).all():
        raise ValueError("place_on_last_action: every row needs at least one chosen action to be paid on.")
    return torch.where(last_choice(mask), scores[:, None], torch.zeros_like(scores)[:, None])


def kl_shaped(
    rewards: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    beta: float,
) -> Float[Tensor, "B T"]:
    r"""Charge every choice for leaving the reference: $r_t - \beta(\log\pi-\log\pi_{ref})_t$, without gradient.

    Ziegler et al. (2019), eq. 2. Summed over a row the charge estimates the KL of the whole sequence, and each
    choice answers for what follows it: the return of a step contains the charges of all later steps.

    Raises:
        ValueError: shapes differ, or ``beta`` is negative.

    >>> one = torch.ones(1, 1)
    >>> kl_shaped(one, -1 * one, -3 * one, one.bool(), beta=0.1)
    tensor([[0.8000]])
    """
    same_shape("kl_shaped", rewards=rewards, logp=logp, ref_logp=ref_logp, mask=mask)
    in_range("kl_shaped", "beta", beta, 0, float("inf"))
    return rewards - beta * torch.where(mask, k1(logp, ref_logp), 0).detach()


def piecewise(
    helpful: Float[Tensor, " B"],
    safe: Float[Tensor, " B"],
    unsafe_prompt: Bool[Tensor, " B"],
    *,
    threshold: float = 0.15,
) -> Float[Tensor, " B"]:
    r"""Two goals, one at a time: ``safe`` where the prompt is unsafe or $safe<0.15$, else ``helpful``.

    Touvron et al. (2023), section 3.2.3, eq. for $R_c$. Both are probabilities, the sigmoids of two reward models. No
    weighting of the two does this: what is safe enough competes in helpfulness alone.

    Raises:
        ValueError: shapes differ, or a value or the ``threshold`` is outside [0, 1].
        TypeError: ``unsafe_prompt`` is not boolean.

    >>> helpful, safe = torch.tensor([0.9, 0.9, 0.9]), torch.tensor([0.8, 0.1, 0.8])
    >>> piecewise(helpful, safe, torch.tensor([False, False, True]))
    tensor([0.9000, 0.1000, 0.8000])
    """
    same_shape("piecewise", helpful=helpful, safe=safe, unsafe_prompt=unsafe_prompt)
    if unsafe_prompt.dtype != torch.bool:
        raise TypeError(f"piecewise: unsafe_prompt must be a boolean tensor, got {unsafe_prompt.dtype}.")
    in_range("piecewise", "threshold", threshold, 0, 1)
    for name, value in (("helpful", helpful), ("safe", safe)):
        finite("piecewise", **{name: value})
        if ((value < 0) | (value > 1)).any():
            raise ValueError(
                f"piecewise: {name} must be probabilities, in [0, 1]; take the sigmoid of scores."
            )
    return torch.where(unsafe_prompt | (safe < threshold), safe, helpful)


def logit(prob: Float[Tensor, " B"], *, eps: float = 1e-6) -> Float[Tensor, " B"]:
    r"""The score behind a probability, $\log\frac p{1-p}$, with ``prob`` kept within ``eps`` of 0 and 1.

    Touvron et al. (2023), section 3.2.3: a sigmoid crowds the best responses together, its inverse pulls them apart.

    >>> logit(torch.tensor([0.5, 0.75, 1.0]))
    tensor([ 0.0000,  1.0986, 13.8023])
    """
    return torch.logit(prob, eps=eps)


def whiten(scores: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    r"""Mean 0 and standard deviation 1 over the batch: $\beta$ then means the same whatever the reward model's unit.

    Touvron et al. (2023), section 3.2.3. A price $\beta$ on whitened scores is the price $\beta\sigma$ on the scores
    themselves, with the $\sigma$ of *this* batch: as responses become more alike, the pull to the reference weakens.

    >>> whiten(torch.tensor([1.0, 3.0]))
    tensor([-0.7071,  0.7071])
    """
    return masked_whiten(scores[:, None], torch.ones_like(scores[:, None], dtype=torch.bool))[:, 0]


class TwoRewards:
    r"""The reward of Llama 2-Chat: helpfulness and safety models, `piecewise`, `logit`, and over a batch `whiten`.

    Touvron et al. (2023), section 3.2.3. ``unsafe`` says of a prompt's text whether safety speaks first. A
    `rlbase.types.RewardModel`: pass ``score`` as ``token_scorer`` to `rlbase.envs.TextEnv`.

    >>> class Length:
    ...     def score(self, obs, actions, mask): return mask.sum(1).double()
    >>> from rlbase.envs import CharTokenizer, pad_left
    >>> both = TwoRewards(Length(), Length(), CharTokenizer("ab"), unsafe=lambda text: text == "b", whitened=False)
    >>> both.score(pad_left([[0], [1]]), torch.zeros(2, 3).long(), torch.ones(2, 3).bool()).round()
    tensor([3., 3.], dtype=torch.float64)
    """

    def __init__(
        self,
        helpful: RewardModel,
        safe: RewardModel,
        tokenizer: Tokenizer,
        *,
        unsafe: Callable[[str], bool],
        threshold: float = 0.15,
        whitened: bool = True,
    ) -> None:
        in_range("TwoRewards", "threshold", threshold, 0, 1)
        self.helpful, self.safe, self.tokenizer, self.unsafe = helpful, safe, tokenizer, unsafe
        self.threshold, self.whitened = threshold, whitened

    @torch.no_grad()
    def score(self, obs: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        """One number for each response, ``[B]``."""
        helpful, safe = (model.score(obs, actions, mask).sigmoid() for model in (self.helpful, self.safe))
        rows = zip(obs.ids.tolist(), obs.mask.tolist(), strict=True)
        prompts = [[i for i, real in zip(*row, strict=True) if real] for row in rows]
        unsafe = torch.tensor(
            [self.unsafe(self.tokenizer.decode(ids)) for ids in prompts], device=safe.device
        )
        scores = logit(piecewise(helpful, safe, unsafe, threshold=self.threshold))
        return whiten(scores) if self.whitened else scores
