"""Patient 8: dropout is on while the loss is computed. Every forward is another policy."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlbase.lab.exercise import Exercise
from rlbase.lab.exercises.zoo.common import (
    AS_IT_CAME,
    NOTEBOOK,
    behaviour,
    diagnosis,
    generator,
    letters_world,
    text_recipe,
)
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, weights_of, with_readings


def sick(model, phase):  # type: ignore[no-untyped-def]
    """Called before every forward; phase is "rollout" (responses are drawn) or "update" (the loss is computed)."""
    if phase == "rollout":
        model.eval()
    else:
        model.train()


def healthy(model: nn.Module, phase: str) -> None:
    """The policy is one distribution: the same while it is drawn from and while it is scored."""
    model.eval()


def loop(part: Part, seed: int) -> Run:
    """PPO on a tiny writer with 10 % dropout; the part sets the mode of the model."""
    from rlbase.policies import CausalLMPolicy, frozen_copy
    from rlbase.rollout import rescore, rollout
    from rlbase.train import ppo

    class Switched(CausalLMPolicy):
        def step(self, obs: Any, state: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
            part(self.model, "rollout")
            return super().step(obs, state, generator)

        def evaluate(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
            part(self.model, "update")
            return super().evaluate(obs, actions)

    policy = tiny_writer("abcd", seed=seed, kind=Switched, dropout=0.1, initializer_range=0.1)
    world = letters_world(policy, lambda text: text.count("a") / 6, longest=6)
    seen: dict[str, Any] = {}

    def collect(*parts: Any, steps: int | None, generator: torch.Generator) -> Any:
        seen["batch"] = rollout(*parts, steps=steps, generator=generator)
        return seen["batch"]

    def readings() -> dict[str, float]:
        batch = seen["batch"]
        return {"scored twice, gap": (rescore(policy, batch) - rescore(policy, batch))[batch.mask].abs().max().item()}

    config = text_recipe(updates=30, beta=0.2, learning_rate=2e-3)
    run = ppo(policy, world, config, reference=frozen_copy(policy), generator=generator(seed), collect=collect)
    return Run(with_readings(run, readings), [repr(text) for text in world.responses[:6]])


PATIENT = Patient(
    "patient-8", "The ratio that is never 1 (second of two)",
    "The same task as patient 7, at temperature 1, with a model that has 10 % dropout, as many pretrained ones do. "
    "One gradient step for each batch, so that every ratio should be 1.",
    ("ratio_max", "ref_k1", "old_kl", "scored twice, gap"),
    sick, healthy, loop, lambda run: run.late("scored twice, gap", 30), 0.01,
    "the gap between two scorings of one batch",
)

DIAGNOSIS = diagnosis(
    PATIENT, 8, "The same complaint as patient 7 had: a ratio that is not 1. Which panel tells the two apart?",
    {
        "a": "The temperature is forgotten in scoring, as with patient 7.",
        "b": "The forward that scores is random: it gives another answer each time it is asked.",
        "c": "The learning rate is too large.",
        "d": "Prompts are padded on the wrong side.",
        "e": "Several epochs are taken on each batch, so a ratio off 1 is normal.",
    },
    "b",
    ("Look at the last panel. The same batch, the same weights, scored twice.",
     "If f(x) is not f(x), something in f draws random numbers. What in a network does that?",
     "Dropout multiplies activations by a random mask, as long as the model is in training mode."),
    "yes. Same batch, same weights, two answers: dropout is on where the loss is computed.",
    difficulty=2,
    a="No: a wrong temperature gives the same wrong answer every time. Here two scorings of one batch differ.",
    c="No: between the two scorings no step is taken at all.",
    d="No: wrong padding is wrong alike each time. Two scorings of one batch would agree.",
    e="No: the recipe takes one step a batch, and the healthy run's ratio is 1.000 at every update.",
)


def mode_test(part: Part) -> str | None:
    """Is a network with dropout one function, drawn from and scored, and does it still learn?"""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.3), nn.Linear(32, 4))
    x, weights = torch.randn(5, 6), weights_of(model)

    def forward(phase: str) -> Tensor:
        torch.manual_seed(torch.initial_seed() + 1)  # as it happens in a run: no two forwards share their dice
        part(model, phase)
        return model(x)

    with torch.no_grad():
        plain = weights[: 6 * 32].view(32, 6) @ x.T + weights[6 * 32 : 7 * 32, None]
        clean = (weights[7 * 32 : 7 * 32 + 128].view(4, 32) @ plain + weights[-4:, None]).T
    drawn, first, second = forward("rollout"), forward("update"), forward("update")
    again = forward("rollout")
    if not torch.equal(weights, weights_of(model)):
        return "Your function changes the weights."
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        return "You switched gradients off for everything that follows: that is not what makes dropout draw."
    if not all(p.requires_grad for p in model.parameters()):
        return "You froze the weights: dropout goes on drawing, and nothing can learn any more."
    steady = [torch.allclose(out, clean, atol=1e-5) for out in (drawn, again)]
    if torch.allclose(first, clean, atol=1e-5) and torch.allclose(second, clean, atol=1e-5):
        return None if all(steady) else "Now dropout is on while responses are drawn: the other way round is no better."
    if not all(steady):
        return "Dropout is on in both phases: they draw different masks, and the ratio stays noise."
    if torch.allclose(first, second, atol=1e-6):
        return "The same mask at every update is still a mask that was not there when the responses were drawn."
    return AS_IT_CAME + ": eval() where responses are drawn, train() where they are scored."


FIX = Exercise(
    "bug-dropout", NOTEBOOK, "one policy, not two", *(2, 5, 4),
    "Repair `set_mode(model, phase)`, which the loop calls before every forward: `phase` is `\"rollout\"` when "
    "responses are drawn and `\"update\"` when the loss is computed. Scored, a response must get the probability "
    "with which it was drawn; the weights must stay trainable. It returns nothing. The check tries a small network "
    "with dropout, then trains the patient.",
    ("`model.train()` does not mean \"learn\". What does it switch on?",
     "PPO's ratio compares two scores of one text. Without randomness in the forward it starts at exactly 1.",
     "model.eval()"),
    "your network is one function in both phases and still learns, and the patient's ratio is 1.",
    judge=behaviour("bug-dropout", mode_test, PATIENT),
)
