"""Finite worlds written as tables, so that value iteration knows the answer: chains and gridworlds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.envs.episodes import EpisodeLog
from rlbase.types import Discrete, Step
from rlbase.validate import a_tensor, choices, finite, has_shape, in_range, mdp_tables, same_settings, whole


class TabularMDP:
    """A batch of copies of a finite Markov decision process, with next-step autoreset.

    ``transitions`` is ``[S, A, S]``, ``rewards`` is ``[S, A]``; entering a state listed in ``terminal`` ends
    the episode, and after ``time_limit`` steps it is truncated, which is *not* an end: the final observation
    keeps its value. The same tables go to `rlbase.exact.value_iteration`.

    Raises:
        ValueError: shapes do not fit, rows of ``transitions`` do not sum to 1, or a state does not exist.

    >>> world = chain(3, batch_size=1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> world.begin(generator).item(), world.step(torch.tensor([1]), generator).obs.item()
    (1, 2)
    """

    horizon = None

    def __init__(
        self,
        transitions: Tensor,
        rewards: Tensor,
        *,
        start: int = 0,
        terminal: tuple[int, ...] = (),
        time_limit: int | None = None,
        batch_size: int = 16,
    ) -> None:
        mdp_tables("TabularMDP", transitions, rewards)
        states, actions = rewards.shape
        for state in (start, *terminal):
            in_range("TabularMDP", "start and terminal states", state, 0, states - 1)
        whole("TabularMDP", "batch_size", batch_size, 1)
        whole("TabularMDP", "time_limit", 1 if time_limit is None else time_limit, 1)
        self.transitions, self.rewards = transitions.double(), rewards.to(torch.get_default_dtype())
        self.start, self.time_limit, self.batch_size = start, time_limit, batch_size
        self.is_terminal = torch.zeros(states, dtype=torch.bool)
        self.is_terminal[list(terminal)] = True
        self.observation_space, self.action_space = Discrete(states), Discrete(actions)
        self.log = EpisodeLog(batch_size)
        self.returns = self.log.returns
        self._states = torch.full((batch_size,), start)
        self._clock = torch.zeros(batch_size, dtype=torch.long)

    def begin(self, generator: torch.Generator) -> Tensor:
        return self._states.to(generator.device)

    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        choices("TabularMDP.step", actions, self.action_space.n, self.batch_size)
        device, actions = generator.device, actions.cpu()
        odds = self.transitions[self._states, actions].cumsum(1)
        draw = torch.rand(self.batch_size, 1, generator=generator, device=device, dtype=torch.float64).cpu()
        # times the row's total: where that is a rounding below 1, a draw beyond it would land on the last state
        following = (odds <= draw * odds[:, -1:]).sum(1).clamp(max=odds.shape[1] - 1)
        resetting = self.log.resetting
        rewards = torch.where(resetting, 0, self.rewards[self._states, actions])
        self._states = torch.where(resetting, self.start, following)
        self._clock = torch.where(resetting, 0, self._clock + 1)
        terminated = self.is_terminal[self._states] & ~resetting
        truncated = torch.zeros_like(terminated)
        if self.time_limit is not None:
            truncated = (self._clock >= self.time_limit) & ~resetting & ~terminated
        mask = self.log.record(rewards, terminated | truncated)
        seen, over, cut = self._states.to(device), terminated.to(device), truncated.to(device)
        return Step(seen, rewards.to(device), over, cut, mask.to(device))

    def stack(self, observations: list[Tensor]) -> Tensor:
        return torch.stack(observations, 1)

    def _settings(self) -> dict[str, Any]:
        tables = {
            "transitions": self.transitions,
            "rewards": self.rewards,
            "terminal states": self.is_terminal,
        }
        return {**tables, "start": self.start, "time_limit": self.time_limit}

    def state(self) -> dict[str, Any]:
        now = {"log": self.log.state(), "states": self._states.clone(), "clock": self._clock.clone()}
        return {**self._settings(), **now}

    def load_state(self, state: dict[str, Any]) -> None:
        has_shape("TabularMDP.load_state", "states", state["states"], (self.batch_size,))
        same_settings("TabularMDP", self._settings(), state)
        self.log.load_state(state["log"])
        self._states, self._clock = state["states"].clone(), state["clock"].clone()


def chain(
    length: int = 5,
    *,
    slip: float = 0.0,
    small: float = 0.1,
    time_limit: int | None = None,
    batch_size: int = 16,
) -> TabularMDP:
    r"""A corridor with a small reward next door and a big one far away; both ends end the episode.

    States run from 0 to ``length - 1``; the walker starts in state 1. Actions are 0 left and 1 right, and with
    probability ``slip`` a step goes the other way. Reaching state 0 pays ``small``, the last state pays 1.
    Without slips walking right from the start is worth $\gamma^{n-3}$: a near-sighted agent takes the small
    reward, a far-sighted one walks.

    >>> chain(4).rewards.tolist()
    [[0.0, 0.0], [0.10000000149011612, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    whole("chain", "length", length, 3)
    in_range("chain", "slip", slip, 0, 1)
    transitions, rewards = torch.zeros(length, 2, length), torch.zeros(length, 2)
    prize = torch.zeros(length)
    prize[0], prize[-1] = small, 1.0
    transitions[[0, -1], :, [0, -1]] = 1
    for state in range(1, length - 1):
        for action, (meant, other) in enumerate([(state - 1, state + 1), (state + 1, state - 1)]):
            transitions[state, action, meant] += 1 - slip
            transitions[state, action, other] += slip
            rewards[state, action] = transitions[state, action] @ prize
    ends = (0, length - 1)
    return TabularMDP(
        transitions, rewards, start=1, terminal=ends, time_limit=time_limit, batch_size=batch_size
    )


MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left: actions 0 to 3 of a gridworld


def gridworld(
    layout: str = "S..#\n..#.\n..-.\n...+",
    *,
    slip: float = 0.0,
    step_reward: float = 0.0,
    time_limit: int | None = None,
    batch_size: int = 16,
) -> TabularMDP:
    """A map in plain text: S start, # wall, + goal (pays 1 and ends), - pit (pays -1 and ends), . floor.

    Actions are 0 up, 1 right, 2 down, 3 left; with probability ``slip`` the move goes to one of the two sides. Walls
    and borders leave the walker where it stands. State ``row * width + column``, read from the top left.

    Raises:
        ValueError: the map is not a rectangle, holds an unknown sign, or has not exactly one S.

    >>> world = gridworld("S.+")
    >>> world.rewards[1].tolist(), world.is_terminal.tolist()
    ([0.0, 1.0, 0.0, 0.0], [False, False, True])
    """
    rows = layout.strip().split("\n")
    height, width = len(rows), len(rows[0])
    cells = "".join(rows)
    if any(len(row) != width for row in rows) or set(cells) - set("S.#+-") or cells.count("S") != 1:
        raise ValueError(
            f"gridworld: the map must be a rectangle of S . # + - with exactly one S, got {layout!r}."
        )
    in_range("gridworld", "slip", slip, 0, 1)

    def arrive(cell: int, move: int) -> int:
        row, column = cell // width + MOVES[move][0], cell % width + MOVES[move][1]
        inside = 0 <= row < height and 0 <= column < width
        return row * width + column if inside and rows[row][column] != "#" else cell

    transitions, rewards = torch.zeros(len(cells), 4, len(cells)), torch.zeros(len(cells), 4)
    prize = torch.tensor([{"+": 1.0, "-": -1.0}.get(sign, 0.0) for sign in cells])
    terminal = tuple(i for i, sign in enumerate(cells) if sign in "+-")
    for cell, sign in enumerate(cells):
        for action in range(4):
            if sign in "+-#":
                transitions[cell, action, cell] = 1
                continue
            for move, odds in (
                (action, 1 - slip),
                ((action + 1) % 4, slip / 2),
                ((action + 3) % 4, slip / 2),
            ):
                transitions[cell, action, arrive(cell, move)] += odds
            rewards[cell, action] = step_reward + transitions[cell, action] @ prize
    return TabularMDP(
        transitions,
        rewards,
        start=cells.index("S"),
        terminal=terminal,
        time_limit=time_limit,
        batch_size=batch_size,
    )


def garden(
    pays: Tensor, *, slip: float = 0.0, time_limit: int | None = 40, batch_size: int = 16
) -> TabularMDP:
    """A field of squares on which life goes on: every step spent on square (row, column) pays ``pays[row, column]``.

    Moves, slips and states are those of `gridworld`; the walker starts in the middle, and only the clock resets it.
    With no end to reach, adding a constant to all squares changes no choice.

    Raises:
        ValueError: ``pays`` is no table of finite numbers.

    >>> world = garden(torch.tensor([[0.0, 0.0, 1.0]]))
    >>> world.start, world.rewards[2].tolist(), bool(world.is_terminal.any())
    (1, [1.0, 1.0, 1.0, 1.0], False)
    """
    a_tensor("garden", pays=pays)
    if pays.ndim != 2 or not pays.numel():
        raise ValueError(f"garden: pays must be a table [rows, columns], got shape {list(pays.shape)}.")
    finite("garden", pays=pays)
    height, width = pays.shape
    middle = (height // 2) * width + width // 2
    cells = ["S" if cell == middle else "." for cell in range(height * width)]
    layout = "\n".join("".join(cells[row * width : (row + 1) * width]) for row in range(height))
    moves = gridworld(layout, slip=slip).transitions
    rewards = pays.flatten()[:, None].expand(-1, len(MOVES))
    return TabularMDP(moves, rewards, start=middle, time_limit=time_limit, batch_size=batch_size)
