"""Bandit explorers: the softmax and its temperature, and how much exploring pays, simulated at every move."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from rlbase.envs import Bandit
from rlbase.explore.live import Explorable, buttons, explore, int_slider, log_slider
from rlbase.explore.scene import Band, Bars, Line, Panel, Points, Scene, number

MEANS = (0.2, -0.8, 1.6, 0.4, 1.2, -1.5, -0.2, -1.0, 0.8, -0.5)  # mean reward of ten arms, noise of 1
COPIES = 100  # agents simulated for each setting
AMOUNTS = tuple(torch.logspace(-2, 1, 10).tolist())
BEST = max(range(len(MEANS)), key=MEANS.__getitem__)


def softmax_scene(temperature: float = 1.0) -> Scene:
    """Choice probabilities of a softmax over four preferences, and its entropy at every temperature."""
    preferences = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    grid = torch.logspace(-1, 1, 60, dtype=torch.float64)
    probs = (preferences / temperature).softmax(0)
    curve = torch.distributions.Categorical(logits=preferences / grid[:, None]).entropy()
    entropy = torch.distributions.Categorical(probs=probs).entropy().item()
    names = [f"preference {number(v)}" for v in preferences.tolist()]
    arms = Panel(
        [Bars(probs)], "Softmax policy", "", "probability", y_range=(0, 1.08), categories=names, weight=1.3
    )
    marks = [
        Line([0.1, 10], [log(4)] * 2, "reference", "uniform", dashed=True, width=1.8),
        Line(grid, curve, "policy", "entropy"),
        Points([temperature], [entropy], "policy", size=6),
    ]
    axes = ("How undecided it is", "temperature", "entropy, nats", (0.1, 10), (0, 1.5), True)
    caption = (
        f"At temperature {number(temperature)} the favourite is chosen {probs.max().item():.1%} of the time; "
        f"entropy {entropy:.3f} nats."
    )
    return Scene([arms, Panel(marks, *axes)], caption, width=860)


def simulate(rule: str, amounts: Tensor, pulls: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Let agents learn sample averages; give rewards and whether the best arm was pulled, both ``[agents, pulls]``.

    ``amounts`` holds one number per agent: the temperature of a softmax over the averages (``rule="softmax"``),
    or the chance of a random arm (``rule="greedy"``).
    """
    if rule not in ("softmax", "greedy"):
        raise ValueError(f"simulate: rule must be 'softmax' or 'greedy', got {rule!r}.")
    agents, generator = len(amounts), torch.Generator().manual_seed(seed)
    env = Bandit(torch.tensor(MEANS), batch_size=agents, noise=1.0)
    averages, counts = torch.zeros(2, agents, len(MEANS))
    row = torch.arange(agents)
    env.begin(generator)
    rewards, best = torch.zeros(agents, pulls), torch.zeros(agents, pulls, dtype=torch.bool)
    for t in range(pulls):
        # Gumbel noise makes an argmax a draw from the softmax; a little of it breaks ties for the greedy rule.
        gumbel = -(-torch.rand(averages.shape, generator=generator).clamp_min(1e-30).log()).log()
        arms = (averages + (amounts[:, None] if rule == "softmax" else 1e-6) * gumbel).argmax(1)
        if rule == "greedy":
            arms = torch.where(torch.rand(agents, generator=generator) < amounts, gumbel.argmax(1), arms)
        paid = env.step(arms, generator).rewards
        counts[row, arms] += 1
        averages[row, arms] += (paid - averages[row, arms]) / counts[row, arms]
        rewards[:, t], best[:, t] = paid, arms == BEST
    return rewards, best


def exploration_scene(rule: str = "softmax", amount: float = 0.3, pulls: int = 200, seed: int = 0) -> Scene:
    """Reward over time at this much exploring, and the total at every other amount, from real simulated runs."""
    largest = 1.0 if rule == "greedy" else AMOUNTS[-1]
    tried = [min(a, largest) for a in (amount, *AMOUNTS)]
    rewards, best = simulate(rule, torch.tensor(tried).repeat_interleave(COPIES), pulls, int(seed))
    window = max(1, pulls // 25)
    smooth = torch.nn.functional.avg_pool1d(rewards[:COPIES].mean(0)[None], window, stride=1)[0]
    times, error = range(window, pulls + 1), 2 * rewards[:COPIES].std(0).mean() / (COPIES * window) ** 0.5
    marks = [
        Band(times, smooth - error, smooth + error, "reward"),
        Line(times, smooth, "reward", f"mean of {COPIES} agents"),
        Line([1, pulls], [MEANS[BEST]] * 2, "truth", "best arm", dashed=True, width=2),
    ]
    axes = ("pulls", "reward per pull", (1, max(pulls, 2)), (-0.5, 1.9))
    over_time = Panel(marks, "Learning which arm pays", *axes)
    mine, *totals = rewards.view(-1, COPIES, pulls).mean((1, 2)).tolist()
    amounts, earned = zip(*sorted(set(zip(tried[1:], totals, strict=True))), strict=True)
    marks = [
        Line(amounts, earned, "policy", f"over {pulls} pulls", width=2),
        Points(tried[:1], [mine], "reward", "yours", size=6),
        Line([0.01, 10], [MEANS[BEST]] * 2, "truth", dashed=True, width=2),
        Line([0.01, 10], [sum(MEANS) / len(MEANS)] * 2, "reference", "pure chance", dashed=True, width=2),
    ]
    name = "temperature" if rule == "softmax" else "chance of a random arm"
    by_amount = Panel(
        marks, "How much exploring pays", name, "reward per pull", (0.01, 10), (-0.5, 1.9), x_log=True
    )
    caption = (
        f"Exploring by {name} {number(tried[0])}: {mine:.2f} per pull over {pulls} pulls (best arm {MEANS[BEST]:g}), "
        f"and {best[:COPIES, -1].float().mean().item():.0%} of the agents end on the best arm."
    )
    return Scene([over_time, by_amount], caption, width=900, height=350)


def softmax_explorer() -> Explorable:
    """The temperature in hand: from the favourite alone to a coin toss."""
    return explore(softmax_scene, {"temperature": log_slider(1.0, 0.1, 10.0, label="temperature")})


def exploration_explorer() -> Explorable:
    """Rule, amount of exploring and patience in hand; a thousand agents learn at every move."""
    controls = {
        "rule": buttons("softmax", [("softmax", "softmax"), ("ε-greedy", "greedy")], label="rule"),
        "amount": log_slider(0.3, 0.01, 10.0, label="amount", steps=10),
        "pulls": int_slider(200, 20, 400, step=20, label="pulls"),
        "seed": int_slider(0, 0, 20, label="seed"),
    }
    return explore(exploration_scene, controls)
