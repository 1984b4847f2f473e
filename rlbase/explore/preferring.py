"""DPO in hand: four responses, noisy comparisons, the reward that a policy implies, and who wrote the pairs."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from rlbase.envs import Bandit
from rlbase.exact import bt_projection, kl_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, explore, int_slider, log_slider, slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.losses import dpo
from rlbase.policies import TabularPolicy, frozen_copy
from rlbase.train import OnlineConfig, PreferenceConfig, online_preference, preference
from rlbase.types import Choices, PreferencePairs

FIRST, SECOND = torch.triu_indices(4, 4, 1)  # the six pairs


def shares(noise: float = 0.0) -> Tensor:
    """How often each response is called better than each other, ``[4, 4]``, if ``noise`` of all labels are flipped.

    >>> round(shares(noise=0.5)[0, 3].item(), 2), round(shares()[3, 0].item(), 2)  # tossed; sigma(2)
    (0.5, 0.88)
    """
    clean = (REWARD[:, None] - REWARD).sigmoid()
    return (1 - noise) * clean + noise * (1 - clean)


@lru_cache(maxsize=256)
def preferred(beta: float = 0.5, noise: float = 0.0, steps: int = 100) -> tuple[Tensor, float]:
    """A table trained by DPO from ``REF`` on all six pairs, and its last loss.

    >>> policy, loss = preferred(beta=0.5)
    >>> policy.round(decimals=2).tolist()  # the optimum of KL-regularised reward
    [0.05, 0.26, 0.06, 0.63]
    """
    policy: Any = TabularPolicy(1, 4, ref=REF).double()
    sides = (
        Choices(torch.zeros(6, 1).long(), side[:, None], torch.ones(6, 1).bool()) for side in (FIRST, SECOND)
    )
    pairs = PreferencePairs(*sides, prob=shares(noise)[FIRST, SECOND])
    config, last = PreferenceConfig(updates=max(int(steps), 1), learning_rate=0.3 if steps else 0.0), 0.0
    for record in preference(policy, pairs, partial(dpo, beta=beta), config, reference=frozen_copy(policy)):
        last = record["loss"]
    return policy.probs()[0].detach(), last


def preferring_scene(beta: float = 0.5, noise: float = 0.0, steps: int = 100) -> Scene:
    """Reference, optimum of the reward, and what DPO learned; and the reward that it implies against the true one."""
    learned, loss = preferred(beta, noise, int(steps))
    optimum = kl_optimum(REF, REWARD, beta=beta)
    asked = bt_projection(shares(noise))
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(optimum, "truth", "optimum for the true reward"),
        Bars(learned, "policy", "learned by DPO"),
    ]
    names = [f"worth {number(r)}" for r in REWARD.tolist()]
    left = Panel(
        bars, "Which response comes", "", "probability", y_range=(0, 1.08), categories=names, weight=1.25
    )
    implied = beta * (learned.clamp(min=1e-300) / REF).log()
    implied, worth = implied - implied.mean(), REWARD - REWARD.mean()
    marks = [
        Line([-1.2, 1.4], [-1.2, 1.4], "truth", "as true as can be", width=2),
        Points(worth, asked, "other", "what the labels say", size=8, hollow=True),
        Points(worth, implied, "policy", "β log(π/π_ref)", size=5),
    ]
    axes = ("The reward inside the policy", "true reward, mean taken off", "implied reward, mean taken off")
    right = Panel(marks, *axes, x_range=(-1.2, 1.4), y_range=(-1.2, 1.4))
    off, apart = (total_variation(learned, p) for p in (optimum, kl_optimum(REF, asked, beta=beta)))
    caption = (
        f"β = {number(beta)}, {noise:.0%} of the labels flipped, {int(steps)} steps: loss {loss:.3f}; {off:.3f} (total "
        f"variation) from the optimum for the true reward, {apart:.3f} from that for what the labels say."
    )
    return Scene([left, right], caption, width=900, height=350)


def preferring_explorer() -> Explorable:
    """β, the share of flipped labels and the number of gradient steps in hand; every move trains anew."""
    controls = {
        "beta": log_slider(0.5, 0.05, 5.0, label="price of KL, β", steps=10),
        "noise": slider(0.0, 0.0, 0.5, step=0.05, label="labels flipped", form=".0%"),
        "steps": int_slider(100, 0, 100, step=10, label="gradient steps"),
    }
    return explore(preferring_scene, controls)


@lru_cache(maxsize=64)
def taught(beta: float, complete: bool, online: bool, updates: int = 80) -> tuple[tuple[float, ...], Tensor]:
    """The probability of the best response after each update, and the last policy: from a file, or from its own draws.

    >>> shares, policy = taught(beta=0.5, complete=False, online=False)
    >>> policy[3].item() < 0.1 < taught(beta=0.5, complete=False, online=True)[1][3].item()
    True
    """
    policy: Any = TabularPolicy(1, 4, ref=REF)
    loss, anchor, best = partial(dpo, beta=beta), frozen_copy(policy), []
    if online:
        settings = OnlineConfig(updates=updates, learning_rate=0.1, soft=True)
        world: Any = Bandit(REWARD, batch_size=256)
        luck = torch.Generator().manual_seed(0)
        run = online_preference(policy, world, loss, settings, reference=anchor, generator=luck)
    else:
        kept = (FIRST < 3) & (SECOND < 3) | complete
        sides = (Choices(0 * s[:, None], s[:, None], s[:, None] >= 0) for s in (FIRST[kept], SECOND[kept]))
        pairs = PreferencePairs(*sides, prob=shares()[FIRST, SECOND][kept])
        run = preference(
            policy, pairs, loss, PreferenceConfig(updates=updates, learning_rate=0.3), reference=anchor
        )
    for _ in run:
        best.append(policy.probs()[0, 3].item())
    return tuple(best), policy.probs()[0].detach().double()


def taught_scene(beta: float = 0.5, complete: bool = False) -> Scene:
    """DPO from a file of comparisons, which may lack the best response, beside DPO from its own draws."""
    optimum = kl_optimum(REF, REWARD, beta=beta)
    (by_file, offline), (by_draw, online) = (taught(beta, bool(complete), own) for own in (False, True))
    bars = [Bars(REF, "reference", "reference"), Bars(optimum, "truth", "optimum")]
    bars += [Bars(offline, "wrong", "from the file"), Bars(online, "policy", "from its own draws")]
    names = [f"worth {number(r)}" for r in REWARD.tolist()]
    left = Panel(
        bars, "Which response comes", "", "probability", y_range=(0, 1.08), categories=names, weight=2.0
    )
    steps = list(range(1, len(by_file) + 1))
    lines = [
        Line([1, steps[-1]], [optimum[3].item()] * 2, "truth", "optimum", dashed=True),
        Line(steps, by_file, "wrong", "from the file"),
        Line(steps, by_draw, "policy", "from its own draws"),
    ]
    right = Panel(lines, "The best response", "update", "probability", (0, steps[-1]), (0, 1.08))
    off, on = (total_variation(p, optimum) for p in (offline, online))
    caption = (
        f"β = {number(beta)}, the best response is {'' if complete else 'not '}in the file: DPO from the file ends "
        f"{off:.3f} (total variation) from the optimum, DPO from its own draws {on:.3f}."
    )
    return Scene([left, right], caption, width=960, height=350)


def taught_explorer() -> Explorable:
    """β in hand, and whether the file that offline DPO learns from holds the best response."""
    beta = log_slider(0.5, 0.1, 5.0, label="price of KL, β", steps=10)
    return explore(
        taught_scene, {"beta": beta, "complete": toggle(False, label="the file holds the best response")}
    )
