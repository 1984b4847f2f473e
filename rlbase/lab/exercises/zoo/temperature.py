"""Patient 7: drawn at temperature 0.6, scored at temperature 1. The ratio is wrong before anything was learned."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import (
    AS_IT_CAME,
    NOTEBOOK,
    diagnosis,
    generator,
    letters_world,
    text_recipe,
)
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings

TEMPERATURE = 0.6


def sick(logits, actions, temperature):  # type: ignore[no-untyped-def]
    """Log-probability of every chosen token [B, T]; logits are [B, T, V], already in step with the tokens."""
    logp = logits.log_softmax(-1)
    return logp.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def healthy(logits: Tensor, actions: Tensor, temperature: float) -> Tensor:
    """The policy is softmax(logits / temperature), for drawing and for scoring alike."""
    return (logits / temperature).log_softmax(-1).gather(-1, actions[..., None])[..., 0]


def loop(part: Part, seed: int) -> Run:
    """PPO on a tiny writer that draws at temperature 0.6; the part scores what was drawn."""
    from rlbase.policies import CausalLMPolicy, frozen_copy
    from rlbase.policies.causal_lm import state_features
    from rlbase.rollout import rescore, rollout
    from rlbase.train import ppo

    class Scored(CausalLMPolicy):
        def evaluate(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.model.get_output_embeddings()(state_features(self.model.base_model, obs, actions[:, :-1]))
            return part(logits, actions, self.temperature), super().evaluate(obs, actions)[1]

    policy = tiny_writer("abcd", seed=seed, kind=Scored, temperature=TEMPERATURE, initializer_range=0.1)
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
    "patient-7", "The ratio that is never 1 (first of two)",
    "PPO on a tiny writer, paid for a's, β = 0.2. The recipe takes *one* gradient step for each batch: when the loss "
    "is computed, the policy is still the one that wrote the batch. `scored twice, gap` scores the same batch two "
    "times with the same weights and takes the largest difference.",
    ("ratio_max", "ref_k1", "old_kl", "scored twice, gap"),
    sick, healthy, loop, lambda run: sum(r["ratio_max"] for r in run.records[:10]) / 10 - 1, 0.05,
    "how far the largest ratio lies above 1",
)

DIAGNOSIS = diagnosis(
    PATIENT, 7,
    "One step a batch, and still the ratio is not 1. At the first update the reference *is* the policy, and still "
    "their KL is not 0.",
    {
        "a": "Dropout is on while the loss is computed.",
        "b": "The learning rate is too large: the policy runs away within the update.",
        "c": "What is scored is another distribution than what was drawn from, and always the same other one.",
        "d": "The reference was loaded from the wrong file.",
        "e": "The advantages are not whitened.",
    },
    "c",
    ("With one step a batch every ratio must be 1. So log π(now) and log π(then) come from two different "
     "computations.",
     "Scored twice, the gap is 0: the scoring is reproducible. What is it that drawing does and scoring does not?",
     "Drawing divides the logits by something before the softmax."),
    "yes. The gap is the same whenever you look: no noise, another distribution. Drawn at temperature 0.6, scored at "
    "1.",
    difficulty=3,
    a="No: dropout draws a new mask for every forward, so scoring twice would give two answers. The gap is exactly 0.",
    b="No: the ratio is taken *before* the step. With one step a batch nothing can have run anywhere.",
    d="No: a wrong reference explains a KL at the first update, but not the ratio, in which no reference appears.",
    e="No: advantages multiply the ratio, they are not in it.",
)


def _case(label: str, seed: int, temperature: float, scale: float = 2.0, *, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, 3, 5, generator=g)
    actions = torch.randint(5, (2, 3), generator=g)
    return Case(label, {"logits": logits, "actions": actions, "temperature": temperature}, extreme)


def _pick(logp: Tensor, actions: Tensor) -> Tensor:
    return logp.gather(-1, actions[..., None])[..., 0]


FIX = Exercise(
    "bug-temperature", NOTEBOOK, "score what was drawn", *(2, 5, 5),
    "Repair `drawn_logp(logits, actions, temperature)`: `logits` `[B, T, V]` stand in step with the tokens `actions` "
    "`[B, T]`, which were drawn from softmax(logits / temperature). Return the log-probability with which each was "
    "drawn, `[B, T]`. The check tries three temperatures, gradients and huge logits, then trains the patient.",
    ("Which distribution were the tokens drawn from? Score them under that one.",
     "log π(a) = logits_a / T - log Σ_v exp(logits_v / T): T belongs inside the softmax.",
     "logp = (logits / temperature).log_softmax(-1)"),
    "right at three temperatures, gradients and huge logits included; and the patient's ratio is 1.",
    reference=healthy,
    cases=(_case("temperature 0.6", 1, 0.6), _case("temperature 2", 2, 2.0), _case("temperature 1", 3, 1.0),
           _case("logits of ±10,000", 4, 0.5, 1e4, extreme=True)),
    gradient=("logits",),
    mistakes=(
        (AS_IT_CAME + ": it scores at temperature 1 whatever was drawn.", sick),
        ("You multiplied by the temperature: divide. Below 1 it must sharpen.",
         lambda x, a, t: _pick((x * t).log_softmax(-1), a)),
        ("You divided log-probabilities: afterwards they no longer add up to 1. Divide the logits, then normalise.",
         lambda x, a, t: _pick(x.log_softmax(-1) / t, a)),
        ("You multiplied log-probabilities: afterwards they no longer add up to 1.",
         lambda x, a, t: _pick(x.log_softmax(-1) * t, a)),
        ("The normalisation is missing: these are logits, not log-probabilities.", lambda x, a, t: _pick(x / t, a)),
        ("You subtracted log T: that is the density of a scaled variable, not a sharpened softmax.",
         lambda x, a, t: _pick(x.log_softmax(-1), a) - torch.tensor(t).log()),
        ("These are probabilities: take their logarithm.", lambda x, a, t: _pick((x / t).softmax(-1), a)),
    ),
    trial=PATIENT.relapse,
)
