"""The pictures of learning from clips: what they show is what was fitted, asked and answered."""

from __future__ import annotations

import pytest
import torch

from rlbase.envs import garden
from rlbase.exact import policy_value, value_iteration
from rlbase.explore.clips import (
    ANSWERS,
    PAYS,
    Labelling,
    clip_panel,
    constant_explorer,
    constant_scene,
    correlation,
    fit_map,
    labelling_explorer,
    maze_fit,
    pole_panel,
    regret,
    reward_map_explorer,
    reward_map_scene,
)
from rlbase.explore.live import to_json
from rlbase.explore.scene import Cells, Line, Points
from rlbase.types import Choices

WORLD = garden(PAYS)


@pytest.mark.parametrize("make", [reward_map_explorer, constant_explorer])
def test_every_corner_of_every_control_draws(make) -> None:
    widget = make()
    for name, control in widget.controls.items():
        for end in (control.min, control.max):
            to_json(widget.compute(**{**widget.values, name: end}))


def test_regret_of_the_truth_of_its_opposite_and_of_chance() -> None:
    assert regret(WORLD.rewards, WORLD) == 0 == regret(3 * WORLD.rewards - 7, WORLD)
    assert regret(-WORLD.rewards, WORLD) > 1  # seeking the worst is worse than chance
    q = value_iteration(WORLD.transitions, WORLD.rewards, gamma=0.9).q
    best = torch.nn.functional.one_hot(q.argmax(1), 4)
    top = policy_value(WORLD.transitions, WORLD.rewards, best.double(), gamma=0.9).mean()
    chance = policy_value(WORLD.transitions, WORLD.rewards, torch.full((25, 4), 0.25), gamma=0.9).mean()
    second = WORLD.rewards.clone()
    second[4] = -9  # the best square hidden: the agent settles for the next one
    q = value_iteration(WORLD.transitions, second, gamma=0.9).q
    mine = torch.nn.functional.one_hot(q.argmax(1), 4)
    worth = policy_value(WORLD.transitions, WORLD.rewards, mine.double(), gamma=0.9).mean()
    assert regret(second, WORLD) == pytest.approx(((top - worth) / (top - chance)).item(), abs=1e-8)


def test_more_answers_draw_the_map_and_noise_does_not() -> None:
    few, many = (correlation(fit_map(n), WORLD) for n in (40, 800))
    assert few < many and many > 0.93
    assert abs(correlation(fit_map(800, error=1.0), WORLD)) < 0.6


def test_the_scene_shows_the_fit_and_begins_with_nothing() -> None:
    dots = next(m for m in reward_map_scene(200).panels[2].marks if isinstance(m, Points))
    assert dots.x == tuple(PAYS.flatten().tolist())
    torch.testing.assert_close(torch.tensor(dots.y), fit_map(200)[:, 0])
    assert "Nobody has been asked" in reward_map_scene(0).caption


def test_the_maze_fit_is_right_up_to_its_constant_and_the_constant_decides() -> None:
    maze, table, _ = maze_fit()
    seen = maze.rewards != 0
    assert (table - maze.rewards)[seen].abs().max() < 0.05
    outcomes = [constant_scene(c).caption.split("the agent ")[1] for c in (-0.6, 0.0, 0.3)]
    assert outcomes == ["heads for the pit.", "heads for the goal.", "walks on for ever."]
    fields = [constant_scene(c).panels[1].marks[0] for c in (-0.6, 0.0, 0.3)]
    assert all(isinstance(f, Cells) for f in fields)
    assert len({f.arrows and tuple(map(tuple, f.arrows)) for f in fields}) == 1  # type: ignore[union-attr]


def test_a_walk_is_told_by_its_moments() -> None:
    walk = Choices(torch.tensor([0, 1, 1, 6, 1]), torch.zeros(4).long(), torch.ones(4).bool())
    cells = clip_panel(walk, "walk").marks[0]
    assert isinstance(cells, Cells) and cells.texts is not None
    assert cells.texts[0][:3] == ["1", "2 3", ""] and cells.texts[1][1] == "4"
    assert cells.values[0][:3] == (1.0, 2.0, None)


def test_answers_become_a_reward() -> None:
    """Whoever always prefers the walk nearer to the lower left corner gets a map that says so."""
    ask = Labelling(seed=1)
    answers: tuple[str, ...] = ()
    squares = torch.arange(25)
    liked = -((4 - squares // 5) + squares % 5).float()
    for _ in range(40):
        first, second = (c.choices.obs[0, :-1] for c in (ask.first, ask.second))  # type: ignore[index]
        ahead = (liked[first].sum() - liked[second].sum()).item()
        answers = (*answers, "left" if ahead > 0 else "right" if ahead < 0 else "equal")
        scene = ask(answers)
    learned = scene.panels[2].marks[0]
    assert isinstance(learned, Cells)
    table = torch.tensor([v for row in learned.values for v in row])
    assert torch.corrcoef(torch.stack([table, liked]))[0, 1] > 0.7
    assert "Question 41" in scene.caption and "Answers so far: 40" in scene.caption


def test_skips_and_ties_and_the_simulated_rater_count_as_they_should() -> None:
    ask = Labelling()
    assert "Question 1:" in ask().caption
    assert "Question 2:" in ask(("skip",)).caption and len(ask.told) == 0
    ask(("skip", "equal"))
    assert ask.told.prob.tolist() == [0.5]
    scene = ask(("skip", "equal", ANSWERS[-1]))
    assert len(ask.told) == 21 and "Question 23:" in scene.caption


def test_the_same_answers_give_the_same_picture_however_they_come() -> None:
    answers = ("left", "right", "equal", "left", "skip", "right")
    at_once, one_by_one = Labelling(), Labelling()
    for n in range(len(answers) + 1):
        scene = one_by_one(answers[:n])
    assert to_json(at_once(answers)) == to_json(scene)


def test_a_press_of_a_button_is_an_answer() -> None:
    widget = labelling_explorer()
    before = widget.scene.caption
    widget.controls["answers"].children[1].click()
    assert before != widget.scene.caption and "Answers so far: 1" in widget.scene.caption


def test_poles_lean_as_they_leaned() -> None:
    obs = torch.zeros(3, 4)
    obs[:, 2] = torch.tensor([0.0, 0.1, -0.1])
    poles = [m for m in pole_panel(obs, "clip", every=1).marks[1:] if isinstance(m, Line)]
    leans = [line.x[1] - line.x[0] for line in poles]
    assert leans[0] == 0 and leans[1] > 0 > leans[2]
