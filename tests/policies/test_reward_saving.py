"""Reward models on disk: what was saved comes back, and what is torn or foreign gets one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlbase.policies import LMRewardModel, load_policy, load_reward_model, random_policy, with_lora
from rlbase.policies.load import reviews_folder
from rlbase.types import Prompt

WEIGHTS = "reward_model.safetensors"
ROWS = (
    Prompt(torch.tensor([[0, 3], [1, 2]]), torch.tensor([[False, True], [True, True]])),
    torch.tensor([[4, 1, 2], [3, 3, 0]]),
    torch.tensor([[True, True, True], [True, True, False]]),
)


def judge(architecture: str = "gpt2", seed: int = 0) -> LMRewardModel:
    policy = random_policy(architecture, vocab_size=5, seed=seed)
    model = LMRewardModel(policy, torch.Generator().manual_seed(seed))
    model.shift.fill_(0.7)
    model.scale.fill_(2.5)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    judge().save(tmp_path / "judge")
    return tmp_path / "judge"


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
def test_saved_reward_models_come_back_with_their_zero_and_unit(architecture: str, tmp_path: Path) -> None:
    model = judge(architecture)
    model.save(tmp_path)
    again = load_reward_model(tmp_path)
    assert torch.equal(again.score(*ROWS), model.score(*ROWS))
    assert (again.shift.item(), again.scale.item()) == pytest.approx((0.7, 2.5))
    assert again.context == model.context
    assert all(p.requires_grad for p in again.parameters())


def test_saving_again_replaces_and_leaves_nothing_behind(folder: Path) -> None:
    other = judge(seed=1)
    other.save(folder)
    assert torch.equal(load_reward_model(str(folder)).score(*ROWS), other.score(*ROWS))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]


def test_half_precision_halves_the_weights_but_not_zero_and_unit(tmp_path: Path) -> None:
    model = judge()
    model.save(tmp_path, dtype=torch.float16)
    assert next(model.parameters()).dtype == torch.float32  # the model itself is as it was
    written = load_file(tmp_path / WEIGHTS)
    halves = {name for name, x in written.items() if x.dtype == torch.float16}
    assert written.keys() - halves == {"shift", "scale"}
    again = load_reward_model(tmp_path)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.allclose(again.score(*ROWS), model.score(*ROWS), atol=2e-3)
    assert {p.dtype for p in load_reward_model(tmp_path, dtype=torch.bfloat16).parameters()} == {
        torch.bfloat16
    }
    assert load_reward_model(tmp_path, dtype=torch.bfloat16).scale.dtype == torch.float32


def test_loading_leaves_the_global_generator_alone(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_reward_model(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_adapters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LMRewardModel.save: low-rank adapters"):
        LMRewardModel(with_lora(random_policy("gpt2", vocab_size=5), rank=1)).save(tmp_path)


def change(**tensors: torch.Tensor) -> Callable[[Path], object]:
    return lambda folder: save_file({**load_file(folder / WEIGHTS), **tensors}, folder / WEIGHTS)


def torn(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def other_size(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "n_layer": 4}))


SPOILT: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), FileNotFoundError, "has no config.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, f"has no {WEIGHTS}"),
    "torn weights": (torn, ValueError, "torn or of another model"),
    "empty weights": (lambda f: (f / WEIGHTS).write_bytes(b""), ValueError, "torn or of another model"),
    "weights of another size": (other_size, ValueError, "torn or of another model"),
    "a tensor too many": (change(more=torch.ones(1)), ValueError, "torn or of another model"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), ValueError, "is no model's"),
    "unknown architecture": (
        lambda f: (f / "config.json").write_text('{"model_type": "gpt99"}'),
        ValueError,
        "is no model's",
    ),
    "unit of zero": (change(scale=torch.tensor(0.0)), ValueError, "no number"),
    "zero that is none": (change(shift=torch.tensor(float("nan"))), ValueError, "no number"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_folder_gets_one_sentence(case: str, folder: Path) -> None:
    spoil, kind, sentence = SPOILT[case]
    spoil(folder)
    with pytest.raises(kind, match=sentence) as caught:
        load_reward_model(folder)
    text = str(caught.value)
    assert text.startswith("load_reward_model: ") and text.endswith(".") and "\n" not in text
    assert caught.value.__cause__ is None


def test_policies_and_reward_models_are_not_taken_for_each_other(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"has no {WEIGHTS}, so it is no saved reward model"):
        load_reward_model(reviews_folder())
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_reward_model(tmp_path / "nowhere")
    for name in (str(folder), "reviews-reward"):
        with pytest.raises(ValueError, match="is a reward model; load_reward_model reads it"):
            load_policy(name)


def test_a_device_that_is_not_there_gets_one_sentence(folder: Path) -> None:
    with pytest.raises(ValueError, match="load_reward_model: device 'cuda:99' is not available"):
        load_reward_model(folder, device="cuda:99")
