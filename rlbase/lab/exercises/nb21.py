"""Exercises of notebook 21: a response's log-probability, accuracy of an implicit reward, coverage, and rounds."""

# fmt: off

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number

NOTEBOOK = "21_dpo_in_practice"


# --- the log-probability of a response ------------------------------------------------------------

def _texts(seed: int, prompt: int, lengths: list[int], vocab: int, scale: float = 1.0) -> dict[str, Any]:
    luck, width = torch.Generator().manual_seed(seed), prompt + max(lengths)
    logits = scale * torch.randn(len(lengths), width, vocab, generator=luck, dtype=torch.float64)
    tokens = torch.randint(vocab, (len(lengths), width), generator=luck)
    at, ends = torch.arange(width), prompt + torch.tensor(lengths)[:, None]
    return {"logits": logits, "tokens": tokens, "response": (at >= prompt) & (at < ends)}


def _gathered(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(-1, tokens[..., None])[..., 0]


def _scored(logits: Tensor, tokens: Tensor) -> Tensor:
    return _gathered(logits.log_softmax(-1), tokens)


def _shifted(logits: Tensor, tokens: Tensor, response: Tensor) -> Tensor:
    return torch.where(response[:, 1:], _scored(logits[:, :-1], tokens[:, 1:]), 0)


def _response(logits: Tensor, tokens: Tensor, response: Tensor) -> Tensor:
    return _shifted(logits, tokens, response).sum(1)


def _without(response: Tensor, which: Callable[[Tensor], Tensor]) -> Tensor:
    place = torch.arange(response.shape[1]) == which(response)[:, None]
    return response & ~place


def _last_of(response: Tensor) -> Tensor:
    return response.shape[1] - 1 - response.flip(1).int().argmax(1)


response_logp = Exercise(
    "response-logp", NOTEBOOK, "the log-probability of a response", *(3, 5, 12),
    "Write `response_logp(logits, tokens, response)`: the log-probability `[B]` that a language model gives to each "
    "*response*, given its prompt. `tokens` `[B, L]` are prompt, response and padding one after another; `response` "
    "`[B, L]` is True on the tokens of the response, its end-of-text token included; `logits` `[B, L, V]` are what the "
    "model says at each position about the **next** token.",
    ("The logits at position t are about the token at position t + 1.",
     "log_softmax of logits[:, :-1], read at tokens[:, 1:], summed where response[:, 1:] is True.",
     "logp = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]; (logp * response[:, 1:]).sum(1)"),
    "right for prompts and responses of any length, padding or not, gradients included.",
    reference=_response,
    cases=(
        Case("a prompt of 3, responses of 2 and 4", _texts(0, 3, [2, 4], 5)),
        Case("a prompt of 1, responses of 5, 1 and 3", _texts(1, 1, [5, 1, 3], 7)),
        Case("logits of some thousands", _texts(2, 2, [3, 3], 4, scale=3e3), True),
    ),
    gradient=("logits",),
    mistakes=(
        ("You did not shift: the logits at position t are about the token at t + 1.",
         lambda x, t, m: torch.where(m, _scored(x, t), 0).sum(1)),
        ("The shift goes the wrong way: position t speaks of token t + 1, not of t - 1.",
         lambda x, t, m: torch.where(m[:, :-1], _scored(x[:, 1:], t[:, :-1]), 0).sum(1)),
        ("You shifted logits and tokens, but not the mask: it belongs to the tokens, response[:, 1:].",
         lambda x, t, m: torch.where(m[:, :-1], _scored(x[:, :-1], t[:, 1:]), 0).sum(1)),
        ("The prompt is counted too: it is given, nobody chose it.",
         lambda x, t, m: _response(x, t, m | (m.int().cumsum(1) == 0))),
        ("Everything is counted, prompt and padding too.", lambda x, t, m: _response(x, t, torch.ones_like(m))),
        ("Padding is counted too: a response ends where its mask ends.",
         lambda x, t, m: _response(x, t, m.int().cumsum(1) > 0)),
        ("You divided by the number of tokens: DPO's log-probability is a sum.",
         lambda x, t, m: _response(x, t, m) / m.sum(1)),
        ("These are raw logits: log_softmax makes log-probabilities of them.",
         lambda x, t, m: torch.where(m[:, 1:], _gathered(x[:, :-1], t[:, 1:]), 0).sum(1)),
        ("These are probabilities, added up: add their logarithms.",
         lambda x, t, m: torch.where(m[:, 1:], _scored(x[:, :-1], t[:, 1:]).exp(), 0).sum(1)),
        ("The last token is missing: that the response *ends* is a choice too.",
         lambda x, t, m: _response(x, t, _without(m, _last_of))),
        ("The first token of the response is missing: the last position of the prompt speaks of it.",
         lambda x, t, m: _response(x, t, _without(m, lambda r: r.int().argmax(1)))),
        ("log_softmax runs over the positions: it must run over the vocabulary, the last axis.",
         lambda x, t, m: torch.where(m[:, 1:], _gathered(x[:, :-1].log_softmax(1), t[:, 1:]), 0).sum(1)),
        ("You divided by the width of the batch: a response's log-probability is a sum.",
         lambda x, t, m: _shifted(x, t, m).mean(1)),
        ("You cut the last position off all three: a shift moves the logits *against* tokens and mask.",
         lambda x, t, m: torch.where(m, _scored(x, t), 0)[:, :-1].sum(1)),
        ("The sign is flipped: this is the surprise.", lambda x, t, m: -_response(x, t, m)),
        ("You reduced over the batch: one number for each response.", lambda x, t, m: _response(x, t, m).mean()),
    ),
)


# --- accuracy -------------------------------------------------------------------------------------

def _four(*rows: tuple[float, float, float, float]) -> dict[str, Tensor]:
    names = ("chosen_logp", "rejected_logp", "chosen_ref_logp", "rejected_ref_logp")
    return dict(zip(names, torch.tensor(rows, dtype=torch.float64).T, strict=True))


def _gap(w: Tensor, le: Tensor, rw: Tensor, rl: Tensor) -> Tensor:
    return (w - rw) - (le - rl)


def _share(x: Tensor, tie: float = 0.5) -> Tensor:
    return torch.where(x == 0, tie, (x > 0).double()).mean()


ranking_accuracy = Exercise(
    "ranking-accuracy", NOTEBOOK, "accuracy of an implicit reward", *(2, 4, 6),
    "Write `accuracy(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)`: in which share of the "
    "comparisons (one number) does the policy's *implicit reward* rank the chosen response above the rejected one? All "
    "are log-probabilities `[B]` of whole responses. A tie counts one half, so that a policy which has learned nothing "
    "is right half of the time.",
    ("Which of the two *gained* more on the reference? That, and not which is likelier, is the ranking.",
     "gap = (chosen - chosen_ref) - (rejected - rejected_ref): 1 if above 0, 1/2 if 0, else 0; then the mean.",
     "((gap > 0).double() + 0.5 * (gap == 0).double()).mean()"),
    "right, at the start of training too, where everything ties.",
    reference=lambda w, le, rw, rl: _share(_gap(w, le, rw, rl)),
    cases=(
        Case("six comparisons", _four((-4, -6, -3, -5), (-3, -7, -1, -2), (-5, -6, -4, -7), (-8, -4, -1, -4),
                                      (-2, -1, -2, -4), (-8, -6, -2, -4))),
        Case("five comparisons", _four((-4, -4, -7, -8), (-2, -3, -7, -1), (-4, -7, -7, -3), (-5, -5, -3, -4),
                                       (-5, -8, -5, -3))),
        Case("policy and reference alike", _four((-5, -3, -5, -3), (-2, -4, -2, -4))),
    ),
    mistakes=(
        ("The reference is missing: this asks which one is likelier. Long responses would always lose.",
         lambda w, le, rw, rl: _share(w - le)),
        ("The reference is missing, and ties: this counts how often the chosen response is the likelier one.",
         lambda w, le, rw, rl: _share(w - le, 0.0)),
        ("Chosen and rejected are swapped, and a tie counts one half.",
         lambda w, le, rw, rl: _share(-_gap(w, le, rw, rl), 0.0)),
        ("A tie counts one half: as you have it, a policy that has learned nothing is always wrong.",
         lambda w, le, rw, rl: _share(_gap(w, le, rw, rl), 0.0)),
        ("A tie counts one half: as you have it, a policy that has learned nothing is always right.",
         lambda w, le, rw, rl: _share(_gap(w, le, rw, rl), 1.0)),
        ("You ask whether the chosen response became likelier: it may fall, as long as the rejected one falls further.",
         lambda w, le, rw, rl: _share(w - rw)),
        ("You ask whether the rejected response became less likely: only the comparison counts.",
         lambda w, le, rw, rl: _share(rl - le)),
        ("Chosen and rejected are swapped.", lambda w, le, rw, rl: _share(-_gap(w, le, rw, rl))),
        ("This is the mean gap: count, do not add.", lambda w, le, rw, rl: _gap(w, le, rw, rl).mean()),
        ("This is the mean probability of the right outcome, not how often it is the likelier one.",
         lambda w, le, rw, rl: _gap(w, le, rw, rl).sigmoid().mean()),
        ("You ask whether policy and reference rank alike: ask which side *gained* more on the reference.",
         lambda w, le, rw, rl: ((w > le) == (rw > rl)).double().mean()),
        ("This runs from -1 to 1: add one and halve it.", lambda w, le, rw, rl: _gap(w, le, rw, rl).sign().mean()),
        ("This is the number of comparisons: divide by how many there are, and let a tie count one half.",
         lambda w, le, rw, rl: _share(_gap(w, le, rw, rl), 0.0) * len(w)),
        ("This is the number of comparisons: divide by how many there are.",
         lambda w, le, rw, rl: _share(_gap(w, le, rw, rl)) * len(w)),
    ),
)

predict_missing_arm = Exercise(
    "predict-missing-arm", NOTEBOOK, "what the file does not hold", *(2, 5, 4),
    "Four responses, the last of which is by far the best; but whoever wrote the file of comparisons never wrote it. "
    "DPO is trained on the file, to the end. Which probability will the best response have? **a)** that of the "
    "optimum: the reference still gives it .1, and β is the same **b)** 0: it never won **c)** whatever the "
    "parameters happen to do: no label says anything about it **d)** exactly that of the reference, since it is never "
    "pushed. Set `prediction` to a letter.",
    ("Write down the loss. In which of its terms does the last response occur?",
     "In none: only the ratios among the other three are asked for. What else moves its probability?",
     "c"),
    "right: the loss fixes the ratios among the three; what is left over for the fourth is nobody's decision.",
    judge=choice(
        "c",
        a="To know that it is the best, somebody must have said so. No comparison does.",
        b="Only what loses is pushed to 0, and it never took part.",
        d="Its *logit* is not pushed, in a table. Its probability shares a sum with the others, and they moved.",
    ),
)

predict_refresh = Exercise(
    "predict-refresh", NOTEBOOK, "four rounds of DPO", *(3, 4, 4),
    "DPO with β = 2 is trained to the end, on comparisons of all responses. Then the policy becomes the new reference, "
    "and it is trained again with β = 2; four rounds in all. A single round with another β would have led to the same "
    "policy. Which β? Put a number into `rounds_prediction`.",
    ("One round multiplies the reference by exp(r / β). What do two rounds?",
     "ref · exp(r/2) · exp(r/2) · exp(r/2) · exp(r/2) = ref · exp(4 r/2).",
     "2 / 4"),
    "right: k rounds at β are one round at β/k. Nothing holds such a policy near the model that it began as.",
    judge=number(
        0.5,
        (2.0, "That is if the reference stays. Here each round is allowed to go as far again, from where it stands."),
        (8.0, "That goes the other way: more rounds go further from the first model, as a *smaller* price does."),
        (0.125, "The exponents add up, they do not multiply: 1/2 + 1/2 + 1/2 + 1/2."),
        (1.0, "That is after two rounds."),
        (0.0625, "The exponents add up, they do not multiply: 4 times 1/2 is 2, and not 2 to the power of 4."),
        (0.0, "It gets there with ever more rounds; after four it is a definite number."),
        (4.0, "That is the number of rounds: by how much did the price fall?"),
    ),
)

EXERCISES = (response_logp, ranking_accuracy, predict_missing_arm, predict_refresh)
