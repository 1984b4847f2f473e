"""Bad input to preference optimisation: the same promise, one clear sentence, as in test_bad_input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbase.envs import Bandit, chain
from rlbase.exact import ipo_optimum, kto_optimum, simpo_gap
from rlbase.losses import cdpo, dpo, hinge, ipo, kto, mismatched_kl, orpo, rdpo, simpo, slic
from rlbase.policies import TabularPolicy, frozen_copy, random_policy
from rlbase.train import (
    OnlineConfig,
    PreferenceConfig,
    SFTConfig,
    online_preference,
    preference,
    with_reference,
)
from rlbase.train.preference import measure
from rlbase.types import Choices, Labelled, PreferencePairs, Prompt

NAN = float("nan")
TWO, ONE = torch.tensor([-1.0, -2.0]), torch.tensor([-1.0])
HALF, SURE = torch.tensor([0.5, 0.5]), torch.tensor([[0.5, 1.0], [0.0, 0.5]])
POLICY, REFERENCE = TabularPolicy(1, 2), frozen_copy(TabularPolicy(1, 2))
DPO, KTO, ORPO = partial(dpo, beta=0.1), partial(kto, beta=0.1), partial(orpo, lam=0.1)


def arms(*numbers: int, chosen: bool = True) -> Choices:
    actions = torch.tensor(numbers)[:, None]
    return Choices(torch.zeros_like(actions), actions, torch.full(actions.shape, chosen))


def text() -> Choices:
    return Choices(Prompt(arms(0).actions, arms(0).mask), arms(0).actions, arms(0).mask)


PAIRS = PreferencePairs(arms(0, 1), arms(1, 0))
VERDICTS = Labelled(arms(0, 1), torch.tensor([True, False]))


def pair(**extra: Any) -> PreferencePairs:
    return PreferencePairs(arms(0), arms(1), **extra)


def learn(policy: Any = POLICY, data: Any = PAIRS, loss: Any = DPO, **options: Any) -> Any:
    options = {"config": PreferenceConfig(), "reference": REFERENCE} | options
    return next(preference(policy, data, loss, options.pop("config"), **options))


def judged(**options: Any) -> Any:
    return learn(data=VERDICTS, loss=partial(kto, beta=0.1), **options)


def judged_alone(**extra: Any) -> Any:
    return learn(data=Labelled(VERDICTS.choices, VERDICTS.desirable, **extra), loss=KTO, reference=None)


def of_points(logp: Any, desirable: Any, kl: Any) -> Any:
    return (logp - kl) * desirable


def online(policy: Any = POLICY, env: Any = None, loss: Any = DPO, **options: Any) -> Any:
    options = {"config": OnlineConfig(updates=1), "reference": REFERENCE} | options
    env = Bandit(torch.zeros(2), batch_size=4) if env is None else env
    return next(online_preference(policy, env, loss, options.pop("config"), **options))


def writer() -> Any:
    return random_policy("gpt2", vocab_size=4)


Case = tuple[Callable[[], Any], type[Exception], str]

CASES: dict[str, Case] = {
    # losses
    "a beta below 0": (
        lambda: dpo(TWO, TWO, TWO, TWO, beta=-1),
        ValueError,
        r"dpo: beta must lie in \(0, inf\), got -1",
    ),
    "a beta of NaN": (lambda: learn(loss=partial(hinge, beta=NAN)), ValueError, "hinge: beta must lie in"),
    "a beta in words": (
        lambda: learn(loss=partial(dpo, beta="low")),
        TypeError,
        "dpo: beta must be a number, got 'low'",
    ),
    "a tau of 0": (
        lambda: learn(loss=partial(ipo, tau=0)),
        ValueError,
        r"ipo: tau must lie in \(0, inf\), got 0",
    ),
    "labels believed to be wrong": (
        lambda: learn(loss=partial(cdpo, beta=1.0, label_smoothing=0.6)),
        ValueError,
        r"cdpo: label_smoothing must lie in \[0, 0.5\], got 0.6",
    ),
    "labels that are tosses": (
        lambda: learn(loss=partial(rdpo, beta=1.0, label_smoothing=0.5)),
        ValueError,
        r"rdpo: label_smoothing must lie in \[0, 0.5\), got 0.5",
    ),
    "a margin below 0": (
        lambda: simpo(TWO, TWO, beta=1.0, gamma=-1),
        ValueError,
        r"simpo: gamma must lie in \[0, inf\)",
    ),
    "a distance below 0": (
        lambda: slic(TWO, TWO, delta=-1),
        ValueError,
        r"slic: delta must lie in \[0, inf\)",
    ),
    "a lambda below 0": (lambda: orpo(TWO, TWO, lam=-1), ValueError, r"orpo: lam must lie in \[0, inf\)"),
    "probabilities above 1": (
        lambda: orpo(TWO + 5, TWO, lam=1.0),
        ValueError,
        r"orpo: the mean log-probability must lie in \[-inf, 0.001\], got 4.0",
    ),
    "probabilities of NaN": (
        lambda: orpo(TWO, TWO * NAN, lam=1.0),
        ValueError,
        "mean log-probability must lie in",
    ),
    "a list of log-probabilities": (
        lambda: dpo([1.0], TWO, TWO, TWO, beta=1.0),  # type: ignore[arg-type]
        TypeError,
        "dpo: chosen_logp must be a tensor, got list",
    ),
    "one average for two": (
        lambda: simpo(TWO, ONE, beta=1.0, gamma=0.0),
        ValueError,
        "simpo: shapes must be equal",
    ),
    "verdicts of 0 and 1": (
        lambda: kto(TWO, TWO, torch.ones(2), 0.0, beta=1.0),
        TypeError,
        "kto: desirable must be boolean, got torch.float32",
    ),
    "a weight below 0": (
        lambda: learn(data=VERDICTS, loss=partial(KTO, undesirable_weight=-1)),
        ValueError,
        r"kto: undesirable_weight must lie in \[0, inf\), got -1",
    ),
    "a reference point each": (
        lambda: judged(kl=lambda: TWO),
        ValueError,
        "kl must be one number for the whole batch",
    ),
    "a reference point of NaN": (
        lambda: judged(kl=lambda: NAN),
        ValueError,
        "kto: kl must lie in .*, got nan",
    ),
    "a reference point in words": (
        lambda: judged(kl=lambda: "far"),
        TypeError,
        "kto: kl must be a number, got 'far'",
    ),
    "weights of another batch": (
        lambda: mismatched_kl(TWO, TWO, torch.ones(3)),
        ValueError,
        "mismatched_kl: shapes must be equal, got logp .2., ref_logp .2., weight .3.",
    ),
    # what to learn with
    "a loss by its name": (
        lambda: learn(loss="dpo"),
        TypeError,
        "preference: loss must be a function of log-probabilities, got 'dpo'",
    ),
    "a loss already computed": (
        lambda: learn(loss=TWO),
        TypeError,
        "loss must be a function of log-probabilities, got ten",
    ),
    "a loss without its beta": (
        lambda: learn(loss=dpo),
        TypeError,
        r"preference: dpo still needs beta; bind it, as in functools.partial\(dpo, beta=...\)",
    ),
    "a loss of something else": (
        lambda: learn(loss=lambda advantages: advantages),
        TypeError,
        "<lambda> still needs advantages; bind it",
    ),
    "a loss of one number": (
        lambda: learn(loss=lambda chosen_logp: chosen_logp.sum(), reference=None),
        ValueError,
        r"preference: what <lambda> returns must have shape \[2\], got \[\]",
    ),
    "a loss of nothing": (
        lambda: learn(loss=lambda chosen_logp: None, reference=None),
        TypeError,
        "preference: what <lambda> returns must be a tensor, got NoneType",
    ),
    "a loss that is detached": (
        lambda: learn(loss=lambda chosen_logp: chosen_logp.detach(), reference=None),
        ValueError,
        "preference: what <lambda> returns does not depend on the policy",
    ),
    "a loss of NaN": (
        lambda: learn(loss=lambda chosen_logp: chosen_logp * NAN, reference=None),
        FloatingPointError,
        r"preference, update 0: the loss \(nan\) or its gradient is not finite; the policy is as it was",
    ),
    "no policy": (
        lambda: learn(policy=None),
        TypeError,
        "preference: policy must have evaluate, got NoneType",
    ),
    "a frozen policy": (
        lambda: learn(policy=REFERENCE),
        ValueError,
        "the policy has no parameter that trains; was it made by frozen_copy",
    ),
    "a policy as its own reference": (
        lambda: learn(reference=POLICY),
        ValueError,
        r"the reference is the policy itself and would follow it; pass frozen_copy\(policy\)",
    ),
    "no reference": (
        lambda: learn(reference=None),
        ValueError,
        "data need a reference for dpo: pass reference=frozen_copy.policy., or with_reference",
    ),
    "a needless reference": (
        lambda: learn(loss=ORPO),
        ValueError,
        "preference: orpo knows no reference; leave reference out",
    ),
    "a distance for a loss without one": (
        lambda: learn(kl=lambda: 0.0),
        ValueError,
        "kl must be a function without arguments, for a loss that takes kl",
    ),
    "a distance that is a number": (
        lambda: judged(kl=0.5),
        ValueError,
        "kl must be a function without arguments",
    ),
    "a seed": (
        lambda: learn(generator=0),
        TypeError,
        "preference: generator must be a Generator or None, got 0",
    ),
    "settings in a dict": (
        lambda: learn(config={"updates": 1}),
        TypeError,
        "config must be a PreferenceConfig, got {'upd",
    ),
    "settings of another trainer": (
        lambda: learn(config=SFTConfig()),
        TypeError,
        "config must be a PreferenceConfig, got SFT",
    ),
    "a likelihood below 0": (
        lambda: PreferenceConfig(likelihood=-1),
        ValueError,
        r"likelihood must lie in \[0, inf\), got -1",
    ),
    "no updates": (
        lambda: PreferenceConfig(updates=0),
        ValueError,
        "PreferenceConfig: updates must be at least 1, got 0",
    ),
    # what to learn from
    "pairs in a list": (
        lambda: learn(data=[PAIRS]),
        TypeError,
        "preference: data must be PreferencePairs or Labelled, got list",
    ),
    "comparisons for KTO": (
        lambda: learn(loss=KTO),
        ValueError,
        r"data are PreferencePairs, which kto cannot learn from; data.unpaired\(\) makes verdicts of them",
    ),
    "verdicts for DPO": (
        lambda: learn(data=VERDICTS),
        ValueError,
        "data are Labelled, which dpo cannot learn from",
    ),
    "verdicts held out": (
        lambda: learn(held_out=VERDICTS),
        ValueError,
        "preference: held_out are Labelled, which dpo",
    ),
    "nothing held out": (
        lambda: learn(held_out=PAIRS[:0]),
        ValueError,
        "preference: held_out: there are no rows",
    ),
    "no comparisons": (lambda: learn(data=PAIRS[:0]), ValueError, "preference: data: there are no rows"),
    "one verdict alone": (
        lambda: learn(data=VERDICTS[:1], loss=KTO),
        ValueError,
        "mismatched responses come from other rows, and there is only one",
    ),
    "a response without a token": (
        lambda: learn(
            data=PreferencePairs(
                arms(0, 1), Choices(PAIRS.chosen.obs, PAIRS.chosen.actions, torch.tensor([[True], [False]]))
            )
        ),
        ValueError,
        "preference: data: row 1 has a response without a choice",
    ),
    "a probability of 2": (
        lambda: learn(data=pair(prob=torch.tensor([2.0]))),
        ValueError,
        r"data: prob must be probabilities, in \[0, 1\]",
    ),
    "a probability of NaN": (
        lambda: learn(data=pair(prob=ONE * NAN)),
        ValueError,
        "data: prob must be probabilities",
    ),
    "a comparison that counts less than nothing": (
        lambda: learn(data=pair(weight=ONE)),
        ValueError,
        "data: weight must be finite numbers of at least 0",
    ),
    "a comparison that counts without end": (
        lambda: learn(data=pair(weight=-ONE / 0)),
        ValueError,
        "data: weight must be finite numbers of at least 0",
    ),
    "comparisons that do not count": (
        lambda: learn(data=pair(weight=ONE * 0)),
        ValueError,
        "data: every weight is 0, nothing would be learned",
    ),
    "a reference beside cached numbers": (
        lambda: learn(data=with_reference(REFERENCE, PAIRS)),
        ValueError,
        "preference: data keep a reference's log-probabilities .ref_logp. already; leave reference out",
    ),
    "two references to what is held out": (
        lambda: learn(held_out=with_reference(REFERENCE, PAIRS)),
        ValueError,
        "preference: held_out keep a reference's log-probabilities",
    ),
    "measured with two references": (
        lambda: measure(POLICY, with_reference(REFERENCE, PAIRS), DPO, reference=REFERENCE),
        ValueError,
        "measure: data keep a reference's log-probabilities",
    ),
    "cached numbers without their mismatched responses": (
        lambda: judged_alone(ref_logp=torch.zeros(2, 2)),
        ValueError,
        "data keep a reference's log-probabilities, but not of which mismatched responses",
    ),
    "a mismatched response without a choice": (
        lambda: judged_alone(mismatched=arms(1, 0, chosen=False), ref_logp=torch.zeros(2, 2)),
        ValueError,
        "data: row 0 has a mismatched response without a choice",
    ),
    "a reference point that nothing tells": (
        lambda: learn(data=VERDICTS, loss=of_points, reference=None),
        ValueError,
        "data: of_points takes kl and no reference; pass kl, a function without arguments",
    ),
    "a cached NaN": (
        lambda: learn(data=pair(ref_logp=torch.tensor([[NAN, 0.0]])), reference=None),
        ValueError,
        "data: the reference's log-probabilities must be finite",
    ),
    "a cache of another shape": (
        lambda: pair(ref_logp=ONE),
        ValueError,
        r"ref_logp must have shape \[1, 2\], got \[1\]",
    ),
    "a share of 2": (
        lambda: Labelled(arms(0), ONE + 3),
        ValueError,
        "desirable must be True or False, or a share",
    ),
    "verdicts in a list": (
        lambda: Labelled(arms(0), [True]),  # type: ignore[arg-type]
        TypeError,
        "Labelled: desirable must be a tensor, got list",
    ),
    "mismatches for some": (
        lambda: Labelled(arms(0), ONE > 0, mismatched=arms(0, 1)),
        ValueError,
        "Labelled: mismatched must have 1 rows, got 2",
    ),
    "an arm that is not there": (
        lambda: learn(data=PreferencePairs(arms(0), arms(5))),
        ValueError,
        "actions must lie in 0..1, got 5; does the policy fit this world",
    ),
    "a writer for arms": (
        lambda: learn(policy=writer(), reference=frozen_copy(writer())),
        TypeError,
        "CausalLMPolicy: obs must be a Prompt, got tensor",
    ),
    "text against arms": (
        lambda: learn(data=PreferencePairs(text(), arms(0))),
        TypeError,
        "PreferencePairs: both sides must be text, or neither",
    ),
    "a reference for a list": (
        lambda: with_reference(REFERENCE, [1]),
        TypeError,
        "with_reference: data must be",
    ),  # type: ignore[arg-type]
    "measuring verdicts by DPO": (
        lambda: measure(POLICY, VERDICTS, DPO, reference=REFERENCE),
        ValueError,
        "measure: data are Labelled, which dpo cannot learn from",
    ),
    "measuring without a reference": (
        lambda: measure(POLICY, PAIRS, DPO),
        ValueError,
        "measure: data need a reference for dpo",
    ),
    # online
    "offline settings online": (
        lambda: online(config=PreferenceConfig()),
        TypeError,
        "online_preference: config must be an OnlineConfig, got Pref",
    ),
    "a temperature for a rater": (lambda: online(rater=0.1), TypeError, "rater must be a Rater, got 0.1"),
    "no reference online": (
        lambda: online(reference=None),
        ValueError,
        r"online_preference: dpo\(beta=0.1\) needs a reference: pass frozen_copy\(policy\), or refresh=True",
    ),
    "a needless reference online": (
        lambda: online(loss=ORPO),
        ValueError,
        r"orpo\(lam=0.1\) knows no reference",
    ),
    "two references": (
        lambda: online(config=OnlineConfig(refresh=True)),
        ValueError,
        "with refresh the policy itself is each round's reference; leave reference out",
    ),
    "verdicts online": (
        lambda: online(loss=KTO),
        ValueError,
        "does not learn from comparisons, and those are what is drawn",
    ),
    "itself as reference online": (
        lambda: online(reference=POLICY),
        ValueError,
        "the reference is the policy itself",
    ),
    "a world of episodes": (
        lambda: online(env=chain(5), policy=TabularPolicy(5, 2)),
        ValueError,
        "online_preference: TabularMDP cannot begin several rows alike",
    ),
    "no rounds": (
        lambda: OnlineConfig(updates=0),
        ValueError,
        "OnlineConfig: updates must be at least 1, got 0",
    ),
    "a precision that is none": (
        lambda: OnlineConfig(precision="fp8"),
        ValueError,
        "OnlineConfig: precision must be one of 'float32', 'bfloat16', got 'fp8'",
    ),
    # closed forms
    "IPO without a price": (
        lambda: ipo_optimum(HALF, SURE, tau=0),
        ValueError,
        r"ipo_optimum: tau must lie in \(0, inf\)",
    ),
    "two laws of pairs": (
        lambda: ipo_optimum(HALF, SURE, HALF, tau=1.0, weight=SURE),
        ValueError,
        "pairs are drawn from mu or by weight, give one of them",
    ),
    "nothing compared": (
        lambda: ipo_optimum(HALF, SURE, tau=1.0, weight=SURE * 0),
        ValueError,
        "ipo_optimum: no chain of comparisons connects all responses",
    ),
    "a reference of 3": (
        lambda: ipo_optimum(HALF * 6, SURE, tau=1.0),
        ValueError,
        "ref must be one distribution",
    ),
    "certainty under SimPO": (
        lambda: simpo_gap(1.0, beta=1.0, gamma=0.0),
        ValueError,
        r"simpo_gap: prob must lie in \(0, 1\), got 1.0",
    ),
    "KTO beyond its theory": (
        lambda: kto_optimum(HALF, HALF, beta=2.0),
        ValueError,
        r"beta must lie in \(0, 1\], got 2.0",
    ),
    "nothing worth keeping": (
        lambda: kto_optimum(HALF, HALF, beta=1.0),
        ValueError,
        "kto_optimum: no response is desirable often enough to be kept",
    ),
    "shares of 2": (
        lambda: kto_optimum(HALF, HALF + 2, beta=1.0),
        ValueError,
        "desirable must be shares, in .0, 1.",
    ),
    "shown less than never": (
        lambda: kto_optimum(HALF, HALF, -HALF, beta=1.0),
        ValueError,
        "mu says how often",
    ),
    "a weight of less than nothing": (
        lambda: kto_optimum(HALF, HALF, beta=1.0, desirable_weight=-1.0),
        ValueError,
        r"kto_optimum: desirable_weight must lie in \[0, inf\), got -1.0",
    ),
    "a distance of NaN": (
        lambda: kto_optimum(HALF, HALF, beta=1.0, kl=NAN),
        ValueError,
        "kto_optimum: kl must lie in",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_sentence(name: str) -> None:
    call, kind, sentence = CASES[name]
    before = POLICY.logits.detach().clone()
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert caught.type is kind
    assert "\n" not in str(caught.value).strip()
    assert caught.value.__cause__ is None and (
        caught.value.__suppress_context__ or not caught.value.__context__
    )
    assert POLICY.logits.equal(before) and not REFERENCE.logits.requires_grad


@pytest.mark.parametrize(
    ("loss", "data", "sentence"),
    [
        (partial(dpo, beta=0.2), PAIRS, "was begun with loss.*dpo.beta=0.1"),
        (partial(ipo, tau=0.1), PAIRS, "was begun with loss.*dpo.beta=0.1"),
        (DPO, PAIRS[[1, 0]], "was begun with checksum of the data"),
        (
            DPO,
            PreferencePairs(PAIRS.chosen, PAIRS.rejected, prob=HALF),
            "was begun with checksum of the data",
        ),
    ],
)
def test_a_checkpoint_of_another_run(loss: Any, data: Any, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    begun, policy = TabularPolicy(1, 2), TabularPolicy(1, 2)
    list(preference(begun, PAIRS, DPO, PreferenceConfig(updates=2), reference=REFERENCE, checkpoint=path))
    with pytest.raises(ValueError, match=sentence):
        next(
            preference(policy, data, loss, PreferenceConfig(updates=2), reference=REFERENCE, checkpoint=path)
        )
    assert not policy.logits.any()


def test_a_batch_in_which_nothing_counts_teaches_nothing() -> None:
    """Rows of weight 0 may fill a whole batch: a step of 0, not of NaN."""
    pairs, policy = (
        PreferencePairs(PAIRS.chosen, PAIRS.rejected, weight=torch.tensor([0.0, 1.0])),
        TabularPolicy(1, 2),
    )
    config = PreferenceConfig(batch_size=1, learning_rate=0.1, schedule="constant")
    records = list(preference(policy, pairs, DPO, config, reference=REFERENCE))
    assert sorted(record["loss"] for record in records)[0] == 0 and policy.probs()[0, 1] > 0.5
    verdicts = Labelled(VERDICTS.choices, VERDICTS.desirable, weight=torch.tensor([0.0, 1.0]))
    records = list(preference(policy, verdicts, KTO, config, reference=REFERENCE))
    assert all(record["loss"] >= 0 for record in records)
