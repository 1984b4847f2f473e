"""Learning from clips, in hand: how many answers make a reward, what they cannot see, and buttons to give them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlbase.envs import TabularMDP, garden, gridworld
from rlbase.envs.gridworld import MOVES
from rlbase.exact import policy_value, value_iteration
from rlbase.explore.live import Explorable, explore, int_slider, presses, slider
from rlbase.explore.scene import Cells, Line, Mark, Panel, Points, Scene
from rlbase.feedback import Clips, Comparisons, Rater, cut, judge
from rlbase.policies import StepEnsemble, TabularPolicy, TabularReward
from rlbase.rollout import rollout
from rlbase.train import PreferenceRLConfig, choose_pairs, fit_reward, reward_table
from rlbase.types import Choices, Rollout

PAYS = torch.tensor(
    [
        [0.0, 0.5, 1.0, 1.5, 2.0],
        [-0.5, -1.5, 0.0, 0.5, 1.0],
        [-0.5, -1.5, 0.0, -1.0, 0.0],
        [0.0, -0.5, 0.0, -1.0, -1.0],
        [1.0, 0.0, -0.5, -1.0, -2.0],
    ]
)
MAZE = "S.-..\n.##..\n....+"
GAMMA = 0.9
FIT = PreferenceRLConfig(epochs=30, batch_size=256, learning_rate=0.05, weight_decay=0.1)
ANSWERS = ("left", "right", "equal", "skip", "simulate 20")


def members(states: int, actions: int | None = None, count: int = 3) -> StepEnsemble:
    """A fresh ensemble of tables, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StepEnsemble([TabularReward(states, actions, spread=0.1) for _ in range(count)])


def regret(table: Tensor, env: TabularMDP) -> float:
    """How much of the way from acting at random to acting best is lost by acting on another reward table ``[S, A]``.

    >>> regret(garden(PAYS).rewards, garden(PAYS))
    0.0
    """
    best = value_iteration(env.transitions, table, gamma=GAMMA).q.argmax(1)
    greedy = torch.nn.functional.one_hot(best, table.shape[1]).double()
    uniform = torch.full_like(greedy, 1 / table.shape[1])
    top = value_iteration(env.transitions, env.rewards, gamma=GAMMA).values.mean()
    mine, chance = (
        policy_value(env.transitions, env.rewards, p, gamma=GAMMA).mean() for p in (greedy, uniform)
    )
    return round(((top - mine) / (top - chance)).item(), 9) + 0.0  # no -0


def correlation(table: Tensor, env: TabularMDP) -> float:
    """Pearson's correlation of a reward table ``[S, A]`` with the true one."""
    return torch.corrcoef(torch.stack([table.flatten(), env.rewards.flatten()]))[0, 1].item()


def map_panel(table: Tensor, env: TabularMDP, title: str, *, label: str = "reward", high: float = 2) -> Panel:
    """A garden's rewards as shades, and the way that is best for them as arrows."""
    side = int(len(table) ** 0.5)
    q = value_iteration(env.transitions, table, gamma=GAMMA, tolerance=1e-6).q
    shades = table.mean(1).view(side, side).tolist()
    arrows = [[_way(q[row * side + column]) for column in range(side)] for row in range(side)]
    return Panel([Cells(shades, arrows, low=-high, high=high, label=label)], title)


def _way(q: Tensor) -> tuple[float, float] | None:
    row, column = MOVES[int(q.argmax())]
    return None if (q.max() - q.min()) < 1e-6 else (column, row)


def wander(env: Any, steps: int, generator: torch.Generator) -> Rollout:
    """What somebody does in a finite world who chooses at random."""
    policy: Any = TabularPolicy(*env.rewards.shape)
    return rollout(policy, env, steps=steps, generator=generator)


@lru_cache
def walks(length: int, n: int, seed: int) -> tuple[Clips, Clips]:
    """Pairs of clips of somebody who walks the garden at random."""
    generator = torch.Generator().manual_seed(seed)
    batch = wander(garden(PAYS, batch_size=200), 40, generator)
    return cut(batch, length, n, generator=generator), cut(batch, length, n, generator=generator)


def fit_map(comparisons: int, error: float = 0.1, length: int = 8, seed: int = 0) -> Tensor:
    """The reward table ``[25, 4]`` fitted to the first so many answers about random walks, in the garden's unit."""
    generator, reward = torch.Generator().manual_seed(seed), members(25)
    first, second = walks(length, 800, seed)
    labels = judge(Rater(error=error))(first, second, generator)[:comparisons]
    told = Comparisons(len(reward))
    told.add(first[:comparisons].choices, second[:comparisons].choices, labels, generator=generator)
    fit_reward(reward, told, FIT, generator=generator)
    reward.normalise(first.choices, std=PAYS.std().item())
    return reward_table(reward, garden(PAYS))


def reward_map_scene(comparisons: int = 100, slips: float = 0.1, length: int = 8, seed: int = 0) -> Scene:
    """The true rewards, those fitted to the first so many comparisons, and the one against the other."""
    env, table, caption = (
        garden(PAYS),
        torch.zeros(25, 4),
        "Nobody has been asked yet: all squares look alike.",
    )
    if comparisons:
        table = fit_map(int(comparisons), slips, int(length), int(seed))
        caption = (
            f"{comparisons} answers, {slips:.0%} of them by tossing a coin: correlation "
            f"{correlation(table, env):.2f}, regret {regret(table, env):.0%} of what acting at random loses."
        )
    against: list[Mark] = [
        Line([-3, 3], [-3, 3], "truth", "equal", dashed=True, width=1.8),
        Points(PAYS.flatten(), table[:, 0], "policy", "one square", size=5),
    ]
    panels = [
        map_panel(env.rewards, env, "True rewards, which nobody wrote down"),
        map_panel(table, env, f"Learned from {comparisons} comparisons"),
        Panel(against, "Square by square", "true reward", "learned reward", (-2.2, 2.2), (-3, 3), weight=0.9),
    ]
    return Scene(panels, caption, width=980, height=370)


def reward_map_explorer() -> Explorable:
    """Number of answers, their error and the length of the clips in hand; the reward is fitted anew at every move."""
    return explore(
        reward_map_scene,
        {
            "comparisons": int_slider(100, 0, 800, step=20, label="comparisons"),
            "slips": slider(0.1, 0.0, 1.0, step=0.1, label="random answers", form=".0%"),
            "length": int_slider(8, 1, 20, label="steps in a clip"),
            "seed": int_slider(0, 0, 20, label="seed"),
        },
    )


@lru_cache
def maze_fit() -> tuple[TabularMDP, Tensor, Tensor]:
    """A maze with two ways out, a reward table fitted to comparisons in it, and how far each pair was apart."""
    env, reward = gridworld(MAZE, step_reward=-0.05, batch_size=400), members(15, 4, 1)
    generator, told = torch.Generator().manual_seed(0), Comparisons(bootstrap=False)
    batch = wander(env, 60, generator)
    first, second = (cut(batch, 3, 3000, generator=generator) for _ in range(2))
    told.add(first.choices, second.choices, Rater().prob(first.paid, second.paid), generator=generator)
    config = PreferenceRLConfig(error=0, epochs=60, batch_size=1000, learning_rate=0.1)
    fit_reward(reward, told, config, generator=generator)
    table = reward_table(reward, env)
    visited = env.rewards != 0
    return env, table - (table - env.rewards)[visited].mean(), told.prob


def constant_scene(constant: float = 0.0) -> Scene:
    """The same learned reward plus a constant on every step: the best way in a world with ends and in one without."""
    env, table, _ = maze_fit()
    table = torch.where(env.is_terminal[:, None], 0, table + constant)
    values, q = value_iteration(env.transitions, table, gamma=GAMMA, tolerance=1e-6)
    signs = MAZE.split("\n")
    way: list[list[tuple[float, float] | None]] = []
    shades: list[list[float | None]] = []
    texts: list[list[str]] = []
    for row, line in enumerate(signs):
        at = range(row * len(line), (row + 1) * len(line))
        way.append([_way(q[s]) if sign in "S." else None for s, sign in zip(at, line, strict=True)])
        ends = {"+": 1.0, "-": -1.0, "#": None}  # an ending square shows what entering it pays
        shades.append([ends.get(sign, values[s].item()) for s, sign in zip(at, line, strict=True)])
        texts.append([{"+": "goal", "-": "pit", "S": "start"}.get(sign, " ") for sign in line])
    maze = Panel([Cells(shades, way, texts, -2.5, 2.5, "value")], "Episodes end in goal and pit", weight=1.3)
    field = map_panel(garden(PAYS).rewards + constant, garden(PAYS), "Life goes on", high=3)
    end = ends_at(q)
    told = "walks on for ever" if end not in "+-" else f"heads for the {'goal' if end == '+' else 'pit'}"
    return Scene(
        [maze, field], f"{constant:+.1f} on every step: in the maze the agent {told}.", width=860, height=360
    )


def ends_at(q: Tensor) -> str:
    """The sign of the maze on which the greedy way from its start ends after at most 20 steps."""
    moves, state = gridworld(MAZE).transitions, 0
    for _ in range(20):
        state = int(moves[state, int(q[state].argmax())].argmax())
    return MAZE.replace("\n", "")[state]


def constant_explorer() -> Explorable:
    """One constant in hand that no comparison of equally long clips can see."""
    return explore(
        constant_scene, {"constant": slider(0.0, -1.0, 1.0, step=0.1, label="added to every step")}
    )


def clip_panel(choices: Choices, title: str) -> Panel:
    """A walk through the garden: each square says at which moments it was visited."""
    squares = choices.obs.tolist()  # type: ignore[union-attr]
    times = [[str(t + 1) for t, s in enumerate(squares[:-1]) if s == square] for square in range(25)]
    texts = [[" ".join(times[5 * r + c]) for c in range(5)] for r in range(5)]
    visits = [[len(times[5 * r + c]) or None for c in range(5)] for r in range(5)]
    return Panel([Cells(visits, texts=texts, low=0, high=4, label="visits")], title)


class Labelling:
    """Questions about two walks, one after another, each chosen by what the answers so far leave in doubt.

    Called with all answers given so far (words of `ANSWERS`) it returns the scene with the next question and the
    reward learned from them. The last of the words lets a simulated rater with the taste of `PAYS` answer 20 times.
    """

    def __init__(self, *, length: int = 6, seed: int = 0) -> None:
        self.generator, self.reward = torch.Generator().manual_seed(seed), members(25)
        self.told, self.length, self.heard, self.skipped = Comparisons(len(self.reward)), length, 0, 0
        self.behaviour = wander(garden(PAYS, batch_size=200), 40, self.generator)
        self.first, self.second = self._questions(1)

    def _questions(self, n: int) -> tuple[Clips, Clips]:
        clips = cut(self.behaviour, self.length, 20 * n, generator=self.generator)
        return choose_pairs(self.reward, clips, n)[:2]

    def __call__(self, answers: tuple[str, ...] = ()) -> Scene:
        for word in answers[self.heard :]:
            self._hear(word)
        self.heard = len(answers)
        return self.scene()

    def _hear(self, word: str) -> None:
        first, second = self.first, self.second
        labels = torch.tensor([{"left": 1.0, "right": 0.0, "equal": 0.5}.get(word, float("nan"))])
        if word == ANSWERS[-1]:
            first, second = self._questions(20)
            labels = judge(Rater(error=0.1))(first, second, self.generator)
        self.skipped += int(labels.isnan().sum())
        self.told.add(first.choices, second.choices, labels, generator=self.generator)
        if len(self.told):
            self.reward.load_state_dict(members(25).state_dict())
            fit_reward(self.reward, self.told, FIT, generator=self.generator)
            behaviour = Choices(self.behaviour.obs, self.behaviour.actions, self.behaviour.mask)
            self.reward.normalise(behaviour)
        self.first, self.second = self._questions(1)

    def scene(self) -> Scene:
        """The question, and what has been learned."""
        env, n = garden(PAYS), len(self.told)
        table = reward_table(self.reward, env) if n else torch.zeros(25, 4)
        panels = [
            clip_panel(self.first.choices[0], "Left"),
            clip_panel(self.second.choices[0], "Right"),
            map_panel(table, env, "What the machine believes you like"),
        ]
        asked = f"Question {n + self.skipped + 1}: which walk is better? The numbers say when a square was visited."
        return Scene(panels, f"{asked} Answers so far: {n}.", width=980, height=350)


def labelling_explorer(*, length: int = 6, seed: int = 0) -> Explorable:
    """Two buttons (and two more), or the keys 1 to 5: your answers become a reward, live."""
    ask = presses(ANSWERS, label="Better:")
    return explore(Labelling(length=length, seed=seed), {"answers": ask})


def pole_panel(obs: Tensor, title: str, every: int = 2) -> Panel:
    """A clip of CartPole ``[T, 4]`` as a strip: the pole every few moments, leaning as it leaned."""
    times = list(range(0, len(obs), every))
    angles = obs[times, 2]
    reach = 0.8 * every
    marks: list[Mark] = [Line([-every, times[-1] + every], [0, 0], "reference", width=1.2)]
    for t, angle in zip(times, angles, strict=True):
        # Leaning is drawn three times as strong, else one would not see it.
        lean = 3 * angle.item()
        marks.append(Line([t, t + reach * math.sin(lean)], [0, math.cos(lean)], "policy", width=3))
    first, last = (round(math.degrees(angles[i].item())) for i in (0, -1))
    title = f"{title}: leaning from {first}° to {last}°"
    return Panel(marks, title, "moment", "height", (-every, times[-1] + every), (-0.1, 1.2))
