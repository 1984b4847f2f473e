"""Patient 6: the reference is the policy itself, seen through a window. KL(π‖π) is 0, whatever it writes."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch

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


def sick(policy):  # type: ignore[no-untyped-def]
    """What beta holds the policy to: the model before training, never to be changed."""

    class Reference:
        stateful, temperature = policy.stateful, getattr(policy, "temperature", None)
        initial_state, step = policy.initial_state, policy.step

        @torch.no_grad()
        def evaluate(self, obs, actions):  # type: ignore[no-untyped-def]
            return policy.evaluate(obs, actions)

    return Reference()


def healthy(policy: Any) -> Any:
    """A copy with weights of its own, which nobody trains."""
    from rlbase.policies import frozen_copy

    return frozen_copy(policy)


def loop(part: Part, seed: int) -> Run:
    """PPO with a KL price on a tiny writer; the part makes the reference. The true KL is summed over all 127 texts."""
    from rlbase.envs import pad_left
    from rlbase.exact import enumerate_responses
    from rlbase.policies import frozen_copy
    from rlbase.train import ppo

    policy = tiny_writer("ab", seed=seed)
    world = letters_world(policy, lambda text: text.count("a") / 6, longest=6)
    start = frozen_copy(policy)  # ours, for the reading; the trainer never sees it
    ids, mask = enumerate_responses(3, 2, 6)
    prompts = pad_left([[0]] * len(ids))

    @torch.no_grad()
    def readings() -> dict[str, float]:
        now, then = ((p.evaluate(prompts, ids)[0] * mask).sum(1) for p in (policy, start))
        return {"true KL to the start": (now.exp() * (now - then)).sum().item()}

    run = ppo(policy, world, text_recipe(updates=40, beta=0.3), reference=part(policy), generator=generator(seed))
    return Run(with_readings(run, readings), [repr(text) for text in world.responses[:6]])


PATIENT = Patient(
    "patient-6", "The dog that holds its own leash",
    "PPO on a tiny writer, paid for a's (at most six letters), with a KL price of β = 0.3 that should keep its "
    "language alive. `ref_k1` is the KL that the trainer reports; the last panel sums the true KL to the weights it "
    "started from over all 127 possible texts.",
    ("reward_mean", "ref_k1", "entropy", "true KL to the start"),
    sick, healthy, loop, lambda run: run.late("true KL to the start") - run.late("ref_k1"), 1.0,
    "what the reported KL lacks of the true one, in nats,",
)

DIAGNOSIS = diagnosis(
    PATIENT, 6, "The trainer reports a KL of 0.000 at every update, and the reward is excellent.",
    {
        "a": "The policy is well held: it has found reward without leaving the reference.",
        "b": "β is too large: the policy cannot move.",
        "c": "The KL estimator k1 is too noisy to be read.",
        "d": "What is called the reference moves with the policy: the distance is measured from a thing to itself.",
        "e": "The KL is computed on the prompt instead of the response.",
    },
    "d",
    ("A sampled KL is a noisy number. What does it mean when it is 0.000 forty times in a row?",
     "k1 = log π - log ref is 0 on every single sample, so both must be the same function, at every update.",
     "The weights have moved (entropy, text), and the reference has moved with them."),
    "yes. A KL of exactly 0 after training has begun is not peace. It is a broken meter.",
    difficulty=2,
    a="No: entropy fell from 1.1 to 0.00 and it writes one text only. One cannot stop writing b's and stay where one "
      "was.",
    b="No: a policy that cannot move keeps its entropy and its reward. This one has run to the end of the road.",
    c="No: noise would show. A k1 that is 0 to seven digits, at each update, is the opposite of noise.",
    e="No: then it would not depend on the responses, but it would still not be exactly 0 once the weights have "
      "moved.",
)


def leash_test(part: Part) -> str | None:
    """Does what the part returns stay where the policy was, when the policy is trained?"""
    from rlbase.policies import TabularPolicy

    torch.manual_seed(0)
    policy = TabularPolicy(2, 3, ref=torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    obs, actions = torch.tensor([[0], [1], [0]]), torch.tensor([[0], [1], [2]])
    before, weights = policy.evaluate(obs, actions)[0].detach(), weights_of(policy)
    reference = part(policy)
    if reference is None:
        return "Your function returns None: is a `return` missing?"
    if not hasattr(reference, "evaluate"):
        return f"A reference is a policy: it needs evaluate(obs, actions). Yours is {type(reference).__name__}."
    if not torch.equal(weights, weights_of(policy)):
        return "Your function changes the policy's own weights."
    if not all(p.requires_grad for p in policy.parameters()):
        return "You froze the policy itself: now nothing trains. Copy first, then freeze the copy."
    if not torch.allclose(reference.evaluate(obs, actions)[0], before, atol=1e-6):
        return "Your reference is not where the policy starts: the price would pull it elsewhere. Copy its weights."
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    policy.evaluate(obs, actions)[0][0].sum().backward()
    optimizer.step()
    if any(p is q for p in policy.parameters() for q in getattr(reference, "parameters", list)()):
        return "The policy itself, or a shallow copy of it: the weights are shared. Use copy.deepcopy."
    after = reference.evaluate(obs, actions)[0]
    if torch.allclose(after, policy.evaluate(obs, actions)[0], atol=1e-6):
        return (
            AS_IT_CAME + ", or close to it: it asks the weights of today. Detaching or freezing does not help, they "
            "are the policy's own; keep those of the start."
        )
    return None if torch.allclose(after, before, atol=1e-6) else "Your reference changes when the policy is trained."


FIX = Exercise(
    "bug-reference", NOTEBOOK, "an anchor that stays", *(2, 5, 5),
    "Repair `make_reference(policy)`: return a policy that scores as `policy` does now, and goes on doing so while "
    "`policy` is trained. The policy itself must stay trainable. The check trains a small policy beside your "
    "reference, then the patient.",
    ("Two names for the same weights are not two models.",
     "The reference needs weights of its own: a deep copy, taken before training, that no optimiser sees.",
     "return copy.deepcopy(policy).requires_grad_(False)"),
    "your reference stays while the policy moves, and the patient's KL is what it says.",
    judge=behaviour("bug-reference", leash_test, PATIENT),
)
