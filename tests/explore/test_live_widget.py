"""The widget's Python side: a moved control computes, a fault is shown, a saved notebook has a picture."""

from __future__ import annotations

import json
import math

import pytest

from rlbase.explore import (
    Line,
    Panel,
    Scene,
    buttons,
    choice,
    explore,
    int_slider,
    log_slider,
    presses,
    slider,
    toggle,
)


def picture(top: float = 1.0) -> Scene:
    if top > 3:
        raise ValueError(f"top must be at most 3, got <{top:g}>")
    return Scene([Panel([Line([0, 1], [0, top], label="line")], "Picture")])


def test_moving_a_control_computes_and_draws() -> None:
    top = slider(1.0, 0.0, 5.0, step=0.5, label="top")
    widget = explore(picture, {"top": top})
    before = json.loads(widget.figure.scene)
    top.value = 2.0
    after = json.loads(widget.figure.scene)
    assert after["frame"] == before["frame"] + 1
    assert (
        before["alt"] == "Picture: line goes from 0 to 1."
        and after["alt"] == "Picture: line goes from 0 to 2."
    )
    assert before["shapes"] != after["shapes"]


def test_a_fault_is_one_sentence_in_the_widget_and_the_picture_stays() -> None:
    top = slider(1.0, 0.0, 5.0, step=0.5, label="top")
    widget = explore(picture, {"top": top})
    shown = widget.figure.scene
    top.value = 4.0
    error = widget.children[-1]
    assert error.value == '<div role="alert">top must be at most 3, got &lt;4&gt;</div>'
    assert error.layout.display == "" and widget.figure.scene == shown
    top.value = 2.0
    assert error.layout.display == "none" and widget.figure.scene != shown


def test_a_fault_at_the_start_is_raised() -> None:
    with pytest.raises(ValueError, match="at most 3"):
        explore(picture, {"top": slider(4.0, 0.0, 5.0, step=0.5, label="top")})


def test_display_data_have_a_still_picture_and_fixed_words() -> None:
    top = slider(1.0, 0.0, 2.0, step=0.5, label="top")
    widget = explore(picture, {"top": top})
    data, metadata = widget._repr_mimebundle_()
    assert data["text/plain"] == "Explorable(top)" and data["image/png"].startswith("iVBOR")
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["alt"] == widget.scene.alt
    top.value = 2.0
    assert repr(widget) == "Explorable(top)"


def test_every_kind_of_control_has_its_class_and_label() -> None:
    def compute(**values: object) -> Scene:
        assert values == {
            "a": 1.0, "b_c": 2, "d": 0.1, "e": "x", "f": True, "g": True, "h": (),
        }  # fmt: skip
        return picture()

    controls = {
        "a": slider(1.0, 0.0, 2.0, step=0.5, label="A"),
        "b_c": int_slider(2, 0, 5, label="B"),
        "d": log_slider(0.1, 0.01, 10.0, label="D"),
        "e": choice("x", ["x", "y"], label="E"),
        "f": toggle(True, label="F"),
        "g": buttons(True, [("on", True), ("off", False)], label="G"),
        "h": presses(["left", "right"], label="H"),
    }
    widget = explore(compute, controls)
    for name, control in controls.items():
        assert f"rlbase-{name.replace('_', '-')}" in control._dom_classes
    assert widget.figure.labels == {
        "rlbase-a": "A", "rlbase-b-c": "B", "rlbase-d": "D", "rlbase-e": "E", "rlbase-f": "F", "rlbase-g": "G",
        "rlbase-h": "H",
    }  # fmt: skip
    assert controls["a"].continuous_update and controls["b_c"].continuous_update


@pytest.mark.parametrize(
    ("value", "low", "steps"), [(1.2, 0.05, 10), (0.3, 0.001, 10), (10, 1, 5), (0.5, 0.5, 20)]
)
def test_a_log_slider_stands_where_it_was_put(value: float, low: float, steps: int) -> None:
    control = log_slider(value, low, 20.0, label="β", steps=steps)
    places = (math.log10(value) - control.min) * steps  # a browser rounds this to a whole number
    assert abs(places - round(places)) < 1e-6
    assert low / 10 ** (1 / steps) < 10**control.min <= low * (1 + 1e-9)
    assert control.value == value


def test_no_label_is_cut_off_however_long() -> None:
    top = choice(1.0, [("as high as the room", 1.0), ("low", 0.5)], label="how high the ceiling is to stand")
    which = buttons(1, [("one", 1), ("two", 2)], label="which of the two pictures")
    explore(lambda top, which: picture(top), {"top": top, "which": which})
    for control in (top, which):
        assert control.style.description_width == "initial"  # the toolkit's own width holds ten letters
    assert top.layout.width == "max-content"


def test_buttons_answer_one_question_after_another() -> None:
    def picture_of(answers: tuple[str, ...]) -> Scene:
        return Scene([Panel([Line([0, 1], [0, 1])])], f"{len(answers)} answers, {answers.count('left')} left")

    widget = explore(picture_of, {"answers": presses(["left", "right"], label="Which is better?")})
    assert widget.scene.caption == "0 answers, 0 left"
    _, left, right = widget.controls["answers"].children  # type: ignore[attr-defined]
    for button in (left, left, right):  # the same one twice: both count
        button.click()
    assert widget.values == {"answers": ("left", "left", "right")}
    assert widget.scene.caption == "3 answers, 2 left"
