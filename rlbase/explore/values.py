"""The γ explorer: how far ahead a discount lets an agent see, solved by value iteration at every move."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rlbase.envs import gridworld
from rlbase.envs.gridworld import MOVES
from rlbase.exact import value_iteration
from rlbase.explore.live import Explorable, explore, slider
from rlbase.explore.scene import Cells, Line, Note, Panel, Points, Scene, number

MAP = "+......\n.##.##.\n.#...#.\n.#.#.#.\nS..-..+"
SQUARES = MAP.replace("\n", "")
FAR, FAR_PAYS = 34, 5.0  # the goal in the lower right corner pays more than the one nearby


@lru_cache
def world(slip: float = 0.0) -> tuple[Tensor, Tensor]:
    """Transitions and rewards of the map: a goal nearby that pays 1, one far away that pays 5, a pit between."""
    grid = gridworld(MAP, slip=slip)
    arrives = grid.transitions[:, :, FAR].clone()
    arrives[FAR] = 0
    return grid.transitions, grid.rewards.double() + (FAR_PAYS - 1) * arrives


def gamma_scene(gamma: float = 0.9, slip: float = 0.0) -> Scene:
    """Optimal values as shades, greedy actions as arrows, and what a reward is worth from afar."""
    transitions, rewards = world(slip)
    values, q = value_iteration(transitions, rewards, gamma=gamma, tolerance=1e-6)
    width, start = MAP.index("\n"), SQUARES.index("S")
    shown = [_square(sign, values[s].item(), s) for s, sign in enumerate(SQUARES)]
    ways = [_arrow(q[s]) if sign in "S." else None for s, sign in enumerate(SQUARES)]
    starts = range(0, len(SQUARES), width)
    arrows = [ways[i : i + width] for i in starts]
    shades = [[shade for shade, _ in shown[i : i + width]] for i in starts]
    texts = [[text for _, text in shown[i : i + width]] for i in starts]
    cells = Cells(shades, arrows, texts, low=-1, high=FAR_PAYS, label="value")
    board = Panel([cells], "Value of each square, and the best way", weight=1.5)
    steps = range(31)
    marks = [
        Line(steps, [gamma**k for k in steps], "reward", "γᵏ", width=2.5),
        Points([3, 9], [gamma**3, gamma**9], "policy", size=4.5),
        Note(30, 0.94, f"horizon 1/(1−γ) = {number(1 / (1 - gamma))} steps", anchor="end"),
    ]
    axes = ("steps until it comes, k", "worth now", (0, 30), (0, 1.02))
    worth = Panel(marks, "A reward of 1, k steps away", *axes)
    goal = heads_for(transitions, q, start)
    way = f"from there the agent heads for the {goal}" if goal else "no way from there is better than another"
    caption = f"γ = {gamma:.2f}: the start is worth {values[start].item():.3f}, and {way}."
    return Scene([board, worth], caption, width=900, height=400)


def heads_for(transitions: Tensor, q: Tensor, state: int) -> str:
    """Follow the greedy policy's likeliest path and name the goal it reaches; empty when it reaches none."""
    for _ in range(60):
        if _arrow(q[state]) is None:
            break
        state = int(transitions[state, int(q[state].argmax())].argmax())
        if state in (0, FAR):
            return "goal nearby, which pays 1" if state == 0 else "far goal, which pays 5"
    return ""


def _arrow(q: Tensor) -> tuple[float, float] | None:
    if (q.max() - q.min()).item() < 1e-9:
        return None
    row, column = MOVES[int(torch.argmax(q))]
    return (column, row)


def _square(sign: str, value: float, state: int) -> tuple[float | None, str]:
    """Shade and words of a square; an ending square, worth 0 once entered, shows what entering it pays."""
    if sign == "#":
        return None, ""
    if sign in "+-":
        pays = -1.0 if sign == "-" else FAR_PAYS if state == FAR else 1.0
        return pays, f"{pays:+g}".replace("-", "−")
    return value, f"{value:.2f}"


def gamma_explorer() -> Explorable:
    """γ and the slipperiness of the floor in hand: values, arrows and the horizon follow."""
    controls = {
        "gamma": slider(0.9, 0.0, 0.99, step=0.01, label="discount γ"),
        "slip": slider(0.0, 0.0, 0.5, step=0.05, label="chance to slip"),
    }
    return explore(gamma_scene, controls)
