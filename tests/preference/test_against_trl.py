"""Our losses and the loss code of TRL on the same numbers, to 1e-6 in float64; skipped where TRL is not installed.

TRL's own methods run here, on a model that returns log-probabilities we choose. Where TRL (1.16) and the papers
differ, and so TRL and we:

- IPO divides each log-ratio by its response's length; the paper's eq. 17 sums (``average=True`` here is TRL's way).
- ``label_smoothing`` does nothing to the loss ``sigmoid``: conservative DPO is no longer there. The code of CPO, which
  has no reference, still smooths.
- The margin of SimPO is divided by beta and multiplied again: ``simpo_gamma`` is the paper's gamma. (The code of
  SimPO's authors asks for the ratio gamma / beta instead.) CPO adds a likelihood term unless ``cpo_alpha=0``.
- ORPO's ``beta`` is the paper's lambda; the log-odds are computed in float32 whatever comes in, and a probability that
  rounds to 1 makes them infinite, so that two such responses give NaN. Its likelihood term counts the prompt's tokens
  too, which the paper's does not.
- KTO's mismatched responses are laid down once, before training, by turning each batch of the data set as it lies in
  the file; a last batch of one row meets itself. Ours are those of the row after, over the whole data set.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.losses import cdpo, dpo, hinge, ipo, kto, mismatched_kl, orpo, rdpo, simpo

if importlib.util.find_spec("trl") is None:
    pytest.skip("trl is not installed", allow_module_level=True)

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl import DPOTrainer, KTOTrainer  # pyright: ignore[reportMissingImports]
from trl.experimental.cpo import CPOTrainer  # pyright: ignore[reportMissingImports]
from trl.experimental.orpo import ORPOTrainer  # pyright: ignore[reportMissingImports]

Loss = Callable[..., Tensor]
B, T, PROMPT = 6, 7, 3
EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-6}


class Told(torch.nn.Module):
    """A model that was told what to say: the log-probabilities of ``[rows, T]`` tokens, 0 where none counts."""

    def __init__(self, logp: Tensor) -> None:
        super().__init__()
        self.logp = torch.nn.Parameter(logp)
        self.is_gradient_checkpointing = False

    def forward(self, labels: Tensor, **_: Any) -> SimpleNamespace:
        counted = labels[:, 1:] != -100
        logp, nothing = torch.where(counted, self.logp, 0), torch.zeros_like(self.logp)
        return SimpleNamespace(log_probs=logp, entropy=nothing, mean_logits=nothing, is_top1=counted)


def trainer(model: Told, reference: Told, **settings: Any) -> Any:
    """An object with the settings of a trainer and its real method, and none of its machinery."""
    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        gather_for_metrics=lambda x: x,
        gather=lambda x: x,
        unwrap_model=lambda x: x,
    )
    stub = SimpleNamespace(accelerator=accelerator, model=model, ref_model=reference, _tp_size=1)
    stub.args = SimpleNamespace(gradient_checkpointing_kwargs=None)
    stub._metrics, stub._total_train_tokens = {"train": defaultdict(list)}, 0
    for name, value in settings.items():
        setattr(stub, name, value)
    return stub


def told(rows: int, seed: int, spread: float = 2.0) -> Told:
    noise = torch.randn(
        rows, PROMPT + T - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return Told(-spread * noise.abs())


def batch_of(rows: int, seed: int) -> dict[str, Tensor]:
    lengths = torch.randint(1, T + 1, (rows, 1), generator=torch.Generator().manual_seed(seed))
    column = torch.arange(PROMPT + T)
    real = (column < PROMPT + lengths).long()
    return {
        "input_ids": torch.ones(rows, PROMPT + T, dtype=torch.long),
        "attention_mask": real,
        "completion_mask": real * (column >= PROMPT),
    }


def summed(model: Told, batch: dict[str, Tensor]) -> Tensor:
    return (model.logp * batch["completion_mask"][:, 1:]).sum(1)


def trl_pairs(kind: str, model: Told, reference: Told, batch: dict[str, Tensor], **more: Any) -> Tensor:
    settings = {"beta": 0.3, "label_smoothing": 0.0, "ld_alpha": None, "precompute_ref_logps": False} | more
    settings |= {"loss_types": [kind], "loss_weights": [1.0], "f_divergence_type": "reverse_kl"}
    settings |= {"use_weighting": False, "aux_loss_enabled": False}
    return DPOTrainer._compute_loss(trainer(model, reference, **settings), model, batch, False)


PAIRED: dict[
    str, tuple[str, Loss, float, bool]
] = {  # TRL's name, ours, TRL's label_smoothing, divided by length
    "dpo": ("sigmoid", functools.partial(dpo, beta=0.3), 0.0, False),
    "hinge": ("hinge", functools.partial(hinge, beta=0.3), 0.0, False),
    "ipo": ("ipo", functools.partial(ipo, tau=0.3), 0.0, True),
    "rdpo": ("robust", functools.partial(rdpo, beta=0.3, label_smoothing=0.2), 0.2, False),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRED)
def test_losses_of_comparisons(name: str, seed: int) -> None:
    theirs, ours, smoothing, average = PAIRED[name]
    model, reference, batch = told(2 * B, seed), told(2 * B, seed + 50), batch_of(2 * B, seed)
    value = trl_pairs(theirs, model, reference, batch, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(value, model.logp)
    scale = batch["completion_mask"].sum(1) if average else 1
    logp, ref = summed(model, batch) / scale, (summed(reference, batch) / scale).detach()
    own = ours(logp[:B], logp[B:], ref[:B], ref[B:]).mean()
    torch.testing.assert_close(own, value, **EXACT)
    torch.testing.assert_close(torch.autograd.grad(own, model.logp)[0], gradient, **EXACT)
    if average:  # as the paper has it, it is another number
        logp, ref = summed(model, batch), summed(reference, batch)
        assert (ours(logp[:B], logp[B:], ref[:B], ref[B:]).mean() - value).abs() > 1


def test_label_smoothing_is_dropped_from_the_sigmoid() -> None:
    model, reference, batch = told(2 * B, 2), told(2 * B, 52), batch_of(2 * B, 2)
    plain, smooth = (trl_pairs("sigmoid", model, reference, batch, label_smoothing=e) for e in (0.0, 0.2))
    assert plain.item() == smooth.item()
    logp, ref = summed(model, batch), summed(reference, batch)
    own = cdpo(logp[:B], logp[B:], ref[:B], ref[B:], beta=0.3, label_smoothing=0.2).mean()
    missing = 0.2 * 0.3 * (logp - ref).unflatten(0, (2, B)).mean(1)  # e log sigma(x) - e log sigma(-x) = e x
    torch.testing.assert_close(own - plain, missing[0] - missing[1], **EXACT)
    assert (own - plain).abs() > 1e-3


def test_conservative_loss_where_trl_still_has_it() -> None:
    """CPO's sigmoid with smoothing is conservative DPO against a reference that finds all alike."""
    model, batch, zero = told(2 * B, 1), batch_of(2 * B, 1), torch.zeros(B, dtype=torch.float64)
    logp = summed(model, batch)
    theirs = trl_cpo(logp[:B], logp[B:], loss_type="sigmoid", label_smoothing=0.2, beta=0.3)
    own = cdpo(logp[:B], logp[B:], zero, zero, beta=0.3, label_smoothing=0.2)
    torch.testing.assert_close(own, theirs, **EXACT)


def trl_cpo(chosen: Tensor, rejected: Tensor, **settings: Any) -> Tensor:
    stub = SimpleNamespace(alpha=0.0, accelerator=SimpleNamespace(device="cpu"), **settings)
    return CPOTrainer.cpo_loss(stub, chosen, rejected)[0]


@pytest.mark.parametrize("seed", range(3))
def test_simpo(seed: int) -> None:
    model, batch = told(2 * B, seed), batch_of(2 * B, seed)
    avg = summed(model, batch) / batch["completion_mask"].sum(1)
    theirs = trl_cpo(avg[:B], avg[B:], loss_type="simpo", label_smoothing=0.0, beta=2.5, simpo_gamma=0.8)
    own = simpo(avg[:B], avg[B:], beta=2.5, gamma=0.8)
    torch.testing.assert_close(own, theirs, **EXACT)
    one, two = (torch.autograd.grad(x.sum(), model.logp, retain_graph=True)[0] for x in (own, theirs))
    torch.testing.assert_close(one, two, **EXACT)
    ratio = simpo(avg[:B], avg[B:], beta=2.5, gamma=2.5 * 0.8)  # what a ratio of .8 would mean
    assert (ratio - theirs).abs().mean() > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_orpo(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = told(2 * B, seed), batch_of(2 * B, seed)
    avg = (summed(model, batch) / batch["completion_mask"].sum(1)).detach()
    stub = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    rounded = -ORPOTrainer.odds_ratio_loss(stub, avg[:B], avg[B:])[0]  # the trainer subtracts it
    assert rounded.dtype == torch.float32
    own = orpo(avg[:B], avg[B:], lam=0.4)
    torch.testing.assert_close(own.float(), rounded, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(Tensor, "float", lambda x: x)  # the same lines without the rounding
    theirs = -ORPOTrainer.odds_ratio_loss(stub, avg[:B], avg[B:])[0]
    torch.testing.assert_close(own, theirs, **EXACT)


def test_certainty_under_trls_orpo_is_not_a_number() -> None:
    stub = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    sure = torch.zeros(1, dtype=torch.float64)
    assert ORPOTrainer.odds_ratio_loss(stub, sure, sure)[0].isnan().all()
    assert orpo(sure, sure, lam=0.4).isfinite().all()


@pytest.mark.parametrize("seed", range(4))
def test_kto(seed: int) -> None:
    """Both reference points occur: seeds 0 and 1 near the reference, 2 and 3 above it."""
    generator = torch.Generator().manual_seed(seed)
    good = torch.rand(B, generator=generator) < 0.5
    model, other = told(B, seed), told(B, seed + 9, 1.0 if seed > 1 else 3.0)
    reference, other_reference = told(B, seed + 50), told(B, seed + 59)
    batch, apart = batch_of(B, seed), batch_of(B, seed + 7)
    ref_kl = summed(other_reference, apart).detach()
    full = batch | {"label": good, "ref_logps": summed(reference, batch).detach(), "ref_KL_logps": ref_kl}
    full |= {f"KL_{name}": x for name, x in apart.items()}
    settings = {"beta": 0.3, "desirable_weight": 1.2, "undesirable_weight": 0.7, "loss_type": "kto"}
    settings |= {"calculate_KL": True, "precompute_ref_logps": True, "aux_loss_enabled": False}
    stub = trainer(model, reference, **settings)
    stub._compute_kl_logps = lambda _, inputs: KTOTrainer._compute_kl_logps(stub, other, inputs)
    value = KTOTrainer._compute_loss(stub, model, full, False)
    point = mismatched_kl(summed(other, apart), ref_kl)
    assert (point > 0) == (seed > 1)
    weights = {"desirable_weight": 1.2, "undesirable_weight": 0.7}
    own = kto(summed(model, batch), full["ref_logps"], good, point, beta=0.3, **weights).mean()
    torch.testing.assert_close(own, value, **EXACT)
    one, two = (torch.autograd.grad(x, model.logp)[0] for x in (own, value))
    torch.testing.assert_close(one, two, **EXACT)


def test_ktos_mismatches_lie_as_the_file_does() -> None:
    """Seven rows in batches of three: each turned by itself, and the seventh row is its own mismatch."""
    datasets = pytest.importorskip("datasets")
    texts = [f"{k}." for k in range(7)]
    rows = datasets.Dataset.from_dict(
        {"prompt": ["p"] * 7, "completion": texts, "label": [True, False] * 3 + [True]}
    )

    def words(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    stub = SimpleNamespace(calculate_KL=True, _tokenizer=SimpleNamespace(eos_token="."))
    stub.desirable_weight = stub.undesirable_weight = 1.0
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, per_device_train_batch_size=3)
    done = KTOTrainer._prepare_dataset(stub, rows, words, args, "train")
    own, other = ([chr(x[0]) for x in done[name]] for name in ("completion_ids", "KL_completion_ids"))
    assert own == list("0123456") and other == list("2015346")
