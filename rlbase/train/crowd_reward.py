"""A reward model and the reliability of those who taught it, estimated together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.feedback import Answers, dawid_skene
from rlbase.feedback.aggregate import habits_of
from rlbase.train.linear_reward import LinearReward, linear_reward
from rlbase.validate import a_tensor, has_shape, in_range, instance, whole


class CrowdReward(NamedTuple):
    """What `crowd_reward` found: the ``fit``, ``prob [N]`` that the first is better, each annotator's habits ``[M]``.

    ``fit.covariance`` counts ``prob`` as if it were observed, and so is smaller than the error really is.
    """

    fit: LinearReward
    prob: Tensor
    hits: Tensor
    false_alarms: Tensor


def crowd_reward(
    difference: Float[Tensor, "N F"],
    answers: Answers,
    *,
    steps: int = 100,
    pseudo: float = 1.0,
    prior: float = 0.0,
    tolerance: float = 1e-6,
) -> CrowdReward:
    r"""Learn from a crowd of unknown reliability: `rlbase.feedback.dawid_skene` with the reward model as its prior.

    Raykar et al. (2010): each question has one right answer, which is the first with $\sigma(w\cdot\Delta_n)$, and
    $m$ reports it with $h_m$ (said first where right) and $f_m$ (said first where wrong). EM takes turns:

    $$q_n=\sigma\Big(w\cdot\Delta_n+\sum_m y_{nm}\log\tfrac{h_m}{f_m}+(1-y_{nm})\log\tfrac{1-h_m}{1-f_m}\Big)$$

    and then $w$ from labels $q$, $h$ and $f$ from the shares of answers. Votes that are fitted afterwards give a reward
    that is too small, since each wrong vote draws it towards 0; here it has its scale.

    Args:
        pseudo: answers of each kind that everybody is given beforehand, as in `rlbase.feedback.dawid_skene`.
        prior: as in `linear_reward`.

    Raises:
        ValueError: as `linear_reward` and `rlbase.feedback.dawid_skene`, or ``pseudo`` is not positive.

    >>> from rlbase.feedback import Annotator, Questions, ask
    >>> draws = torch.Generator().manual_seed(1)
    >>> x = torch.randn(4000, 1, generator=draws)
    >>> better = (torch.rand(4000, generator=draws) < x[:, 0].sigmoid()).float()
    >>> crowd = [Annotator(confusion=(e, e)) for e in (0.1, 0.2, 0.3, 0.7)]
    >>> said = ask(crowd, Questions(100 * (2 * better - 1)), draws)
    >>> votes = linear_reward(x, said.share()).weight.item()
    >>> round(votes, 1), round(crowd_reward(x, said).fit.weight.item(), 1)  # the truth is 1
    (0.3, 1.0)
    """
    instance("crowd_reward", "answers", answers, Answers)
    a_tensor("crowd_reward", difference=difference)
    if difference.ndim != 2:
        raise ValueError(
            f"crowd_reward: difference must be [comparisons, features], got {list(difference.shape)}."
        )
    has_shape("crowd_reward", "difference", difference, (len(answers.label), difference.shape[-1]))
    whole("crowd_reward", "steps", steps, 1)
    in_range("crowd_reward", "pseudo", pseudo, 0, float("inf"), open_low=True, open_high=True)
    given = answers.given.double()
    first = torch.where(answers.given, answers.label, 0).double()
    q, weight = dawid_skene(answers, pseudo=pseudo).prob.double(), None
    for step in range(steps):
        hits, false_alarms = habits_of(first, given, q, pseudo)
        fit = linear_reward(difference, q, prior=prior, start=weight)
        weight = fit.weight  # the next fit is a near one
        told = first @ (hits / false_alarms).log() + (given - first) @ ((1 - hits) / (1 - false_alarms)).log()
        before, q = q, (fit.score(difference) + told).sigmoid()
        if step == steps - 1 or (q - before).abs().max() < tolerance:
            return CrowdReward(fit, q, hits, false_alarms)
    raise AssertionError("unreachable: there is at least one step")
