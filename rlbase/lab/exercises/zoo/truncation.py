"""Patient 9: the clock ran out, and the run believes that the world has ended."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, diagnosis, generator
from rlbase.lab.zoo import Part, Patient, Run, swapped, with_readings

GAMMA = 0.9


def sick(terminated, truncated, gamma):  # type: ignore[no-untyped-def]
    """How much of what comes after each step counts, [B, T]."""
    over = terminated | truncated
    return gamma * (~over).float()


def healthy(terminated: Tensor, truncated: Tensor, gamma: float) -> Tensor:
    """Nothing follows a termination; after a truncation the world goes on without us."""
    return gamma * (~terminated).float()


def loop(part: Part, seed: int) -> Run:
    """PPO with a critic in a world where one can work for ever (1 a step) or cash in (4, and the end)."""
    from rlbase.advantages import gae
    from rlbase.envs import TabularMDP
    from rlbase.policies import TabularCritic, TabularPolicy
    from rlbase.rollout import rollout
    from rlbase.train import PPOConfig, ppo

    moves = torch.zeros(2, 2, 2)
    moves[0, 0, 1] = moves[0, 1, 0] = 1
    moves[1, :, 1] = 1
    world: Any = TabularMDP(moves, torch.tensor([[4.0, 1.0], [0.0, 0.0]]), terminal=(1,), time_limit=4)
    policy: Any = TabularPolicy(2, 2)
    critic: Any = TabularCritic(2)
    seen: dict[str, Any] = {}
    config = PPOConfig(
        updates=60, steps=16, epochs=4, minibatches=1, learning_rate=0.2, gamma=GAMMA, lam=0.9, value_coef=1.0,
        max_grad_norm=100.0,
    )

    def collect(*parts: Any, steps: int, generator: torch.Generator) -> Any:
        seen["batch"] = rollout(*parts, steps=steps, generator=generator)
        return seen["batch"]

    def planted(rewards: Tensor, values: Tensor, discounts: Tensor, mask: Tensor, *, lam: float) -> Tensor:
        kept = part(seen["batch"].terminated, seen["batch"].truncated, GAMMA)
        return gae(rewards, values, kept.to(rewards.dtype), mask, lam=lam)

    def readings() -> dict[str, float]:
        return {"value of the start": critic.values[0].item(), "share that works on": policy.probs()[0, 1].item()}

    with swapped("rlbase.train.common", "gae", planted):
        run = ppo(policy, world, config, critic=critic, generator=generator(seed), collect=collect)
        records = with_readings(run, readings)
    last = records[-1]
    return Run(records, [
        f"works on in {last['share that works on']:.0%} of its choices",
        f"believes the start to be worth {last['value of the start']:.1f}",
    ])


PATIENT = Patient(
    "patient-9", "The model without a future",
    "PPO with a critic, γ = 0.9. Each step one may *work* (pays 1, goes on for ever) or *cash in* (pays 4, ends). "
    "Working for ever is worth 1/(1 - γ) = 10. To collect data the experimenter stops every episode after 4 steps "
    "and starts anew; the world itself has no clock.",
    ("return_mean", "value of the start", "share that works on", "value_loss"),
    sick, healthy, loop, lambda run: 10 - run.late("value of the start"), 3.0,
    "what the critic's value of the start lacks of the true 10",
    {"value of the start": (10.0, "working for ever: 10")},
)

DIAGNOSIS = diagnosis(
    PATIENT, 9, "The patient's episode return is *better* than the healthy one's, and yet it is ill.",
    {
        "a": "Nothing is wrong: 4.8 an episode is more than 4.",
        "b": "The critic learns too slowly: give it more updates.",
        "c": "γ is applied twice, so that the future counts too little.",
        "d": "The reward for cashing in is paid at the wrong state.",
        "e": "Where the clock stops an episode, the run counts what follows as nothing, as if the world had ended.",
    },
    "e",
    ("Cashing in is worth 4. What must it think of working on, to cash in at almost every second choice?",
     "Working once and then going on is worth 1 + 0.9 V, with V = 4 that is 4.6: better than 4, unless V is cut off.",
     "Each fourth step of work is booked as 1 and nothing after it, as if the world had ended with the clock."),
    "yes. It has learned to live as if the world ended with the episode. The episode return cannot show it: that "
    "stops at the clock, too.",
    difficulty=3,
    a="No: that return stops counting where the clock stops. The task is worth 10 to whoever works on, and 4 to "
      "whoever cashes in.",
    b="No: the value of the start has settled at 4 for 40 updates. More updates will not move what has settled.",
    c="No: with γ² = 0.81 working for ever would still be worth 1/(1 - 0.81) = 5.3, more than 4, and it would work "
      "on.",
    d="No: whoever cashes in is paid 4 at once, and the critic's 4 is just that.",
)


def _case(label: str, terminated: list[list[int]], truncated: list[list[int]], gamma: float) -> Case:
    ends = {"terminated": torch.tensor(terminated).bool(), "truncated": torch.tensor(truncated).bool()}
    return Case(label, {**ends, "gamma": gamma})


FIX = Exercise(
    "bug-truncation", NOTEBOOK, "a stopped clock is not an end", *(2, 5, 5),
    "Repair `discounts(terminated, truncated, gamma)`, `[B, T]`: the factor with which GAE multiplies everything "
    "that comes after a step. `terminated` says that the world has ended there, `truncated` that only the clock ran "
    "out. (The column after either holds the final observation and its value; the mask stops the trace.) The check "
    "tries rows with both kinds of end, then trains the patient: its value must come near 10.",
    ("What would the world have paid after that step, had nobody stopped it?",
     "γ_t = γ (1 - terminated_t). Truncation does not appear.",
     "return gamma * (~terminated).float()"),
    "right for rows that end, rows that are stopped, and both; and the patient plans beyond the clock.",
    reference=healthy,
    cases=(
        _case("one row ends, one is stopped", [[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]], 0.9),
        _case("an end, then a stop", [[0, 1, 0, 0, 0]], [[0, 0, 0, 0, 1]], 0.5),
        _case("gamma 1", [[1, 0], [0, 0]], [[0, 0], [0, 1]], 1.0),
    ),
    mistakes=(
        (AS_IT_CAME + ": after a truncation nothing counts.", sick),
        ("You let the future count after *every* step: a termination really is the end.",
         lambda d, c, g: torch.full(d.shape, g)),
        ("The two are mixed up: it is the truncated step after which the world goes on.",
         lambda d, c, g: g * (~c).float()),
        ("At a truncation you forgot gamma: the next value is one step away there, too.",
         lambda d, c, g: torch.where(c, 1.0, g * (~d).float())),
        ("γ is missing: these are the steps after which something follows.", lambda d, c, g: (~d).float()),
        ("Upside down: this is what a step counts *if* the world has ended.", lambda d, c, g: g * d.float()),
        ("The zeros stand one column too late: it is the step that ends whose future is nothing.",
         lambda d, c, g: g * (~torch.roll(d, 1, 1)).float()),
        ("The zeros stand one column too early: it is the step that ends whose future is nothing.",
         lambda d, c, g: g * (~torch.roll(d, -1, 1)).float()),
    ),
    trial=PATIENT.relapse,
)
