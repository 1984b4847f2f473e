"""Remedies for where labels come from: groups weighed, sources mixed, and the agent watched on tasks held out."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.envs.hackable import hackable
from rlbase.evaluate import Gap, Outcome, proxy_gold_gap
from rlbase.exact import kl_optimum, mixing_weight
from rlbase.explore.layout import roomy
from rlbase.explore.live import Explorable, choice, explore, int_slider, slider
from rlbase.explore.remedies import FEATURES, compared, cost, regrets
from rlbase.explore.scene import Line, Panel, Points, Scene
from rlbase.feedback import Annotator, Questions, ask, effective_sample_size
from rlbase.train import LinearReward, linear_reward

TASTE = 1.5  # what one group likes in wit, and the other dislikes
GROUPS = (Annotator(taste=(TASTE,)), Annotator(taste=(-TASTE,)))


@lru_cache(maxsize=64)
def population(share: float) -> LinearReward:
    """The reward that endlessly many labels teach if a ``share`` of them comes from the lovers of wit.

    >>> [round(population(share).weight[1].item(), 1) for share in (1.0, 0.9, 0.5)]  # what wit weighs
    [1.5, 1.0, 0.0]
    """
    one, other = torch.triu_indices(60, 60, 1)
    apart = FEATURES[one] - FEATURES[other]
    likes = [(apart[:, 0] + side * TASTE * apart[:, 1]).sigmoid() for side in (1, -1)]
    return linear_reward(apart, share * likes[0] + (1 - share) * likes[1])


class Grouped(NamedTuple):
    """What labels teach as they ``came`` and ``weighed``, what each costs, and how many labels the weights leave."""

    came: LinearReward
    weighed: LinearReward
    cost: tuple[Outcome, Outcome]
    effective: float


@lru_cache(maxsize=256)
def grouped(share: float = 0.9, target: float = 0.5, n: int = 2000, seed: int = 0) -> Grouped:
    """A ``share`` of ``n`` labels comes from the lovers of wit, who are ``target`` of those to be served.

    >>> found = grouped()
    >>> found.cost[1].regret < found.cost[0].regret / 5
    True
    """
    luck = torch.Generator().manual_seed(seed)
    apart = compared(n, luck)
    said = ask(GROUPS, Questions(apart[:, 0], traits=apart[:, 1:2]), luck).label
    lovers = torch.arange(n) < round(share * n)
    label = torch.where(lovers, said[:, 0], said[:, 1])
    weight = torch.where(lovers, target / share, (1 - target) / (1 - share)).double()
    fits = (linear_reward(apart, label, prior=0.1), linear_reward(apart, label, weight=weight, prior=0.1))
    gold = FEATURES @ population(target).weight
    came, weighed = (cost(fit.weight, gold) for fit in fits)
    return Grouped(*fits, (came, weighed), effective_sample_size(weight))


def group_scene(share: float = 0.9, target: float = 0.5, n: int = 2000) -> Scene:
    """The weight of wit as labels came and as they were weighed, with two standard errors; what policies lose."""
    found, truth = grouped(share, target, int(n)), population(target).weight[1].item()
    marks: list[Line | Points] = [Line([0, 2], [truth] * 2, "truth", "the people to be served", dashed=True)]
    for x, fit, color in ((0.5, found.came, "wrong"), (1.5, found.weighed, "policy")):
        at, error = fit.weight[1].item(), 2 * fit.error[1].item()
        marks += [Line([x, x], [at - error, at + error], color), Points([x], [at], color, size=6)]
    ends = [y for mark in marks for y in mark.y]
    names = ("as it came", "weighed")
    lost = regrets({name: each.regret for name, each in zip(names, found.cost, strict=True)})
    came, weighed = (fit.weight[1].item() for fit in (found.came, found.weighed))
    caption = (
        f"{int(n)} labels, {share:.1%} from the lovers of wit. Weighed to {target:.0%} they are worth "
        f"{found.effective:.0f}. Wit weighs {came:.2f} as it came, {weighed:.2f} weighed; {truth:.2f} is right."
    )
    panel = Panel(
        marks,
        "What wit is worth, ± 2 standard errors",
        "",
        "weight",
        (0, 2),
        roomy(-1.5, 2, ends),
        categories=names,
    )
    return Scene([panel, lost], caption, width=880, height=330)


def group_explorer() -> Explorable:
    """Who labels, who is to be served, and how many labels there are, in hand."""
    controls = {
        "share": slider(0.9, 0.5, 0.995, step=0.005, label="labels from lovers of wit", form=".3f"),
        "target": slider(0.5, 0.05, 0.95, step=0.05, label="lovers among those to be served"),
        "n": choice(2000, [200, 2000, 20_000], label="labels"),
    }
    return explore(group_scene, controls)


@lru_cache(maxsize=64)
def errors(human: int, cheap: int, length: float, seeds: int = 40) -> tuple[Tensor, Tensor, float, float]:
    """Errors of the weights learned from ``human`` labels and from ``cheap`` ones, ``[seeds, 3]``, and their variances.

    The cheap labeller likes ``length``, to that weight. The variances are those that the fits claim, on average.
    """
    truth, off, claimed = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), ([], []), ([], [])
    for seed in range(seeds):
        luck = torch.Generator().manual_seed(seed)
        for k, (n, who) in enumerate(((human, Annotator()), (cheap, Annotator(length=length)))):
            apart = compared(n, luck)
            said = ask([who], Questions(apart[:, 0], longer=apart[:, 2]), luck).label[:, 0]
            fit = linear_reward(apart, said, prior=0.1)
            off[k].append(fit.weight - truth)
            claimed[k].append(fit.covariance.trace())
    v1, v2 = (torch.stack(each).mean().item() for each in claimed)
    return torch.stack(off[0]), torch.stack(off[1]), v1, v2


def best_mix(ours: Tensor, theirs: Tensor) -> float:
    """The weight on ``ours [seeds, F]`` that makes the mean squared error of the mixture least, as it was seen."""
    apart = ours - theirs
    return (-(theirs * apart).sum() / apart.square().sum()).item()


def mix_scene(human: int = 100, cheap: int = 2000, length: float = 0.3, trust: float = 0.5) -> Scene:
    """The squared error of every mixture, as seen over forty seeds and by the formula, and what the policy loses."""
    ours, theirs, v1, v2 = errors(int(human), int(cheap), length)
    grid = torch.linspace(0, 1, 41, dtype=torch.float64)
    mixed = [w * ours + (1 - w) * theirs for w in grid]
    seen = [each.square().sum(1).mean().item() for each in mixed]
    law = grid**2 * v1 + (1 - grid) ** 2 * (v2 + length**2)
    best, found = mixing_weight(v1, v2, length), best_mix(ours, theirs)
    here = [trust**2 * v1 + (1 - trust) ** 2 * (v2 + length**2)]
    marks = [
        Line(grid, law, "truth", "by the formula", dashed=True),
        Line(grid, seen, "policy", "seen over 40 seeds"),
        Points([trust], here, "reward", "you stand here", 6),
    ]
    truth = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    pooled = human / (human + cheap)
    ways = {"cheap": 0.0, "pooled": pooled, "best": best, "human": 1.0, "yours": trust}
    lost = {
        name: sum(cost(truth + w * a + (1 - w) * b).regret for a, b in zip(ours, theirs, strict=True))
        / len(ours)
        for name, w in ways.items()
    }
    told = f"{best:.3f} by the formula, {found:.3f} seen"
    caption = f"Best weight on the human labels: {told}. Pooling gives {pooled:.3f}."
    panel = Panel(
        marks, "Squared error of the mixture", "weight on human labels", "mean square", (0, 1), (0, 0.5)
    )
    return Scene([panel, regrets(lost, 0.4)], caption, width=900, height=340)


def mix_explorer() -> Explorable:
    """How many labels of which kind, how biased the cheap ones are, and how far to trust them, in hand."""
    controls = {
        "human": choice(100, [50, 100, 200, 1000], label="human labels"),
        "cheap": choice(2000, [200, 2000, 5000], label="cheap labels"),
        "length": slider(0.3, 0.0, 0.6, step=0.05, label="bias of the cheap ones"),
        "trust": slider(0.5, 0.0, 1.0, step=0.05, label="weight on human labels"),
    }
    return explore(mix_scene, controls)


LOOKS = torch.logspace(1, -0.7, 12, dtype=torch.float64)
EXAMS = ("shifted tasks", "tasks of the training")


class Watched(NamedTuple):
    """One look at an agent: the price of KL, what proxy and gold have gained in truth, and the test."""

    beta: float
    proxy: float
    gold: float
    gap: Gap


@lru_cache(maxsize=128)
def watched(exam: str = EXAMS[0], n: int = 100, hack: float = 0.8, seed: int = 0) -> list[Watched]:
    """An agent follows a proxy that likes a flaw; at each look, ``n`` of its answers are judged, and ``n`` of before.

    On the tasks of the training the flaw is worth what the proxy pays for it; on shifted ones its excess is hated.
    Judges err by a standard normal.

    >>> looks = watched()
    >>> first = next(i for i, look in enumerate(looks) if look.gap.p < 0.01 / len(looks))
    >>> all(look.gold > 0 for look in looks[: first + 1]), looks[-1].gold < 0
    (True, True)
    """
    world, luck = hackable(hack=hack, seed=1), torch.Generator().manual_seed(seed)
    judged = world.gold if exam == EXAMS[0] else world.proxy
    looks = []
    for beta in LOOKS.tolist():
        policy = kl_optimum(world.ref, world.proxy, beta=beta)
        after, before = (torch.multinomial(law, n, True, generator=luck) for law in (policy, world.ref))
        noise = torch.randn(2, n, generator=luck, dtype=torch.float64)
        gap = proxy_gold_gap(
            world.proxy[after], judged[after] + noise[0], world.proxy[before], judged[before] + noise[1]
        )
        paid, meant = ((policy @ reward - reward.mean()).item() for reward in (world.proxy, world.gold))
        looks.append(Watched(beta, paid, meant, gap))
    return looks


def watch_scene(exam: str = EXAMS[0], n: int = 100, hack: float = 0.8, seed: int = 0) -> Scene:
    """What is paid and meant as the price of KL falls, and at which look the test raises its alarm."""
    looks = watched(exam, int(n), hack, int(seed))
    steps, alarm = range(1, len(looks) + 1), 0.01 / len(looks)
    marks: list[Line | Points] = [
        Line(steps, [look.proxy for look in looks], "reward", "paid"),
        Line(steps, [look.gold for look in looks], "truth", "meant, on shifted tasks"),
    ]
    raised = next((i for i, look in enumerate(looks) if look.gap.p < alarm), None)
    if raised is not None:
        marks.append(Points([raised + 1], [looks[raised].gold], "wrong", "alarm", 7))
    doubt = [min(-torch.tensor(max(look.gap.p, 1e-12)).log10().item(), 8) for look in looks]
    needed = -torch.tensor(alarm).log10().item()
    test = [
        Line(steps, doubt, "policy", "of the gap that is seen"),
        Line([1, 12], [needed] * 2, "wrong", "alarm", dashed=True),
    ]
    panels = [
        Panel(marks, "Gained since the start", "look", "reward", (1, 12), (-6, 8)),
        Panel(test, "How unlikely by luck", "look", "-log10 of p", (1, 12), (0, 8.2)),
    ]
    told = (
        "No alarm."
        if raised is None
        else f"Alarm at look {raised + 1}, at a gold gain of {looks[raised].gold:+.2f}."
    )
    return Scene(panels, f"{told} At the end {looks[-1].gold:+.2f}.", width=900, height=340)


def watch_explorer() -> Explorable:
    """On what the agent is examined, how thoroughly, and how far the proxy is off, in hand."""
    controls = {
        "exam": choice(EXAMS[0], list(EXAMS), label="examined on"),
        "n": choice(100, [10, 30, 100, 1000], label="answers judged at each look"),
        "hack": slider(0.8, 0.0, 1.6, step=0.2, label="liking for the flaw"),
        "seed": int_slider(0, 0, 20, label="seed"),
    }
    return explore(watch_scene, controls)
