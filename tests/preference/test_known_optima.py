"""Each loss, trained, comes to rest at its own known place: exact expectations, sampled labels, and online."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.envs import Bandit
from rlbase.exact import bt_projection, ipo_optimum, kl, kl_optimum, kto_optimum, simpo_gap, total_variation
from rlbase.feedback import Rater
from rlbase.losses import cdpo, dpo, hinge, ipo, kto, orpo, rdpo, simpo, slic
from rlbase.policies import TabularPolicy, frozen_copy
from rlbase.rollout import enumerate_actions
from rlbase.train import OnlineConfig, PPOConfig, PreferenceConfig, online_preference, ppo, preference
from rlbase.train.preference import measure
from rlbase.types import Choices, Labelled, PreferencePairs

Loss = Callable[..., Tensor]
B4_REF = torch.tensor([0.4, 0.3, 0.2, 0.1])
B4 = torch.tensor([0.0, 1.0, 0.5, 2.0])


def random_world() -> tuple[Tensor, Tensor]:
    draws = torch.randn(2, 6, generator=torch.Generator().manual_seed(5))
    return draws[0].softmax(0), draws[1]


WORLDS = {"four arms": (B4_REF, B4), "random": random_world()}


def arms(numbers: Any, states: Any = None) -> Choices:
    actions = torch.as_tensor(numbers).view(-1, 1)
    obs = torch.zeros_like(actions) if states is None else torch.as_tensor(states).view(-1, 1)
    return Choices(obs, actions, torch.ones_like(actions, dtype=torch.bool))


def every_pair(preference: Tensor, pairs: Any = None) -> PreferencePairs:
    ij = torch.combinations(torch.arange(len(preference))) if pairs is None else torch.tensor(pairs)
    i, j = ij.unbind(1)
    return PreferencePairs(arms(i), arms(j), prob=preference[i, j])


def odds_of(reward: Tensor) -> Tensor:
    return (reward[:, None] - reward).sigmoid()


def fit(policy: TabularPolicy, data: Any, loss: Loss, *, reference: bool = True, **changes: Any) -> list[Any]:
    """Learn from all of ``data`` in every step."""
    kl = changes.pop("kl", None)
    settings: dict[str, Any] = {"updates": 300, "batch_size": 10_000_000, "learning_rate": 0.1}
    settings |= {"schedule": "linear", "max_grad_norm": math.inf} | changes
    frozen = frozen_copy(policy) if reference else None
    return list(preference(policy, data, loss, PreferenceConfig(**settings), reference=frozen, kl=kl))


def table(policy: TabularPolicy) -> Tensor:
    return policy.probs()[0].detach()


def learned(ref: Tensor, data: Any, loss: Loss, **changes: Any) -> Tensor:
    policy = TabularPolicy(1, len(ref), ref=ref)
    fit(policy, data, loss, **changes)
    return table(policy)


# DPO


@pytest.mark.parametrize("beta", [0.5, 0.2])
@pytest.mark.parametrize("world", WORLDS)
def test_dpo_on_bradley_terry_labels(world: str, beta: float) -> None:
    ref, reward = WORLDS[world]
    policy = TabularPolicy(1, len(ref), ref=ref)
    records = fit(policy, every_pair(odds_of(reward)), functools.partial(dpo, beta=beta))
    assert records[0]["loss"] == pytest.approx(math.log(2), rel=1e-6)
    best = kl_optimum(ref, reward, beta=beta)
    assert total_variation(table(policy), best) < 1e-3
    # its implicit reward is the reward, up to a constant
    implicit = beta * (table(policy) / ref).log()
    torch.testing.assert_close(implicit - implicit.mean(), reward - reward.mean(), atol=0.02, rtol=0)


@pytest.mark.parametrize("pairs", [[[0, 1], [1, 2], [2, 3]], [[0, 3], [1, 3], [2, 3]]])
def test_any_connected_pairs_are_enough(pairs: list[list[int]]) -> None:
    found = learned(B4_REF, every_pair(odds_of(B4), pairs), functools.partial(dpo, beta=0.5))
    assert total_variation(found, kl_optimum(B4_REF, B4, beta=0.5)) < 1e-3


@pytest.mark.parametrize("seed", range(2))
def test_dpo_on_labels_that_no_reward_explains(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    upper = (0.1 + 0.8 * torch.rand(4, 4, generator=generator)).triu(1)
    P = upper + (1 - upper.T).tril(-1) + 0.5 * torch.eye(4)
    found = learned(B4_REF, every_pair(P), functools.partial(dpo, beta=0.5))
    assert total_variation(found, kl_optimum(B4_REF, bt_projection(P), beta=0.5)) < 1e-3


def test_every_context_has_its_own_optimum() -> None:
    policy = TabularPolicy(2, 4, ref=B4_REF)
    rewards, (i, j) = torch.stack((B4, -B4)), torch.combinations(torch.arange(4)).unbind(1)
    prob = torch.cat([(r[i] - r[j]).sigmoid() for r in rewards])
    states = torch.arange(2).repeat_interleave(6)
    pairs = PreferencePairs(arms(i.repeat(2), states), arms(j.repeat(2), states), prob=prob)
    fit(policy, pairs, functools.partial(dpo, beta=0.5))
    for found, reward in zip(policy.probs().detach(), rewards, strict=True):
        assert total_variation(found, kl_optimum(B4_REF, reward, beta=0.5)) < 1e-3


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_certain_labels_break_dpo_and_not_ipo(beta: float) -> None:
    """From step N to step 10 N DPO's margin more than doubles, for any beta; IPO's is where it belongs by then."""
    certain = (B4[:, None] > B4).float() + 0.5 * torch.eye(4)
    best = ipo_optimum(B4_REF, certain, tau=beta)
    truth = (best / B4_REF).log()
    i, j = torch.combinations(torch.arange(4)).unbind(1)
    should = ((2 * certain[i, j] - 1) * (truth[i] - truth[j])).mean().item()
    margins, rate = {}, 0.05 if beta > 1 else 0.1
    for loss in (functools.partial(dpo, beta=beta), functools.partial(ipo, tau=beta)):
        policy = TabularPolicy(1, 4, ref=B4_REF)
        records = fit(
            policy, every_pair(certain), loss, updates=1000, learning_rate=rate, schedule="constant"
        )
        margins[loss.func] = [records[k - 1]["margin"] / beta for k in (100, 1000)]
        spread = (table(policy) / B4_REF).log()
        assert ((spread.max() - spread.min()).item() <= 1 / beta + 1e-3) == (loss.func is ipo)
    assert margins[dpo][1] > 2 * margins[dpo][0]
    assert margins[ipo] == pytest.approx([should, should], rel=0.05)


# IPO


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("world", WORLDS)
def test_ipo_at_its_closed_form(world: str, tau: float) -> None:
    ref, reward = WORLDS[world]
    P = odds_of(reward)
    found = learned(ref, every_pair(P), functools.partial(ipo, tau=tau))
    assert total_variation(found, ipo_optimum(ref, P, tau=tau)) < 1e-3
    if (world, tau) == ("four arms", 0.1):
        assert [round(p, 3) for p in found.tolist()] == pytest.approx([0.04, 0.257, 0.057, 0.645], abs=0.0015)


# KTO


@pytest.mark.parametrize(
    ("beta", "desirable_weight", "undesirable_weight"), [(0.5, 1.0, 1.0), (0.5, 1.0, 0.45), (0.2, 1.3, 1.0)]
)
def test_kto_keeps_what_lies_above_its_threshold(
    beta: float, desirable_weight: float, undesirable_weight: float
) -> None:
    weights = {"desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
    q, policy = (B4 - 0.75).sigmoid(), TabularPolicy(1, 4, ref=B4_REF)
    data = Labelled(arms(range(4)), q, weight=B4_REF)  # shown as often as the reference says it
    records = fit(
        policy,
        data,
        functools.partial(kto, beta=beta, **weights),
        updates=800,
        kl=lambda: kl(table(policy), B4_REF),
    )
    best, point = kto_optimum(B4_REF, q, beta=beta, **weights)
    assert total_variation(table(policy), best) < 0.02
    kept = q > undesirable_weight / (desirable_weight + undesirable_weight)
    assert (best > 0).equal(kept) and (table(policy) > 0.003).equal(kept)
    assert records[-1]["reference_point"] == pytest.approx(point, abs=0.05)
    # half lambda beta each way at the first step: z = 0 and u = 0
    assert records[0]["loss"] == pytest.approx(
        ((desirable_weight * q + undesirable_weight * (1 - q)) * B4_REF).sum().item() / 2, rel=1e-5
    )


def test_kto_in_a_world_of_one_prompt_estimates_a_distance_of_zero() -> None:
    """Mismatched responses are the data's: their mean log-ratio is -KL(mu||pi), which counts as 0."""
    q = (B4 - 0.75).sigmoid()
    policy = TabularPolicy(1, 4, ref=B4_REF)
    data = Labelled(arms(range(4)), q, weight=B4_REF)
    records = fit(policy, data, functools.partial(kto, beta=0.5), updates=800)
    assert {record["reference_point"] for record in records} == {0.0}
    best, _ = kto_optimum(B4_REF, q, beta=0.5, kl=0.0)
    assert total_variation(table(policy), best) < 0.02
    assert total_variation(table(policy), kto_optimum(B4_REF, q, beta=0.5)[0]) > 0.03


def test_contradictory_verdicts() -> None:
    """A tenth of the verdicts say the opposite: the majority's answer rises all the same, almost to certainty."""
    good = torch.arange(200) % 10 > 0  # of arm 0, nine of ten people say yes
    data = Labelled(arms([0] * 200 + [1] * 200), torch.cat((good, ~good)))
    found = learned(torch.tensor([0.3, 0.7]), data, functools.partial(kto, beta=0.2), updates=300)
    assert found[0] > 0.95


# SimPO, cDPO, hinge, SLiC, ORPO


@pytest.mark.parametrize(("p", "gamma"), [(0.5, 1.0), (0.7, 0.0), (0.7, 1.0), (0.9, 0.5)])
def test_simpo_gap(p: float, gamma: float) -> None:
    pair = PreferencePairs(arms([0]), arms([1]), prob=torch.tensor([p]))
    found = learned(
        torch.tensor([0.2, 0.8]), pair, functools.partial(simpo, beta=2.0, gamma=gamma), reference=False
    )
    gap = (found[0] / found[1]).log().item()
    assert gap == pytest.approx(simpo_gap(p, beta=2.0, gamma=gamma), abs=1e-3)


def test_length_is_no_quality_to_simpo() -> None:
    """Two tokens against eight, every token as likely as the other: summed, the long one looks far worse."""
    actions = torch.zeros(2, 8, dtype=torch.long)
    rows = Choices(actions, actions, torch.arange(8) < torch.tensor([[2], [8]]))
    pair, policy = PreferencePairs(rows[:1], rows[1:]), TabularPolicy(1, 2, ref=torch.tensor([0.3, 0.7]))
    still: dict[str, Any] = {"updates": 1, "learning_rate": 0.0}
    averaged = fit(policy, pair, functools.partial(simpo, beta=2.0, gamma=0.0), reference=False, **still)[0]
    assert averaged["loss"] == pytest.approx(math.log(2)) and averaged["grad_norm"] < 1e-6
    summed = fit(policy, pair, functools.partial(dpo, beta=2.0), **still)[0]
    assert summed["grad_norm"] > 1  # h would be -6 times the token's log-ratio: rather unlearn the token
    gap = fit(policy, pair, functools.partial(slic, delta=1.0), reference=False, **still)[0]
    assert gap["loss"] == 0  # 6 log(1 / p) ahead already


@pytest.mark.parametrize(("e", "beta"), [(0.1, 0.5), (0.3, 0.1), (0.05, 2.0)])
def test_cdpo_has_a_finite_optimum(e: float, beta: float) -> None:
    loss, ref = functools.partial(cdpo, beta=beta, label_smoothing=e), torch.tensor([0.5, 0.5])
    found = learned(ref, PreferencePairs(arms([1]), arms([0])), loss)
    assert beta * (found[1] / found[0]).log().item() == pytest.approx(math.log((1 - e) / e), abs=2e-3)


def test_past_the_margin_nothing_pulls() -> None:
    ref, pair = torch.tensor([0.5, 0.5]), PreferencePairs(arms([1]), arms([0]))
    for loss, margin, reference in (
        (functools.partial(hinge, beta=0.5), 2.0, True),
        (functools.partial(slic, delta=1.5), 1.5, False),
    ):
        policy = TabularPolicy(1, 2, ref=ref)
        records = fit(
            policy, pair, loss, reference=reference, updates=600, learning_rate=0.01, schedule="constant"
        )
        assert records[-1]["loss"] == 0 and records[-1]["grad_norm"] == 0
        assert (table(policy)[1] / table(policy)[0]).log().item() == pytest.approx(margin, abs=0.3)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_orpo_beside_its_likelihood(lam: float) -> None:
    """Labels that differ have a finite optimum: the trainer's is that of plain descent on the written-out objective."""
    pairs, prob = [[0, 1], [1, 2], [0, 2]], torch.tensor([0.3, 0.8, 0.6], dtype=torch.float64)
    i, j = torch.tensor(pairs).unbind(1)
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(1500):
        logp = theta.log_softmax(0)
        odds = logp - torch.log1p(-logp.exp())
        won = -lam * (odds[i] - odds[j]).sigmoid().log() - logp[i]
        lost = -lam * (odds[j] - odds[i]).sigmoid().log() - logp[j]
        (gradient,) = torch.autograd.grad((prob * won + (1 - prob) * lost).mean(), theta)
        theta = (theta - gradient).detach().requires_grad_()
    data = PreferencePairs(arms(i), arms(j), prob=prob.float())
    loss = functools.partial(orpo, lam=lam)
    found = learned(torch.tensor([0.2, 0.2, 0.6]), data, loss, reference=False, likelihood=1.0)
    assert total_variation(found, theta.detach().softmax(0)) < 1e-4


# sampled labels


def sampled(n: int, seed: int, flipped: float = 0.0) -> tuple[PreferencePairs, PreferencePairs]:
    """``n`` comparisons drawn from the reference's own arms; with clean labels, and some of them turned."""
    generator = torch.Generator().manual_seed(seed)
    ij = torch.combinations(torch.arange(4))[torch.randint(0, 6, (n,), generator=generator)]
    first = torch.rand(n, generator=generator) < odds_of(B4)[ij[:, 0], ij[:, 1]]
    turned = torch.rand(n, generator=generator) < flipped
    made = []
    for won in (first, first ^ turned):
        chosen, rejected = torch.where(won, ij[:, 0], ij[:, 1]), torch.where(won, ij[:, 1], ij[:, 0])
        made.append(PreferencePairs(arms(chosen), arms(rejected)))
    return made[0], made[1]


MANY: dict[str, Any] = {"updates": 120, "batch_size": 10_000, "learning_rate": 0.08}


@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_thousand_labels(seed: int) -> None:
    pairs, _ = sampled(200_000, seed)
    found = learned(B4_REF, pairs, functools.partial(dpo, beta=0.5), **MANY)
    assert total_variation(found, kl_optimum(B4_REF, B4, beta=0.5)) < 0.03
    found = learned(B4_REF, pairs, functools.partial(ipo, tau=0.5), **MANY)
    assert total_variation(found, ipo_optimum(B4_REF, odds_of(B4), tau=0.5)) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_robust_dpo_undoes_flips(seed: int) -> None:
    clean, noisy = sampled(200_000, seed, flipped=0.2)
    policy, reference = (
        TabularPolicy(1, 4, ref=kl_optimum(B4_REF, B4, beta=1.0)),
        TabularPolicy(1, 4, ref=B4_REF),
    )
    robust = functools.partial(rdpo, beta=0.5, label_smoothing=0.2)
    plain = functools.partial(dpo, beta=0.5)
    ratio = (table(policy) / table(reference)).log()

    def each(loss: Loss, pairs: PreferencePairs) -> Tensor:
        one, two = ratio[pairs.chosen.actions[:, 0]], ratio[pairs.rejected.actions[:, 0]]
        return loss(one, two, torch.zeros_like(one), torch.zeros_like(two))

    error = (each(robust, noisy) - each(plain, clean)).std().item() / math.sqrt(len(clean))
    at_once = PreferenceConfig(batch_size=len(clean))
    truth = measure(policy, clean, plain, at_once, reference=reference)["loss"]
    assert measure(policy, noisy, robust, at_once, reference=reference)["loss"] == pytest.approx(
        truth, abs=2 * error
    )
    assert measure(policy, noisy, plain, at_once, reference=reference)["loss"] > truth + 10 * error
    best = kl_optimum(B4_REF, B4, beta=0.5)
    off = {name: total_variation(learned(B4_REF, noisy, loss, **MANY), best) for name, loss in
           (("robust", robust), ("plain", plain))}  # fmt: skip
    assert off["robust"] < 0.03 < 0.1 < off["plain"]


# online


@pytest.mark.parametrize("seed", range(2))
def test_online_dpo_with_one_reference(seed: int) -> None:
    policy = TabularPolicy(1, 4, ref=B4_REF)
    bandit = Bandit(B4, batch_size=2048)
    config = OnlineConfig(updates=150, learning_rate=0.03, max_grad_norm=math.inf)
    records = list(
        online_preference(
            policy,
            bandit,
            functools.partial(dpo, beta=0.5),
            config,
            reference=frozen_copy(policy),
            generator=torch.Generator().manual_seed(seed),
        )
    )
    best = kl_optimum(B4_REF, B4, beta=0.5)
    assert total_variation(table(policy), best) < 0.03
    assert records[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert [r["labels"] for r in records[:2]] == [2048, 4096]
    assert records[-1]["reward_mean"] == pytest.approx((best * B4).sum().item(), abs=0.1)


@pytest.mark.parametrize(("rounds", "beta"), [(4, 2.0), (2, 1.0)])
def test_a_refreshed_reference_divides_beta(rounds: int, beta: float) -> None:
    policy = TabularPolicy(1, 4, ref=B4_REF)
    config = OnlineConfig(
        updates=rounds, epochs=150, learning_rate=0.05, max_grad_norm=math.inf, refresh=True, soft=True
    )
    bandit, loss = Bandit(B4, batch_size=4096), functools.partial(dpo, beta=beta)
    list(online_preference(policy, bandit, loss, config, generator=torch.Generator().manual_seed(0)))
    assert total_variation(table(policy), kl_optimum(B4_REF, B4, beta=beta / rounds)) < 0.03
    assert total_variation(table(policy), kl_optimum(B4_REF, B4, beta=beta)) > 0.1


def test_a_missing_arm_can_only_be_ranked_online() -> None:
    """Arm 3 is the best and nobody compared it: offline the data cannot say, whatever its reward; online they do."""
    loss, known = functools.partial(dpo, beta=0.5), [[0, 1], [0, 2], [1, 2]]
    worse = torch.tensor([0.0, 1.0, 0.5, -3.0])
    offline = [learned(B4_REF, every_pair(odds_of(r), known), loss) for r in (B4, worse)]
    assert offline[0].equal(offline[1])  # the same comparisons, the same policy
    assert offline[0].argmax() != 3 and kl_optimum(B4_REF, B4, beta=0.5).argmax() == 3
    config = OnlineConfig(updates=150, learning_rate=0.03, max_grad_norm=math.inf, soft=True)
    for reward in (B4, worse):
        policy = TabularPolicy(1, 4, ref=B4_REF)
        bandit = Bandit(reward, batch_size=2048)
        list(online_preference(policy, bandit, loss, config, rater=Rater(), reference=frozen_copy(policy)))
        assert total_variation(table(policy), kl_optimum(B4_REF, reward, beta=0.5)) < 0.03


def test_ppo_and_dpo_reach_the_same_policy() -> None:
    """One samples rewards, the other reads comparisons; both optimise E[r] - beta KL."""
    policy = TabularPolicy(1, 4, ref=B4_REF)
    config = PPOConfig(
        updates=200,
        epochs=1,
        minibatches=1,
        learning_rate=0.1,
        gamma=1.0,
        advantage="returns",
        whiten_advantages=False,
        max_grad_norm=10.0,
        beta=0.5,
    )
    list(ppo(policy, Bandit(B4), config, reference=frozen_copy(policy), collect=enumerate_actions))
    by_dpo = learned(B4_REF, every_pair(odds_of(B4)), functools.partial(dpo, beta=0.5))
    assert total_variation(table(policy), by_dpo) < 0.01
    assert total_variation(by_dpo, kl_optimum(B4_REF, B4, beta=0.5)) < 1e-3
