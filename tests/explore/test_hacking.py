"""The explorers of reward hacking show what the exact paths say, at every corner of their controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlbase.envs import flawed_members, hackable
from rlbase.evaluate import ensemble_scores, rl_path
from rlbase.exact import best_of_n, kl, kl_optimum
from rlbase.explore.hacking import ensemble_explorer, ensemble_scene, hacking_explorer, hacking_scene
from rlbase.explore.live import to_json
from rlbase.explore.scene import Line, Points, Scene


def marked(scene: Scene, label: str) -> Line | Points:
    return next(m for p in scene.panels for m in p.marks if getattr(m, "label", "") == label)  # type: ignore[return-value]


@pytest.mark.parametrize("make", [hacking_explorer, ensemble_explorer])
def test_every_corner_of_every_control_draws(make) -> None:
    widget = make()
    for name, control in widget.controls.items():
        ends = [control.min, control.max] if hasattr(control, "min") else ["mean", "min", "variance"]
        if type(control).__name__ == "FloatLogSlider":
            ends = [10**e for e in ends]
        for end in ends:
            to_json(widget.compute(**{**widget.values, name: end}))


def test_the_dots_stand_where_the_two_policies_are() -> None:
    scene, world = hacking_scene(beta=0.7, n=50), hackable()
    laws = {
        "RL": kl_optimum(world.ref, world.proxy, beta=0.7),
        "best of n": best_of_n(world.ref, world.proxy, 50),
    }
    for name, law in laws.items():
        dot = marked(scene, f"{name}, here")
        assert dot.x[0] == pytest.approx(kl(law, world.ref) ** 0.5)
        assert dot.y[0] == pytest.approx(((law - world.ref) @ world.proxy).item())
        assert dot.y[1] == pytest.approx(((law - world.ref) @ world.gold).item())
        assert sum(marked(scene, name).y) == pytest.approx(1), "all the probability is shown"


def test_the_lines_are_the_roads() -> None:
    scene, world = hacking_scene(hack=1.2, seed=4), hackable(hack=1.2, seed=4)
    meant = marked(scene, "meant, RL")
    path = rl_path(world.ref, world.proxy, world.gold, [1.0])
    at = np.interp(path.distance.item(), meant.x, meant.y)
    assert at == pytest.approx((path.gold - world.gold.mean()).item(), abs=0.01)
    paid = marked(scene, "paid, RL")
    assert (torch.tensor(paid.y).diff() > 0).all()


def test_disagreement_is_flat_where_the_mistake_is_shared() -> None:
    apart, alike = ensemble_scene(), ensemble_scene(shared=0.8, spread=0.0)
    doubt = [np.array(marked(scene, "disagreement").y) for scene in (apart, alike)]
    assert doubt[0][0] > 2 * doubt[0][len(doubt[0]) // 2]
    assert np.ptp(doubt[1]) < 0.15
    error = marked(alike, "error of the mean").y
    assert error[-1] > 3 * min(error)


def test_the_thick_line_is_the_ensembles() -> None:
    scores, world = flawed_members(seed=3, members=4)
    scene = ensemble_scene("min", members=4, seed=3)
    path = rl_path(world.ref, ensemble_scores(scores, "min"), world.gold, [0.05])
    assert marked(scene, "meant, the ensemble").y[-1] == pytest.approx((path.gold - world.gold.mean()).item())
    assert len([m for m in scene.panels[0].marks if m.color == "reference"]) == 4
