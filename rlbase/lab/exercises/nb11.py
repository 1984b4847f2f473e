"""Exercises of notebook 11: imitation, what counts in its loss, and what it leaves undone."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice
from rlbase.losses import exact_kl

NOTEBOOK = "11_supervised_fine_tuning"


def _response(prompt_lengths: Tensor, lengths: Tensor, width: int) -> Tensor:
    place = torch.arange(width)
    return (place >= prompt_lengths[:, None]) & (place < lengths[:, None])


def _rows(*rows: tuple[int, int], width: int) -> Case:
    prompts, lengths = torch.tensor(rows).T
    label = ", ".join(f"{n} of {p}+{n - p}" for p, n in rows[:2]) + f" tokens in a table of {width}"
    return Case(label, {"prompt_lengths": prompts, "lengths": lengths, "width": width})


response_mask = Exercise(
    "response-mask", NOTEBOOK, "which tokens are imitated", *(2, 5, 6),
    "Rows are written as prompt, response with its EOS, padding, and filled up on the right to `width` columns. Write "
    "`response_mask(prompt_lengths, lengths, width)`: True `[B, width]` on the tokens to imitate. `prompt_lengths` "
    "`[B]` counts the prompt's tokens, `lengths` `[B]` those of prompt and response together, EOS included.",
    ("Everything that the demonstrator wrote is imitated, and nothing else. The EOS was written, too.",
     "Column t of row b is True where prompt_lengths[b] <= t < lengths[b].",
     "t = torch.arange(width); return (t >= prompt_lengths[:, None]) & (t < lengths[:, None])"),
    "right for prompts and responses of every length, the EOS included and the padding not.",
    reference=_response,
    cases=(_rows((3, 6), (2, 7), (4, 5), width=8), _rows((1, 4), (2, 4), width=4), _rows((5, 7), (1, 2), width=9)),
    mistakes=(
        ("The prompt is in the mask: nobody demonstrated it, it was asked.",
         lambda p, n, w: (torch.arange(w) < n[:, None])),
        ("The padding is in the mask: a row ends after its EOS.", lambda p, n, w: torch.arange(w) >= p[:, None]),
        ("The EOS is missing: it is the last token that was written, and without it the model never learns to stop.",
         lambda p, n, w: _response(p, n - 1, w)),
        ("One column too far: the first padding token is in the mask.", lambda p, n, w: _response(p, n + 1, w)),
        ("The first token of the response is missing: columns are counted from 0.",
         lambda p, n, w: _response(p + 1, n, w)),
        ("The last token of the prompt is in the mask: columns are counted from 0.",
         lambda p, n, w: _response(p - 1, n, w)),
        ("`lengths` counts prompt and response together: you added the prompt a second time.",
         lambda p, n, w: _response(p, p + n, w)),
        ("This is the opposite: True is what counts.", lambda p, n, w: ~_response(p, n, w)),
        ("The mask is shifted by one: mark the tokens themselves; who predicts them is the loss's business.",
         lambda p, n, w: _response(p - 1, n - 1, w)),
        ("You marked the prompt: the response is what was demonstrated.",
         lambda p, n, w: torch.arange(w) < p[:, None]),
    ),
)


def _each(logits: Tensor, tokens: Tensor) -> Tensor:
    """Surprise at every token but the first, ``[B, S - 1]``."""
    return -logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def _sft(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    return _each(logits, tokens)[mask[:, 1:]].mean()


def _unshifted(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0][mask].mean()


def _by_row(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    return (torch.where(mask[:, 1:], _each(logits, tokens), 0).sum(1) / mask[:, 1:].sum(1)).mean()


def _text(seed: int, rows: tuple[tuple[int, int], ...], width: int, scale: float = 2.0, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(len(rows), width, 7, generator=g)
    tokens = torch.randint(7, (len(rows), width), generator=g)
    prompts, lengths = torch.tensor(rows).T
    label = f"{len(rows)} rows of at most {width} tokens" + (f", logits of ±{scale:,.0f}" if extreme else "")
    return Case(label, {"logits": logits, "tokens": tokens, "mask": _response(prompts, lengths, width)}, extreme)


sft_loss = Exercise(
    "sft-loss", NOTEBOOK, "the loss of imitation", *(3, 5, 10),
    "Write `sft_loss(logits, tokens, mask)`: one number, the mean of $-\\log\\pi$ over all tokens that `mask` `[B, S]` "
    "marks, one mean over the whole batch. `tokens` `[B, S]` are prompt, response and padding; position i of `logits` "
    "`[B, S, V]` has read the tokens up to i and predicts token i + 1. No prompt is empty.",
    ("A token's logits stand one position before it; the mask stands on the token itself.",
     "loss = sum of -log pi(token t | before) over marked t, divided by the number of marked t.",
     "logp = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]; return -logp[mask[:, 1:]].mean()"),
    "right for three batches, gradients and huge logits included.",
    reference=_sft,
    cases=(
        _text(1, ((2, 6), (3, 5), (1, 7)), 8), _text(2, ((1, 3), (4, 6)), 6), _text(3, ((2, 4), (2, 7)), 7),
        _text(4, ((2, 5), (1, 3)), 6, 1e4, extreme=True),
    ),
    mistakes=(
        ("No shift: position i predicts token i + 1, so read logits[:, :-1] for tokens[:, 1:].", _unshifted),
        ("The mask was cut on the wrong side: it stands on tokens, so mask[:, 1:] belongs to tokens[:, 1:].",
         lambda x, t, m: _each(x, t)[m[:, :-1]].mean()),
        ("The mask was cut on the wrong side: it stands on tokens, so mask[:, 1:] belongs to tokens[:, 1:].",
         lambda x, t, m: torch.where(m[:, :-1], _each(x, t), 0).sum() / m.sum()),
        ("Nothing is masked: prompt and padding are in the loss.", lambda x, t, m: _each(x, t).mean()),
        ("The prompt is in the loss: it ends where the mask begins.",
         lambda x, t, m: _each(x, t)[(m.flip(1).cumsum(1).flip(1) > 0)[:, 1:]].mean()),
        ("You averaged each row first: short responses then count more. One mean over all marked tokens.", _by_row),
        ("You divided by all tokens: divide by the marked ones.",
         lambda x, t, m: torch.where(m[:, 1:], _each(x, t), 0).mean()),
        ("You divided by the number of rows: divide by the number of marked tokens.",
         lambda x, t, m: torch.where(m[:, 1:], _each(x, t), 0).sum() / len(t)),
        ("You added up the tokens: take the mean.", lambda x, t, m: _each(x, t)[m[:, 1:]].sum()),
        ("The sign is flipped: the loss is the surprise, minus the log-probability.", lambda x, t, m: -_sft(x, t, m)),
        ("These are raw logits: normalise with log_softmax.",
         lambda x, t, m: -x[:, :-1].gather(-1, t[:, 1:, None])[..., 0][m[:, 1:]].mean()),
        ("These are probabilities: take their logarithm.",
         lambda x, t, m: -(-_each(x, t)).exp()[m[:, 1:]].mean()),
        ("log(softmax(...)) is -infinity where a probability underflows: use log_softmax.",
         lambda x, t, m: -x[:, :-1].softmax(-1).log().gather(-1, t[:, 1:, None])[..., 0][m[:, 1:]].mean()),
    ),
    gradient=("logits",),
)


def _excess(demo: Tensor, logp: Tensor) -> Tensor:
    return (torch.xlogy(demo, demo) - demo * logp).sum()


def _laws() -> tuple[Case, ...]:
    def law(seed: int, n: int) -> Tensor:
        return torch.randn(n, generator=torch.Generator().manual_seed(seed)).softmax(0)

    half, quarter = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    never = torch.tensor([0.7, 0.0, 0.3])
    return (
        Case("(1/2, 1/2) imitated by (1/4, 3/4)", {"demo": half, "logp": quarter.log()}),
        Case("six responses", {"demo": law(1, 6), "logp": law(2, 6).log()}),
        Case("four responses", {"demo": law(3, 4), "logp": law(4, 4).log()}),
        Case("a response that is never demonstrated", {"demo": never, "logp": law(5, 3).log()}, extreme=True),
    )


excess_loss = Exercise(
    "excess-loss", NOTEBOOK, "what is left to learn", *(2, 4, 8),
    "Write `excess_loss(demo, logp)`: one number, by how much the expected loss of imitation is above the lowest that "
    "any policy can reach. `demo` `[N]` is the demonstrator's probability of each of all N responses, `logp` `[N]` "
    "the policy's log-probability of it. A response may have `demo` 0: it then adds nothing, where log 0 would.",
    ("The expected loss is the cross-entropy; the best possible policy is the demonstrator, whose loss is the entropy.",
     "excess = sum of demo (log demo - logp), which is KL(demo || pi); 0 log 0 counts as 0.",
     "return (torch.xlogy(demo, demo) - demo * logp).sum()"),
    "right, the direction included, and finite where a response is never demonstrated.",
    reference=_excess, cases=_laws(),
    mistakes=(
        ("This is the whole loss: subtract the lowest possible one, the demonstrator's own entropy.",
         lambda d, x: -(d * x).sum()),
        ("The direction is flipped: the demonstrator writes the responses, so its probabilities are the weights.",
         lambda d, x: exact_kl(x, d.log())),
        ("The sign is flipped: nobody's loss is below the demonstrator's.", lambda d, x: -_excess(d, x)),
        ("The entropy was added: it is the floor, subtract it.",
         lambda d, x: -(d * x).sum() - torch.xlogy(d, d).sum()),
        ("You subtracted the policy's entropy: the floor is the demonstrator's.",
         lambda d, x: -(d * x).sum() + (x.exp() * x).sum()),
        ("The weights are missing: every response counts by how often it is demonstrated.",
         lambda d, x: (d.log() - x).sum()),
        ("You averaged over responses: add up, the weights are the average.", lambda d, x: _excess(d, x) / len(d)),
        ("You did not add up the responses: one number is asked for.", lambda d, x: torch.xlogy(d, d) - d * x),
        ("`logp` is a logarithm already: do not take it again.", lambda d, x: (d * (d.log() - x.exp().log1p())).sum()),
        ("0 log 0 became NaN: a response that is never demonstrated adds nothing (torch.xlogy knows).",
         lambda d, x: (d * (d.log() - x)).sum()),
    ),
    gradient=("logp",),
)

predict_bad_demos = Exercise(
    "predict-bad-demos", NOTEBOOK, "one rude demonstration in ten", *(2, 5, 3),
    "Of a thousand demonstrations, 100 are rude: two of the ten people who wrote them were having a bad week. The "
    "model is fine-tuned until the loss no longer falls. How rude is it? **a)** hardly ever: the polite nine tenths "
    "outvote the rest **b)** about one answer in ten **c)** more than that: rudeness is easier to learn **d)** it "
    "depends on how good the demonstrations are on average. Set `prediction` to a letter.",
    ("What does the loss compare the policy with?",
     "At its minimum the excess loss KL(demo || pi) is 0.",
     "KL(demo || pi) = 0 only where pi = demo, rude tenth and all."),
    "the policy that fits best is the demonstrator, faults included.",
    judge=choice(
        "b",
        a="Nothing votes here. The loss is lowest where the policy *is* the demonstrators' mixture, rude tenth too.",
        c="Something may be learned sooner than something else, but at the minimum the shares are those of the data.",
        d="No number in the loss says how good an answer is, so that no average of it can matter.",
    ),
)

EXERCISES = (response_mask, sft_loss, excess_loss, predict_bad_demos)
