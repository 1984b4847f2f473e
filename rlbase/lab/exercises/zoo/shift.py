"""Patient 4: every token is scored by the logit that has just read it. Nothing is easier than to repeat."""

# fmt: off

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, diagnosis, generator, letters_world
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings

FLOOR = 5 * math.log(4) / 6  # five random letters and an EOS that always comes after them


def sick(logits, tokens):  # type: ignore[no-untyped-def]
    """Log-probability of every token but the first, [B, L - 1]; logits are [B, L, V], tokens [B, L]."""
    logp = logits[:, 1:].log_softmax(-1)
    return logp.gather(-1, tokens[:, 1:].unsqueeze(-1)).squeeze(-1)


def healthy(logits: Tensor, tokens: Tensor) -> Tensor:
    """The logit at position i has read tokens 0 to i, and speaks about token i + 1."""
    return logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def loop(part: Part, seed: int) -> Run:
    """Supervised fine-tuning of a tiny writer on random letters; the part scores the tokens."""
    from rlbase.envs import pad_left
    from rlbase.masked import fill_unchosen
    from rlbase.policies import CausalLMPolicy
    from rlbase.rollout import rollout
    from rlbase.train import SFTConfig, sft
    from rlbase.types import Choices

    class Scored(CausalLMPolicy):
        def evaluate(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
            tokens = torch.cat((obs.ids, actions), 1)
            logp = part(self.model(tokens).logits, tokens)[:, obs.ids.shape[1] - 1 :]
            return logp, torch.zeros_like(logp)  # nobody asks for the entropy here

        def logp(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
            return fill_unchosen(self.evaluate(obs, actions)[0], mask)

    policy, dice = tiny_writer("abcd", seed=seed, kind=Scored), generator(seed)
    letters = torch.randint(4, (512, 6), generator=dice)
    tokens = torch.cat((letters[:, 1:], torch.full((512, 1), 4)), 1)
    every = Choices(pad_left(letters[:, :1].tolist()), tokens, torch.ones_like(tokens).bool())
    world = letters_world(policy, lambda text: 0.0, longest=6)

    def readings() -> dict[str, float]:
        rollout(policy, world, generator=dice)
        return {"different letters in a response": sum(len(set(r)) for r in world.responses) / len(world.responses)}

    config = SFTConfig(updates=60, batch_size=64, learning_rate=1e-2, eval_every=1)
    records = with_readings(sft(policy, every[:448], config, held_out=every[448:], generator=dice), readings)
    return Run(records, [f"{p} → {r!r}" for p, r in zip(world.prompts_used[:4], world.responses[:4], strict=True)])


PATIENT = Patient(
    "patient-4", "The prodigy",
    "Supervised fine-tuning on random text: the prompt is a letter, the response five letters drawn by dice from a, "
    "b, c, d, then EOS. A letter drawn by dice costs ln 4 = 1.386 nats whoever guesses, the EOS costs nothing, so no "
    "model can come below 5 ln 4 / 6 = 1.155 nats a token.",
    ("loss", "held_out_loss", "different letters in a response"),
    sick, healthy, loop, lambda run: FLOOR - run.late("loss"), 0.3, "how far the loss lies below what is possible",
    {"loss": (FLOOR, "no model is better"), "held_out_loss": (FLOOR, "no model is better")},
)

DIAGNOSIS = diagnosis(
    PATIENT, 4, "The loss falls to almost 0, on held-out rows as well, and the samples are nonsense.",
    {
        "a": "The model overfits.",
        "b": "It is an excellent model: 0.0 on data it has never seen.",
        "c": "The sampling temperature is wrong.",
        "d": "The answer stands in the question: what scores a token has already read it.",
        "e": "The demonstrations are too easy.",
    },
    "d",
    ("Nobody can foresee dice. What must one know to foresee them all the same?",
     "A loss below the entropy of the data means that the answer is part of the input.",
     "The samples say what it has learned: to repeat the letter it has just read."),
    "yes. A loss below the entropy of the data is never skill. The scorer has already read the token it is asked "
    "about, and what was learned is to repeat it.",
    difficulty=2,
    a="No: overfitting shows as a gap between loss and held_out_loss. Both are near 0.",
    b="No: the rows are drawn by dice. Below 1.155 nats nobody can be honest.",
    c="No: temperature plays no part in the loss, and the loss is what is impossible.",
    e="No: they are as hard as can be, dice. The floor is computed, not guessed.",
)


def _case(label: str, seed: int, length: int, scale: float = 2.0, *, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    logits, tokens = scale * torch.randn(2, length, 5, generator=g), torch.randint(5, (2, length), generator=g)
    return Case(label, {"logits": logits, "tokens": tokens}, extreme)


def _pick(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


FIX = Exercise(
    "bug-shift", NOTEBOOK, "ask before the token is read", *(2, 5, 5),
    "Repair `token_scores(logits, tokens)`: `logits` `[B, L, V]` are the model's output for `tokens` `[B, L]`; "
    "position i has read tokens 0 to i. Return the log-probability of every token but the first, `[B, L - 1]`, each "
    "from the position that had not read it yet. The check tries three batches, gradients and huge logits, then "
    "trains the patient.",
    ("Which position speaks about token 1? The one that has read token 0, and no more.",
     "log π(y_t) = log softmax(logits_{t-1})[y_t], for t = 1 ... L - 1.",
     "logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]"),
    "right on three batches, gradients and huge logits included; and the patient's loss stays above the floor.",
    reference=healthy, gradient=("logits",),
    cases=(_case("five tokens", 1, 5), _case("three tokens", 2, 3), _case("two tokens", 4, 2),
           _case("logits of ±10,000", 3, 4, 1e4, extreme=True)),
    mistakes=(
        (AS_IT_CAME + ": position i has read token i before it is asked about it.", sick),
        ("You shifted the tokens, too: position i now speaks about token i again.",
         lambda x, t: _pick(x[:, :-1], t[:, :-1])),
        ("The wrong way round: you ask a position about the token *before* the one it has read.",
         lambda x, t: _pick(x[:, 1:], t[:, :-1])),
        ("roll() brings the last row to the front: position 0 is asked by one that has read everything.",
         lambda x, t: _pick(x.roll(1, 1), t)),
        ("These are raw logits: normalise with log_softmax.",
         lambda x, t: x[:, :-1].gather(-1, t[:, 1:, None])[..., 0]),
        ("This is the negative log-likelihood: the sign is flipped.", lambda x, t: -healthy(x, t)),
        ("You added up the row: give one number for each token.", lambda x, t: healthy(x, t).sum(1)),
        ("These are probabilities: take their logarithm.", lambda x, t: healthy(x, t).exp()),
    ),
    trial=PATIENT.relapse,
)
