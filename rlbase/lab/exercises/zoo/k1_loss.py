"""Patient 12: k1 is a fine number and a useless loss. Its gradient is the score function, whose mean is zero."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, behaviour, diagnosis, generator
from rlbase.lab.zoo import Part, Patient, Run, swapped
from rlbase.losses import exact_kl

REF = torch.tensor([0.4, 0.3, 0.2, 0.1])
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0])
BETA = 0.5


def sick(logp, ref_logp):  # type: ignore[no-untyped-def]
    """The KL penalty of each sampled choice, [B, 1]; its mean, times beta, is added to the loss."""
    return logp - ref_logp


def healthy(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """k2: on the policy's own samples its expected gradient is that of KL(policy || reference)."""
    return 0.5 * (logp - ref_logp).square()


def loop(part: Part, seed: int) -> Run:
    """PPO on four arms with the penalty in the loss, all arms enumerated: no sampling noise at all."""
    from rlbase.envs import Bandit
    from rlbase.exact import kl_optimum, total_variation
    from rlbase.policies import TabularPolicy, frozen_copy
    from rlbase.rollout import enumerate_actions
    from rlbase.train import PPOConfig, ppo
    from rlbase.train.ppo import KL_LOSSES

    policy: Any = TabularPolicy(1, 4, ref=REF)
    bandit: Any = Bandit(REWARD)
    best = kl_optimum(REF, REWARD, beta=BETA)
    config = PPOConfig(
        updates=150, epochs=1, minibatches=1, learning_rate=0.1, gamma=1.0, advantage="returns", max_grad_norm=100.0,
        whiten_advantages=False, beta=BETA, kl_placement="k2_loss",
    )
    with swapped(KL_LOSSES, "k2_loss", part):
        records = []
        for record in ppo(
            policy, bandit, config, reference=frozen_copy(policy), generator=generator(seed),
            collect=enumerate_actions,
        ):
            apart = total_variation(policy.probs()[0].detach(), best)
            records.append({**record, "distance to the optimum": apart})
    arms = zip(REWARD.tolist(), policy.probs()[0].tolist(), best.tolist(), strict=True)
    return Run(records, [f"the arm that pays {r:g}: {p:.3f}, optimum {b:.3f}" for r, p, b in arms])


PATIENT = Patient(
    "patient-12", "The leash that does not pull",
    "PPO on four arms with β = 0.5: the penalty β KL(π‖ref) stands in the loss. The optimum is known, ∝ "
    "ref·exp(r/β), and lies at 0.957 nats. All four arms are enumerated, so there is no sampling noise.",
    ("reward_mean", "ref_k1", "distance to the optimum", "entropy"),
    sick, healthy, loop, lambda run: run.late("distance to the optimum"), 0.02,
    "the distance to the optimum (total variation)",
    {"ref_k1": (0.957, "KL of the optimum")},
)

DIAGNOSIS = diagnosis(
    PATIENT, 12, "β = 0.5 is in the config, the KL is in the log, and yet the policy goes to the best arm.",
    {
        "a": "The reference drifts along with the policy.",
        "b": "β is too small for these rewards.",
        "c": "The reported KL is the wrong way round, KL(ref‖π).",
        "d": "The penalty's value is right, but its gradient is zero on average: it is reported and does not pull.",
        "e": "The reward is paid twice.",
    },
    "d",
    ("The KL is measured correctly. What would β = 0 look like?",
     "E_π[∇ log π(a)] = 0. What is the expected gradient of log π(a) - log ref(a)?",
     "A penalty whose gradient is zero on average is a number in the log and nothing else."),
    "yes. To the gradient this run is one with β = 0. The KL meter works; nobody listens to it.",
    difficulty=4,
    a="No: a reference that drifts along keeps the KL at 0. Here it rises to 2.2 nats.",
    b="No: the optimum for this very β is known, and the healthy run reaches it (0.957 nats).",
    c="No: the reference gives the best arm 0.1, and -ln 0.1 = 2.3 is KL(π‖ref) once π chooses only it. The number "
      "is right.",
    e="No: reward_mean climbs to 2, what the best arm pays once. Twice the reward would show as 4.",
)


def pull(part: Part, probs: Tensor, ref: Tensor) -> Tensor:
    """The expected gradient of a penalty in the logits of a softmax policy, every action enumerated."""
    logits = probs.log().requires_grad_()
    logp = logits.log_softmax(0)
    each = part(logp[:, None], ref.log()[:, None])
    if not isinstance(each, Tensor) or each.shape != (len(probs), 1):
        shape = list(each.shape) if isinstance(each, Tensor) else type(each).__name__
        raise ValueError(f"the penalty must be one number a choice, here [4, 1], got {shape}")
    total = (probs[:, None] * each).sum()
    if not total.requires_grad:
        return torch.zeros_like(probs)
    return torch.autograd.grad(total, logits, allow_unused=True)[0].detach()


def wanted(probs: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of KL(policy || ref) and of KL(ref || policy) in the logits."""
    found = []
    for forward in (False, True):
        logits = probs.log().requires_grad_()
        logp = logits.log_softmax(0)
        both = (ref.log(), logp) if forward else (logp, ref.log())
        found.append(torch.autograd.grad(exact_kl(*both), logits)[0])
    return found[0], found[1]


POLICIES = tuple(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.5, 0.15, 0.1], [0.05, 0.05, 0.1, 0.8]]))


def gradient_test(part: Part) -> str | None:
    """What a penalty's expected gradient is, compared with that of the KL it stands for."""
    pulls = [pull(part, probs, REF) for probs in POLICIES]
    right, forward = zip(*(wanted(probs, REF) for probs in POLICIES), strict=True)

    def is_(factor: float, target: tuple[Tensor, ...]) -> bool:
        return all(torch.allclose(p, factor * t, atol=1e-5) for p, t in zip(pulls, target, strict=True))

    if is_(1, right):
        return None
    if is_(0, right):
        probs = POLICIES[0].log().requires_grad_()
        flows = part(probs[:, None], REF.log()[:, None])
        if not (isinstance(flows, Tensor) and flows.requires_grad):
            return "No gradient flows at all: detached, a penalty in the loss is a constant."
        return (
            AS_IT_CAME + ", or a multiple of it: the expected gradient is 0, whatever the factor, because "
            "E[∇ log π] = 0."
        )
    if is_(1, forward):
        return "This is k3: it pulls, but along KL(ref‖π). Its optimum is another one than ref·exp(r/β)."
    if is_(-1, right):
        return "The sign is flipped: this pushes away from the reference."
    if is_(2, right):
        return "Twice too strong: the gradient of x² is 2x. You would train with 2β."
    return "It pulls, but not along the gradient of KL(π‖ref): neither in direction nor in size."


FIX = Exercise(
    "bug-k1", NOTEBOOK, "a penalty that pulls", *(4, 4, 10),
    "Repair `kl_penalty(logp, ref_logp)`, both `[B, 1]`: one number for each sampled choice, `[B, 1]`, to stand in "
    "the loss. Averaged over the policy's own choices its **gradient** must be that of KL(π‖ref). (Its value may be "
    "another.) The check enumerates that gradient for three policies, then trains the patient: it must land on the "
    "known optimum.",
    ("Ask for the gradient, not for the value. You want E[(log π - log ref) ∇ log π].",
     "What has the derivative x? With x = log π - log ref: d/dx (x²/2) = x.",
     "return 0.5 * (logp - ref_logp) ** 2"),
    "the expected gradient is that of KL(π‖ref) for three policies, and the patient lands on the known optimum.",
    judge=behaviour("bug-k1", gradient_test, PATIENT),
)
