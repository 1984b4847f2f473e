"""The last stage of RLHF over 121 responses: the price of KL, a penalty for not ending, and where a score is paid."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rlbase.exact import enumerate_responses, kl, kl_optimum, total_variation
from rlbase.explore.kl import climb
from rlbase.explore.live import Explorable, choice, explore, log_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number

LENGTH, EOS = 4, 3
IDS, MASK = enumerate_responses(4, EOS, LENGTH)
LETTERS = torch.tensor(
    [0.36, 0.26, 0.18, 0.2], dtype=torch.float64
)  # a, b, c, end: the supervised model's habit
REF = torch.where(MASK, LETTERS[IDS], 1).prod(1)
WRITTEN = ((IDS != EOS) & MASK).sum(1)
SCORE = (
    2.0 * (((IDS == 0) & MASK).sum(1) - ((IDS == 2) & MASK).sum(1)) / WRITTEN.clamp(min=1).double()
)  # all a: 2
CUT_OFF = WRITTEN == LENGTH
PLACES = {
    "the last token": torch.ones(len(IDS)).double(),
    "the last column, padding or not": MASK[:, -1].double(),
    "every token": MASK.sum(1).double(),
}


def paid(penalty: float = 0.0, place: str = "the last token") -> Tensor:
    """What each response gets in all, ``[121]``: its score as often as it is paid, less the penalty if it is cut off.

    A score in the last column reaches a response only if it has a token there; on padding nobody learns from it.

    >>> paid()[WRITTEN == 0].item(), paid(penalty=1.0)[CUT_OFF].max().item(), paid(place="every token").max().item()
    (0.0, 1.0, 8.0)
    """
    return SCORE * PLACES[place] - penalty * CUT_OFF


@lru_cache
def frontier() -> tuple[list[float], list[float]]:
    """KL and expected score of the optimum as the price of KL falls: nobody gets more score at this distance."""
    best = [kl_optimum(REF, SCORE, beta=beta) for beta in torch.logspace(-1, 1, 40).tolist()]
    return [kl(p, REF) for p in best], [(p @ SCORE).item() for p in best]


@lru_cache(maxsize=256)
def rlhf_scene(beta: float = 0.5, penalty: float = 0.0, place: str = "the last token") -> Scene:
    """How responses end under the reference, the optimum for what is paid and the policy learned just now."""
    reward = paid(penalty, place)
    optimum, learned = kl_optimum(REF, reward, beta=beta), climb(REF, reward, beta, 80)
    shares = {name: torch.stack([p[n == WRITTEN].sum() for n in range(LENGTH + 1)])
              for name, p in (("reference", REF), ("truth", optimum), ("policy", learned))}  # fmt: skip
    labels = {"reference": "reference", "truth": "known optimum", "policy": "learned"}
    bars = [Bars(share, name, labels[name]) for name, share in shares.items()]
    names = ["empty", "1 letter", "2 letters", "3 letters", "cut off"]
    left = Panel(
        bars, "How a response ends", "", "probability", y_range=(0, 1.05), categories=names, weight=1.15
    )
    distance, score = kl(learned, REF), (learned @ SCORE).item()
    marks = [
        Line(*frontier(), "truth", "best possible", width=2),
        Points([0.0], [(REF @ SCORE).item()], "reference", "reference", size=5),
        Points([distance], [score], "policy", "you are here", size=7),
    ]
    axes = ("What the score really is", "KL(π‖ref), nats", "score, mean of the responses")
    right = Panel(marks, *axes, x_range=(-0.1, 4.0), y_range=(0, 2.2))
    caption = (
        f"β = {number(beta)}, penalty {number(penalty)}, paid on {place}: mean score {score:.2f} at {distance:.2f} "
        f"nats, {learned[CUT_OFF].sum():.0%} cut off (reference {REF[CUT_OFF].sum():.0%}); "
        f"{total_variation(learned, optimum):.3f} from the optimum for what is paid."
    )
    return Scene([left, right], caption, width=900, height=350)


def rlhf_explorer() -> Explorable:
    """The price of KL, the penalty for a missing end and the place of the score, in hand."""
    controls = {
        "beta": log_slider(0.5, 0.05, 5.0, label="KL coefficient β", steps=10),
        "penalty": slider(0.0, 0.0, 4.0, step=0.5, label="penalty for a missing end", form=".1f"),
        "place": choice("the last token", list(PLACES), label="the score is paid on"),
    }
    return explore(rlhf_scene, controls)
