"""KTO in hand: which responses survive, by the price of a thumb down and how many of them are heard."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbase import exact
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, explore, log_slider, slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Scene, number
from rlbase.losses import kto
from rlbase.policies import TabularPolicy

LIKED = (REWARD - 0.75).sigmoid()  # share of people who like each response


def learn_verdicts(
    ref: Tensor, good: Tensor, bad: Tensor, beta: float, own_kl: bool, steps: int = 80
) -> Tensor:
    r"""Train a tabular policy from ``ref`` on KTO's loss, ``good`` and ``bad`` being how much each verdict counts.

    ``own_kl`` says whether the reference point is the policy's own $KL(\pi\|\pi_{ref})$, or 0; exact gradients, Adam.

    >>> learn_verdicts(REF, REF * LIKED, REF * (1 - LIKED), 0.5, True).round(decimals=2).tolist()
    [0.0, 0.39, 0.0, 0.61]
    """
    policy, yes = TabularPolicy(1, len(ref)).double(), torch.ones(len(ref), dtype=torch.bool)
    policy.logits.data.copy_(ref.log())
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.4, betas=(0.8, 0.95), fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.4 * (1 - step / steps)
        logp = policy.logits.log_softmax(-1)[0]
        z = (logp.exp() * (logp - ref.log())).sum() if own_kl else 0.0
        loss = good * kto(logp, ref.log(), yes, z, beta=beta) + bad * kto(logp, ref.log(), ~yes, z, beta=beta)
        (policy.logits.grad,) = torch.autograd.grad(loss.sum(), policy.logits)
        optimizer.step()
    return policy.logits.detach().softmax(-1)[0]


def verdict_scene(price: float = 1.0, heard: float = 1.0, own_kl: bool = True, beta: float = 0.5) -> Scene:
    """Shares of likes beside the threshold; reference, known optimum and a policy trained just now."""
    odds = price * heard  # what a response must be liked by, thumbs up to thumbs down
    threshold = odds / (1 + odds)
    known, z = exact.kto_optimum(REF, LIKED, beta=beta, undesirable_weight=odds, kl=None if own_kl else 0.0)
    learned = learn_verdicts(REF, REF * LIKED, odds * REF * (1 - LIKED), beta, own_kl)
    shares = [
        Bars(100 * LIKED, "reward", "people who like it"),
        Line(
            [0, 1], [100 * threshold] * 2, "wrong", f"threshold {100 * threshold:.0f} %", dashed=True, width=2
        ),
    ]
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(known, "truth", "known optimum"),
        Bars(learned, "policy", "learned"),
    ]
    kept = [name for name, p in zip("ABCD", known.tolist(), strict=True) if p > 0]
    caption = (
        f"Whoever is liked by more than {100 * threshold:.1f} % survives: {' '.join(kept)}. Reference point "
        f"{number(z)}; the learned policy is {exact.total_variation(learned, known):.3f} (total variation) from the "
        "optimum."
    )
    panels = [
        Panel(shares, "Who likes what", "", "% of verdicts", y_range=(0, 108), categories="ABCD"),
        Panel(bars, "Who survives", "", "probability", y_range=(0, 1.08), categories="ABCD", weight=1.4),
    ]
    return Scene(panels, caption, width=900, height=350)


def verdict_explorer() -> Explorable:
    """The price of a thumb down, how many are heard, and the reference point in hand; trained at every move."""
    controls = {
        "price": log_slider(1.0, 0.25, 3.0, label="λU / λD", steps=20),
        "heard": slider(1.0, 0.1, 1.0, step=0.05, label="thumbs down that are heard", form=".0%"),
        "own_kl": toggle(True, label="reference point: own KL (off: 0)"),
    }
    return explore(verdict_scene, controls)
