"""Every patient is ill, every healthy twin is not, and what the diagnoses say of their traces is true, over seeds."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import pytest
import torch

from rlbase.lab.exercises.zoo import PATIENTS, WARDS, find
from rlbase.lab.exercises.zoo.common import length_of
from rlbase.lab.exercises.zoo.reward_shift import half_way
from rlbase.lab.trial import attempt
from rlbase.lab.zoo import Patient, Run, swapped

SEEDS = (0, 1)
# Every patient shows its symptom at least half as strongly again as the line says, every healthy run less than half.
MARGINS = (1.5, 0.5)


def by_name(patient: Patient) -> str:
    return patient.name


each = pytest.mark.parametrize("patient", PATIENTS, ids=by_name)


def records(number: int, seed: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    case = PATIENTS[number - 1].case(seed)
    return case["patient"].records, case["healthy"].records


@each
@pytest.mark.parametrize("seed", SEEDS)
def test_the_patient_is_ill_and_the_healthy_run_is_not_with_a_margin(patient: Patient, seed: int) -> None:
    case = patient.case(seed)
    assert patient.symptom(case["patient"]) > MARGINS[0] * patient.line
    assert patient.symptom(case["healthy"]) < MARGINS[1] * patient.line
    assert patient.is_sick(case["patient"]) and not patient.is_sick(case["healthy"])


@each
def test_traces_come_from_our_trainers_and_can_be_drawn(patient: Patient) -> None:
    for run in patient.case(0).values():
        assert [record["update"] for record in run.records] == list(range(1, len(run.records) + 1))
        assert all(math.isfinite(run.late(metric)) for metric in patient.metrics)
        assert run.samples and all(isinstance(line, str) for line in run.samples)
    assert set(patient.known) <= set(patient.metrics)


def test_a_part_is_put_back_also_when_the_run_fails() -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no")

    for patient in PATIENTS:
        with pytest.raises(RuntimeError, match="no"):
            patient.examine(broken)
    assert not patient_is_different_now()
    drawer = {"a": 1}
    with pytest.raises(KeyError), swapped(drawer, "b", 2):
        pass
    assert drawer == {"a": 1}


def patient_is_different_now() -> bool:
    return any(p.is_sick(p.examine(p.healthy)) for p in (PATIENTS[0], PATIENTS[11]))


@each
def test_a_repair_is_tried_in_the_run_itself_which_leaves_everything_as_it_was(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed gives the same run: once more for the sick part; `tests/lab/answers` do so for healthy ones."""
    dice, runs, examine = torch.get_rng_state(), [], Patient.examine
    modules = {name: dict(vars(m)) for name, m in sys.modules.items() if name.startswith("rlbase.train")}

    def noted(self: Patient, part: Any, seed: int = 0) -> Run:
        runs.append((part, seed, examine(self, part, seed)))
        return runs[-1][-1]

    case = patient.case(0)
    monkeypatch.setattr(Patient, "examine", noted)
    said = patient.relapse(patient.sick)
    assert said is not None and "the run is still sick" in said and patient.sign in said
    ((part, seed, again),) = runs
    assert part is patient.sick and seed == 0
    assert str(again.records) == str(case["patient"].records)  # as text: NaN is not equal to itself
    assert again.samples == case["patient"].samples
    assert torch.equal(dice, torch.get_rng_state())
    for name in ("train.reinforce", "train.prepare", "train.common", "train.ppo"):
        name = f"rlbase.{name}"
        assert all(vars(importlib.import_module(name))[k] is v for k, v in modules[name].items())
    monkeypatch.setattr(Patient, "examine", lambda self, part, seed=0: case["healthy"])
    assert patient.relapse(patient.healthy) is None


def test_the_zoo_says_who_is_there() -> None:
    assert [p.name for p in PATIENTS] == [f"patient-{i + 1}" for i in range(len(PATIENTS))]
    assert find("patient-3") is PATIENTS[2]
    with pytest.raises(
        ValueError, match="There is no patient 'patient-99'; they are called patient-1 to patient-13."
    ):
        find("patient-99")
    assert all("def sick(" in p.code() and '"""' in p.code() for p in PATIENTS)
    assert len({ward.FIX.name for ward in WARDS}) == len(PATIENTS) >= 10


def test_a_run_that_diverged_is_sick() -> None:
    patient = PATIENTS[0]
    assert patient.is_sick(Run([{"entropy": float("nan")}] * 5, []))


# What the diagnoses say of the traces. Numbers in a sentence are worth no more than the run behind them.


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_1_has_no_gradient_at_all(seed: int) -> None:
    ill, well = records(1, seed)
    assert max(r["grad_norm"] for r in ill) < 1e-6 and max(abs(r["loss"]) for r in ill) < 1e-6
    assert 0.3 < well[0]["grad_norm"] < 0.6
    assert abs(ill[-1]["entropy"] - math.log(4)) < 1e-4
    assert 0.75 < sum(r["reward_mean"] for r in ill) / len(ill) < 1.0  # (0 + 1 + 0.5 + 2) / 4 = 0.875


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_2_has_the_lower_loss(seed: int) -> None:
    ill, well = records(2, seed)
    assert max(r["loss"] for r in ill[20:]) < 0.05 < 0.3 < min(r["loss"] for r in well[20:])
    assert ill[-1]["letters in a response"] > 14 and well[-1]["letters in a response"] < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_3_understands_all_the_same(seed: int) -> None:
    ill, _ = records(3, seed)
    assert 0.8 < ill[-1]["loss"] < 1.0
    assert ill[-1]["held_out_loss"] < 0.15 and ill[-1]["right answers"] > 0.65


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_4_is_below_what_is_possible_on_new_rows_too(seed: int) -> None:
    ill, well = records(4, seed)
    assert ill[-1]["loss"] < 0.01 and ill[-1]["held_out_loss"] < 0.01
    assert ill[-1]["different letters in a response"] <= 1.05
    assert well[-1]["held_out_loss"] > 1.14


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_5_is_paid_less_than_the_scorer_gave_from_the_first_update_on(seed: int) -> None:
    ill, well = records(5, seed)
    assert ill[0]["score"] > 0 and ill[0]["reward_mean"] < ill[0]["score"] - 0.04
    assert all(abs(r["reward_mean"] - r["score"]) < 1e-6 for r in well)
    assert ill[-1]["score"] < 0.25 and well[-1]["score"] > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_6_reports_no_kl_while_the_text_dies(seed: int) -> None:
    ill, well = records(6, seed)
    assert max(abs(r["ref_k1"]) for r in ill) < 1e-5
    assert ill[0]["entropy"] > 1 and ill[-1]["entropy"] < 0.05
    assert well[-1]["entropy"] > 0.8 and well[-1]["ref_k1"] > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_patients_7_and_8_are_told_apart_by_scoring_twice(seed: int) -> None:
    (cold, well), (dice, calm) = records(7, seed), records(8, seed)
    assert cold[0]["ratio_max"] > 1.5 and dice[0]["ratio_max"] > 1.3
    assert cold[0]["ref_k1"] > 0.1  # though at the first update the reference is the policy
    assert max(r["scored twice, gap"] for r in cold) == 0 and min(r["scored twice, gap"] for r in dice) > 0.1
    for r in (*well, *calm):
        assert abs(r["ratio_max"] - 1) < 1e-4 and r["scored twice, gap"] == 0
    assert abs(well[0]["ref_k1"]) < 1e-4 and abs(calm[0]["ref_k1"]) < 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_9_has_the_better_episode_return(seed: int) -> None:
    ill, well = records(9, seed)
    assert ill[-1]["return_mean"] > 4.5 and abs(well[-1]["return_mean"] - 4) < 0.1
    assert all(3.5 < r["value of the start"] < 4.5 for r in ill[20:])
    assert 0.3 < ill[-1]["share that works on"] < 0.85 < well[-1]["share that works on"]
    assert well[-1]["value of the start"] > 9.5


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_10_is_moved_by_its_neighbours_and_its_labels_are_clean(seed: int) -> None:
    ill, well = records(10, seed)
    assert min(r["moved by its neighbours"] for r in ill) > 0.05
    assert max(r["moved by its neighbours"] for r in well) < 1e-4
    assert well[-1]["held_out_accuracy"] == 1 and ill[-1]["held_out_accuracy"] < 0.8
    assert sum(r["accuracy"] for r in ill[-10:]) / 10 < 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_11_has_a_policy_loss_where_there_can_be_none(seed: int) -> None:
    ill, well = records(11, seed)
    assert max(r["policy_loss"] for r in ill[:10]) < -0.5
    assert max(abs(r["policy_loss"]) for r in well) < 1e-5
    assert all(abs(r["ratio_max"] - 1) < 1e-4 for r in ill)
    assert ill[-1]["reward_mean"] > ill[0]["reward_mean"] + 0.3  # it learns, and nobody would look twice


def test_patient_12_is_a_run_without_a_leash() -> None:
    from rlbase.exact import kl, kl_optimum
    from rlbase.lab.exercises.zoo.k1_loss import BETA, REF, REWARD

    ill, well = records(12, 0)
    assert ill[-1]["ref_k1"] > 2.1 and ill[-1]["reward_mean"] > 1.95
    best = kl(kl_optimum(REF, REWARD, beta=BETA), REF)
    assert abs(best - 0.957) < 5e-4 and abs(well[-1]["ref_k1"] - best) < 0.02
    free = PATIENTS[11].examine(lambda logp, ref_logp: 0 * logp).records
    assert abs(free[-1]["reward_mean"] - ill[-1]["reward_mean"]) < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_13_falls_silent_whatever_the_seed(seed: int) -> None:
    ill, well = records(13, seed)
    assert 0.6 < ill[0]["reward_mean"] < 0.8
    assert ill[-1]["letters in a response"] < 0.1 and well[-1]["letters in a response"] > 7.5


def test_the_half_repair_of_patient_13_still_moves_zeros_and_falls_silent_too() -> None:
    rewards, mask = torch.tensor([[0.0, 0.0, 3.0]]), torch.ones(1, 3).bool()
    mean, std = 1.0, math.sqrt(3.0)  # of 0, 0, 3 with divisor 2: (1 + 1 + 4) / 2 = 3
    assert abs(half_way(rewards, mask)[0, 0].item() - mean * (1 - 1 / std)) < 1e-6
    assert all(PATIENTS[12].symptom(PATIENTS[12].examine(half_way, seed)) > 0.9 for seed in SEEDS)


def test_length_of_a_batch() -> None:
    class World:
        responses, batch_size = ["ab", ""], 2

    assert length_of(World()) == 1.0


# The way a repair is tried.


def endless(part: Any) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (lambda part: None, None),
        (lambda part: "still ill", "still ill"),
        (
            lambda part: part(),
            "With your function in it the run stopped at `return 1 / 0`: ZeroDivisionError",
        ),
        (lambda part: (_ for _ in ()).throw(NotImplementedError), "Not written yet"),
        (lambda part: sys.exit(3), "the run stopped: SystemExit: 3"),
    ],
)
def test_a_trial_is_one_sentence(test: Any, said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    def part() -> Any:
        print("noise")
        return 1 / 0

    found = attempt(test, part)
    assert found is None if said is None else said in str(found)
    assert capsys.readouterr().out == ""


def test_a_trial_ends() -> None:
    assert (
        attempt(endless, None, seconds=0.2) == "With your function in it the run had not ended after 0.2 s."
    )
