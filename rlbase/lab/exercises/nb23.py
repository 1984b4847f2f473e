"""Exercises of notebook 23: KTO's loss, its threshold, its reference point, and weights for unequal piles."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number
from rlbase.losses import kto

NOTEBOOK = "23_kto_without_pairs"


def _cases() -> tuple[Case, ...]:
    logp, ref = torch.tensor([-1.0, -3.0, -2.0, -6.0, -4.5]), torch.tensor([-2.5, -1.5, -2.0, -4.0, -5.5])
    said = torch.tensor([True, False, True, True, False])
    plain = {"logp": logp, "ref_logp": ref, "desirable": said}
    return (
        Case("β = 0.5, reference point 0.4, equal weights",
             {**plain, "kl": 0.4, "beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
        Case("β = 2, reference point 1, weights 1.5 and 0.8",
             {**plain, "kl": 1.0, "beta": 2.0, "desirable_weight": 1.5, "undesirable_weight": 0.8}),
        Case("nothing raised yet, reference point 0",
             {"logp": ref.clone(), "ref_logp": ref, "desirable": said, "kl": 0.0, "beta": 0.1,
              "desirable_weight": 1.0, "undesirable_weight": 1.3}),
        Case("log-probs of -10,000",
             {"logp": torch.tensor([-1e4, -1e4, -1.0, -1.0]), "ref_logp": torch.tensor([-1.0, -1.0, -1e4, -1e4]),
              "desirable": torch.tensor([True, False, True, False]), "kl": 0.0, "beta": 0.5,
              "desirable_weight": 1.0, "undesirable_weight": 1.0}, True),
    )


def _kto(x: Tensor, r: Tensor, d: Tensor, z: float, b: float, wd: float, wu: float) -> Tensor:
    return kto(x, r.detach(), d, z, beta=b, desirable_weight=wd, undesirable_weight=wu)


def _value(gain: Tensor, d: Tensor, wd: float, wu: float) -> Tensor:
    return torch.where(d, wd * torch.sigmoid(-gain), wu * torch.sigmoid(gain))


kto_loss = Exercise(
    "kto-loss", NOTEBOOK, "one verdict, one number", *(2, 5, 8),
    "Write `kto_loss(logp, ref_logp, desirable, kl, beta, desirable_weight, undesirable_weight)`. Log-probabilities "
    "are of whole responses, `[B]`; `desirable` `[B]` is True for a thumb up; `kl` is the reference point, one number. "
    "Return the loss of each verdict, `[B]`, to be minimised and not reduced: the weight times (1 - the value). "
    "Gradient through `logp` only.",
    ("What decides is how far a response was raised beyond the reference point, u - z; a thumb down turns it round.",
     "up: λD (1 - σ(β(u - z))); down: λU (1 - σ(β(z - u))), with u = logp - ref_logp.",
     "gain = beta * (logp - ref_logp.detach() - kl); "
     "torch.where(desirable, wD * (-gain).sigmoid(), wU * gain.sigmoid())"),
    "right, gradients included, with unequal weights, at the start, and at log-probs of -10,000.",
    reference=_kto, cases=_cases(),
    mistakes=(
        ("This is cross-entropy, -log σ: KTO's loss is 1 - σ, which is flat on both sides.",
         lambda x, r, d, z, b, wd, wu: torch.where(d, wd, wu) * torch.nn.functional.softplus(
             torch.where(d, -1.0, 1.0) * b * (x - r - z))),
        ("The sign is flipped: this is the value, to be made large; the loss is the weight times (1 - value).",
         lambda x, r, d, z, b, wd, wu: _value(b * (r - x + z), d, wd, wu)),
        ("The reference point is missing: a response must be raised beyond z to count as a gain.",
         lambda x, r, d, z, b, wd, wu: _value(b * (x - r), d, wd, wu)),
        ("You added the reference point: gains are counted from z on, u - z.",
         lambda x, r, d, z, b, wd, wu: _value(b * (x - r + z), d, wd, wu)),
        ("beta multiplies the log-ratio only: it multiplies u - z as a whole.",
         lambda x, r, d, z, b, wd, wu: _value(b * (x - r) - z, d, wd, wu)),
        ("beta is missing.", lambda x, r, d, z, b, wd, wu: _value(x - r - z, d, wd, wu)),
        ("The two weights are exchanged.", lambda x, r, d, z, b, wd, wu: _kto(x, r, d, z, b, wu, wd)),
        ("The weights are missing.", lambda x, r, d, z, b, wd, wu: _kto(x, r, d, z, b, 1.0, 1.0)),
        ("A thumb down is treated like a thumb up: turn u - z round for it.",
         lambda x, r, d, z, b, wd, wu: torch.where(d, wd, wu) * torch.sigmoid(-b * (x - r - z))),
        ("The reference is missing: u is the *difference* of the log-probabilities.",
         lambda x, r, d, z, b, wd, wu: _value(b * (x - z), d, wd, wu)),
        ("The weight multiplies the value only: it multiplies (1 - value) as a whole.",
         lambda x, r, d, z, b, wd, wu: 1 - torch.where(d, wd, wu) + _kto(x, r, d, z, b, wd, wu)),
        ("For a thumb down you turned u round, but not the reference point: it is z - u, not -z - u.",
         lambda x, r, d, z, b, wd, wu: torch.where(
             d, wd * torch.sigmoid(-b * (x - r - z)), wu * torch.sigmoid(b * (x - r + z)))),
        ("This is the negative value, without its constant: right to minimise, but the loss is weight minus value.",
         lambda x, r, d, z, b, wd, wu: _kto(x, r, d, z, b, wd, wu) - torch.where(d, wd, wu)),
    ),
    gradient=("logp",), constant=("ref_logp",),
)

predict_surviving = Exercise(
    "predict-surviving", NOTEBOOK, "who is left", *(3, 5, 4),
    "Four responses are liked by 90 %, 55 %, 45 % and 20 % of those who see them, and all are seen equally often. KTO "
    "with λD = λU = 1 is trained to the end, at a small β. What is left? **a)** all four, by exp(r/β) **b)** only the "
    "first **c)** the first two **d)** the first three, the last one being outvoted four to one. Set `prediction` to a "
    "letter.",
    ("Add up what a response gains and loses by being raised: how many pull it up, how many down?",
     "q thumbs up pull by λD q, the others by λU (1 - q): the sum is positive for q > 1/2 only.",
     'prediction = "c"'),
    "c: whatever is disliked more often than liked goes to zero, and no β brings it back.",
    judge=choice(
        "c",
        a="That is DPO's rest point. Here a response that more people dislike than like is pushed down at every step, "
          "and nothing ever pulls it back.",
        b="55 % like the second: it is pulled up more often than down, so something of it stays.",
        d="45 % like the third, 55 % do not: it is pushed down more often than up, a little, but to the end.",
    ),
)

kto_threshold = Exercise(
    "kto-threshold", NOTEBOOK, "how well liked one must be", *(2, 5, 4),
    "A hospital's assistant: one bad answer is as bad as four good ones are good, so λD = 1 and λU = 4. Which share of "
    "people must like a response, at least, for KTO to keep anything of it? Put a number between 0 and 1 into "
    "`threshold`.",
    ("At the threshold the pulls cancel: up with λD q, down with λU (1 - q).",
     "q = λU / (λD + λU).", "threshold = 4 / (1 + 4)"),
    "right: four fifths. The weights are no detail of tuning, they say who survives.",
    judge=number(
        0.8,
        (0.2, "That is λD/(λD + λU): the dearer a thumb down, the *better* liked one must be."),
        (0.5, "That is for equal weights."),
        (4.0, "That is the odds, 4 thumbs up for each thumb down; as a share it is below 1."),
        (0.75, "That is 1 - λD/λU: solve λD q = λU (1 - q)."),
        (0.25, "That is λD/λU: solve λD q = λU (1 - q) for q."),
        (0.982, "That is σ(4): the weights are odds themselves, not log-odds."),
        (80, "In percent that is right: write it as a number between 0 and 1."),
        rtol=0.005,
    ),
)


def _tables() -> tuple[Case, ...]:
    g = torch.Generator().manual_seed(0)
    ref = -torch.rand(4, 4, generator=g) * 3 - 1
    up = 0.8 * torch.rand(4, 4, generator=g) + torch.eye(4)
    falls = -2 * torch.rand(3, 3, generator=g) + 3 * torch.eye(3)
    mixed = torch.tensor([[2.0, -3.0, 0.7], [0.3, 1.0, 0.9], [2.5, -0.5, -1.0]])
    return (
        Case("four prompts", {"logp": ref + up, "ref_logp": ref}),
        Case("three prompts, some raised and some lowered",
             {"logp": ref[:3, :3] + mixed, "ref_logp": ref[:3, :3].clone()}),
        Case("other responses lowered", {"logp": ref[:3, :3] + falls, "ref_logp": ref[:3, :3].clone()}),
    )


def _point(x: Tensor, r: Tensor) -> Tensor:
    ratio = (x - r).detach()
    return ratio.roll(-1, 1).diagonal().mean().clamp(min=0)


mismatched_kl = Exercise(
    "mismatched-kl", NOTEBOOK, "the reference point of a batch", *(3, 4, 8),
    "Write `reference_point(logp, ref_logp)`: both are `[B, B]`, row i is a prompt, column j the response that belongs "
    "to prompt j, and an entry is the log-probability of that response after that prompt. Return z₀, one number: the "
    "mean log-ratio of prompt i with the response of row i + 1 (the last prompt meets the first response), never below "
    "0. No gradient.",
    ("Not the diagonal: each prompt with its neighbour's response. Average first, then cut at 0.",
     "z₀ = max(0, mean over i of (logp - ref_logp)[i, (i + 1) mod B]).",
     "rows = torch.arange(B); ratio[rows, (rows + 1) % B].mean().clamp(min=0), on a detached ratio"),
    "right, and no gradient flows, also where other responses have become less likely.",
    reference=_point, cases=_tables(),
    mistakes=(
        ("These are the matched pairs, the diagonal: the very responses being judged would be their own measure.",
         lambda x, r: (x - r).diagonal().mean().clamp(min=0)),
        ("You took the response of the row *before*: prompt i meets the response of row i + 1.",
         lambda x, r: (x - r).T.roll(-1, 1).diagonal().mean().clamp(min=0)),
        ("You averaged the whole table, the matched diagonal included.", lambda x, r: (x - r).mean().clamp(min=0)),
        ("You averaged all mismatched entries: a fair estimate, but B - 1 times the cost; one neighbour each is asked.",
         lambda x, r: ((x - r).sum() - (x - r).trace()).div(len(x) * (len(x) - 1)).clamp(min=0)),
        ("You cut each log-ratio at 0: cut the *mean*.",
         lambda x, r: (x - r).roll(-1, 1).diagonal().clamp(min=0).mean()),
        ("It is not cut at 0: the reference point is a stand-in for a KL, which is never negative.",
         lambda x, r: (x - r).roll(-1, 1).diagonal().mean()),
        ("The last prompt is missing: it meets the first response.",
         lambda x, r: (x - r).diagonal(1).mean().clamp(min=0)),
        ("You added up: take the mean.", lambda x, r: (x - r).roll(-1, 1).diagonal().sum().clamp(min=0)),
        ("The sign is flipped: policy minus reference.",
         lambda x, r: (r - x).roll(-1, 1).diagonal().mean().clamp(min=0)),
        ("You took the size of the mean: below 0 it counts as 0.",
         lambda x, r: (x - r).roll(-1, 1).diagonal().mean().abs()),
    ),
    constant=("logp", "ref_logp"),
)


def _weights(n_desirable: int, n_undesirable: int, ratio: float) -> tuple[float, float]:
    balance = ratio * n_undesirable / n_desirable  # what lambda_D / lambda_U must be
    return (balance, 1.0) if balance > 1 else (1.0, 1 / balance)


kto_weights = Exercise(
    "kto-weights", NOTEBOOK, "weights for unequal piles", *(2, 4, 8),
    "Write `weights(n_desirable, n_undesirable, ratio)`, which returns λD and λU so that λD·nD / (λU·nU) is `ratio` "
    "(the authors advise 1 to 4/3). One of the two is 1, and the other is at least 1: the pile that would count too "
    "little is weighted up, the other left alone.",
    ("Only λD/λU matters for who survives. Which value must it have?",
     "λD/λU = ratio · nU/nD. If that is above 1, raise λD, otherwise raise λU.",
     "balance = ratio * n_undesirable / n_desirable; return (balance, 1) if balance > 1 else (1, 1 / balance)"),
    "right for piles that lean either way, and for equal ones.",
    reference=_weights,
    cases=(
        Case("900 up, 100 down, ratio 1", {"n_desirable": 900, "n_undesirable": 100, "ratio": 1.0}),
        Case("200 up, 1,000 down, ratio 4/3", {"n_desirable": 200, "n_undesirable": 1000, "ratio": 4 / 3}),
        Case("500 up, 500 down, ratio 4/3", {"n_desirable": 500, "n_undesirable": 500, "ratio": 4 / 3}),
        Case("550 up, 500 down, ratio 4/3", {"n_desirable": 550, "n_undesirable": 500, "ratio": 4 / 3}),
    ),
    parts=("λD", "λU"),
    mistakes=(
        ("The weights are exchanged: λD, λU, in this order; what counts too little is weighted up.",
         lambda d, u, ratio: _weights(d, u, ratio)[::-1]),
        ("You left `ratio` out.", lambda d, u, ratio: _weights(d, u, 1.0)),
        ("`ratio` stands on the wrong side: λD·nD is to be `ratio` times λU·nU.",
         lambda d, u, ratio: _weights(d, u, 1 / ratio)),
        ("You weighted one pile down: the other is to be weighted up, and 1 stays 1.",
         lambda d, u, ratio: (min(1.0, ratio * u / d), min(1.0, d / u / ratio))),
        ("λD alone was changed: where λD would fall below 1, raise λU instead.",
         lambda d, u, ratio: (ratio * u / d, 1.0)),
        ("λU alone was changed: where λU would fall below 1, raise λD instead.",
         lambda d, u, ratio: (1.0, d / u / ratio)),
        ("These are shares of the total: the counts of the two piles against each other are asked.",
         lambda d, u, ratio: (max(1.0, ratio * u / (d + u)), max(1.0, d / (d + u) / ratio))),
        ("These are the shares of the other pile: one of the two weights is 1, and `ratio` counts.",
         lambda d, u, ratio: (u / (d + u), d / (d + u))),
        ("The larger pile decides, you compared the counts without `ratio`: compare λD·nD with `ratio` · nU.",
         lambda d, u, ratio: (ratio * u / d, 1.0) if u > d else (1.0, d / u / ratio)),
    ),
)

EXERCISES = (kto_loss, predict_surviving, kto_threshold, mismatched_kl, kto_weights)
