"""Do annotators agree more than by chance? Fleiss' kappa, Krippendorff's alpha, and each against all others."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlbase.feedback.crowd import Answers
from rlbase.validate import a_tensor, instance, one_of

Level: TypeAlias = Literal["nominal", "ordinal", "interval", "ratio"]


def fleiss_kappa(counts: Int[Tensor, "N K"]) -> float:
    r"""Agreement beyond chance when each of ``N`` questions was put into ``K`` classes by the same number of people.

    $$\kappa=\frac{\bar P-\bar P_e}{1-\bar P_e},\quad
    \bar P=\frac1N\sum_n\frac{\sum_k c_{nk}(c_{nk}-1)}{m(m-1)},\quad
    \bar P_e=\sum_k\Big(\frac{\sum_n c_{nk}}{Nm}\Big)^2$$

    Fleiss (1971). 1 is full agreement, 0 what chance gives, and it may be negative. It needs every question answered
    equally often; `krippendorff_alpha` does not.

    Raises:
        ValueError: counts that are not whole, rows that differ in their sum, fewer than two answers to a question, or
            only one class ever used, which leaves nothing to agree about.

    >>> round(fleiss_kappa(torch.tensor([[3, 0], [0, 3], [2, 1]])), 3)  # 7/9 observed, 41/81 by chance
    0.55
    """
    a_tensor("fleiss_kappa", counts=counts)
    if counts.ndim != 2 or not counts.numel() or counts.is_floating_point() or (counts < 0).any():
        raise ValueError(
            f"fleiss_kappa: counts must be whole numbers [questions, classes] from 0 up, got {counts}."
        )
    people = counts.sum(1)
    if (people != people[0]).any() or people[0] < 2:
        raise ValueError(
            f"fleiss_kappa: every question needs the same number of answers, two or more; got {people.tolist()}."
        )
    c, m = counts.double(), people[0].item()
    observed = (c * (c - 1)).sum(1).mean() / (m * (m - 1))
    chance = (c.sum(0) / c.sum()).square().sum()
    if chance == 1:
        raise ValueError("fleiss_kappa: all answers are of one class, so that agreement says nothing.")
    return ((observed - chance) / (1 - chance)).item()


def krippendorff_alpha(answers: Answers | Float[Tensor, "N M"], *, level: Level = "nominal") -> float:
    r"""Agreement beyond chance with answers missing, $1-D_o/D_e$: observed over expected disagreement.

    Krippendorff (2011), as computed by the package ``krippendorff``. ``level`` says how far apart two answers are:
    ``"nominal"`` equal or not, ``"interval"`` the squared difference, ``"ordinal"`` by ranks. Questions with fewer
    than two answers say nothing and are passed over.

    Args:
        answers: of a crowd; or ratings ``[questions, annotators]`` with NaN where somebody gave none.

    Raises:
        ValueError: an unknown level, nothing that two people answered, one and the same answer throughout, or a
            negative one on a ratio scale.

    >>> nan = float("nan")
    >>> round(krippendorff_alpha(torch.tensor([[1.0, 1, nan], [2, 2, 3], [3, nan, 3], [1, 1, 1]])), 3)
    0.71
    """
    import krippendorff

    table = answers.label if isinstance(answers, Answers) else answers
    a_tensor("krippendorff_alpha", answers=table)
    one_of("krippendorff_alpha", "level", level, ("nominal", "ordinal", "interval", "ratio"))
    if table.ndim != 2 or table.isinf().any():
        raise ValueError("krippendorff_alpha: answers must be numbers [questions, annotators], NaN for none.")
    if level == "ratio" and (table < 0).any():
        raise ValueError("krippendorff_alpha: on a ratio scale no answer is below 0.")
    several = table[(~table.isnan()).sum(1) > 1]
    if several[~several.isnan()].unique().numel() < 2:
        raise ValueError(
            "krippendorff_alpha: needs questions that two people answered, and two different answers among them."
        )
    return float(krippendorff.alpha(table.T.double().numpy(force=True), level_of_measurement=level))


def against_the_others(answers: Answers) -> Float[Tensor, " M"]:
    """How often each annotator says what most of the *others* say, ``[M]``; NaN for whom nothing can be compared.

    A question on which the others are divided equally counts half. Who is alone in being right looks bad here: it is
    agreement and not accuracy.

    >>> said = Answers(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    >>> against_the_others(said)
    tensor([0.7500, 0.7500, 0.5000])
    """
    instance("against_the_others", "answers", answers, Answers)
    says = torch.where(answers.given, 2 * answers.label - 1, 0)
    others = (says.sum(1, keepdim=True) - says).sign()
    heard = answers.given & (answers.given.sum(1, keepdim=True) > 1)
    return torch.where(heard, (1 + says * others) / 2, float("nan")).nanmean(0)
