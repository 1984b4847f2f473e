"""Diagnoses and repairs a learner might try in notebook 18."""

# ruff: noqa: B905  (learners do not write strict=)

import copy

import numpy as np
import torch
import torch.nn.functional as F

from rlbase.lab.exercises.zoo import PATIENTS, WARDS

BEFORE = {ward.FIX.name: ward.PATIENT.sick for ward in WARDS}  # handed back unrepaired


# broadcast


def loss_einsum(logp, advantages):
    return -torch.einsum("bt,b->", logp, advantages) / len(advantages)


def loss_unsqueezed(logp, advantages):
    return -(logp * advantages.unsqueeze(1)).mean()


# eos


def mask_loop(tokens, eos):
    rows = []
    for row in tokens.tolist():
        end = row.index(eos) if eos in row else len(row) - 1
        rows.append([t <= end for t in range(len(row))])
    return torch.tensor(rows)


def mask_shifted(tokens, eos):
    before = F.pad(tokens[:, :-1], (1, 0), value=-1)
    return (before != eos).cumprod(1).bool()


# prompt


def learned_loop(real, prompt_length):
    out = real.clone()
    for b, n in enumerate(prompt_length.tolist()):
        out[b, :n] = False
    return out


def learned_counted(real, prompt_length):
    place = real.long().cumsum(1)
    return (place > prompt_length.unsqueeze(1)) & real


# shift


def scores_cross_entropy(logits, tokens):
    v = logits.shape[-1]
    return -F.cross_entropy(logits[:, :-1].reshape(-1, v), tokens[:, 1:].reshape(-1), reduction="none").view(
        len(tokens), -1
    )


def scores_loop(logits, tokens):
    columns = []
    for t in range(1, tokens.shape[1]):
        logp = logits[:, t - 1].log_softmax(-1)
        columns.append(logp[torch.arange(len(tokens)), tokens[:, t]])
    return torch.stack(columns, 1)


def scores_with(gap):
    def scores(logits, tokens):
        logp = logits.log_softmax(-1)
        length = tokens.shape[1]
        return torch.stack(
            [
                torch.stack([row[(t + gap) % length, ids[t]] for t in range(1, length)])
                for row, ids in zip(logp, tokens)
            ]
        )

    return scores


# padding


def put(where):
    def place(score, mask):
        out = torch.zeros(mask.shape)
        for b, n in enumerate(mask.sum(1).tolist()):
            for t in where(n, mask.shape[1]):
                if 0 <= t < mask.shape[1]:
                    out[b, t] = score[b]
        return out

    return place


def place_where(score, mask):
    last = mask & ~F.pad(mask[:, 1:], (0, 1))
    return torch.where(last, score[:, None], 0.0)


# reference


class View:
    """A window on a policy."""

    stateful, temperature = False, 1.0

    def __init__(self, policy, **changes):
        self.policy = policy
        self.initial_state, self.step = policy.initial_state, policy.step

    def evaluate(self, obs, actions):
        logp, entropy = self.policy.evaluate(obs, actions)
        return logp.detach(), entropy.detach()


def reference_deepcopy(policy):
    held = copy.deepcopy(policy)
    for p in held.parameters():
        p.requires_grad = False
    return held


def reference_reloaded(policy):
    held = copy.deepcopy(policy)
    held.load_state_dict({k: v.clone() for k, v in policy.state_dict().items()})
    return held


def reference_zeroed(policy):
    held = copy.deepcopy(policy)
    for p in held.parameters():
        p.data.zero_()
    return held


def reference_frozen_itself(policy):
    return policy.requires_grad_(False)


def reference_counted(policy):
    """Copies anew at every question: the anchor is moved along."""

    class Latest(View):
        def evaluate(self, obs, actions):
            return copy.deepcopy(self.policy).evaluate(obs, actions)

    return Latest(policy)


# temperature


def score_logsumexp(logits, actions, temperature):
    scaled = logits / temperature
    chosen = scaled.gather(-1, actions[..., None])[..., 0]
    return chosen - scaled.logsumexp(-1)


def score_categorical(logits, actions, temperature):
    return torch.distributions.Categorical(logits=logits / temperature).log_prob(actions)


def _pick(logp, actions):
    return torch.take_along_dim(logp, actions[..., None], -1)[..., 0]


# dropout


def mode_train_false(model, phase):
    model.train(False)


def mode_no_dropout(model, phase):
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def mode_no_dropout_eval(model, phase):
    for module in model.modules():
        module.training = False


def mode_seeded(model, phase):
    torch.manual_seed(0)
    model.train(phase != "rollout")


def mode_frozen(model, phase):
    model.train(phase != "rollout")
    model.requires_grad_(False)


def mode_no_grad(model, phase):
    torch.set_grad_enabled(False)
    model.train(phase != "rollout")


# whitening


def whiten_loop(advantages, mask):
    values = [a for row, kept in zip(advantages.tolist(), mask.tolist()) for a, k in zip(row, kept) if k]
    mean, std = np.mean(values), np.std(values)
    return (advantages - mean) / std * mask


def whiten_sums(advantages, mask):
    m = mask.float()
    n = m.sum()
    mean = (advantages * m).sum() / n
    var = ((advantages - mean) ** 2 * m).sum() / (n - 1)
    return (advantages - mean) * var.rsqrt() * m


# k1


def penalty_score(logp, ref_logp):
    """The score function with the log-ratio as its weight: another value, the same gradient."""
    return (logp - ref_logp).detach() * logp


def penalty_square(logp, ref_logp):
    gap = logp - ref_logp.detach()
    return gap.pow(2) / 2


def penalty_k3(logp, ref_logp):
    return torch.expm1(ref_logp - logp) - (ref_logp - logp)


# reward shift


def scale_divided(rewards, mask):
    values = rewards[mask]
    std = (values - values.mean()).pow(2).sum().div(len(values) - 1).sqrt()
    return rewards / std * mask


def scale_item(rewards, mask):
    factor = 1 / rewards[mask].std().item()
    out = rewards * factor
    out[~mask] = 0
    return out


RIGHT = {
    "bug-broadcast": [loss_einsum, loss_unsqueezed, lambda x, a: -(x.T * a).mean()],
    "bug-eos": [mask_loop, mask_shifted],
    "bug-prompt": [learned_loop, learned_counted],
    "bug-shift": [scores_cross_entropy, scores_loop],
    "bug-padding": [place_where, put(lambda n, width: [n - 1])],
    "bug-reference": [reference_deepcopy, reference_reloaded],
    "bug-temperature": [score_logsumexp, score_categorical],
    "bug-dropout": [mode_train_false, mode_no_dropout, mode_no_dropout_eval],
    "bug-truncation": [
        lambda d, c, g: torch.where(d, 0.0, g),
        lambda terminated, truncated, gamma: gamma - gamma * terminated.float(),
    ],
    "bug-last-token": [
        lambda m: m.long().cumsum(1).argmax(1),
        lambda m: torch.tensor([max(i for i, k in enumerate(row) if k) for row in m.tolist()]),
        lambda m: m.shape[1] - 1 - m.flip(1).int().argmax(1),
    ],
    "bug-whitening": [whiten_loop, whiten_sums],
    "bug-k1": [penalty_square, penalty_score],
    "bug-reward-shift": [scale_divided, scale_item],
}

CAME = "as it came in"

WRONG = {
    "bug-broadcast": [
        (CAME, BEFORE["bug-broadcast"]),
        (CAME, lambda x, a: -x.mean() * a.mean()),
        ("all pairs of rows, and then divide", lambda x, a: -torch.outer(x[:, 0], a).sum() / len(a)),
        ("sign is flipped", lambda x, a: (x.squeeze() * a).mean()),
        ("summed over rows", lambda x, a: -torch.dot(x.reshape(-1), a)),
        ("These are probabilities", lambda x, a: -(x.exp().reshape(-1) * a).mean()),
        ("Wrong shape", lambda x, a: -(x.flatten() * a).repeat(2)),
        ("no gradient flows through `logp`", lambda x, a: -(x.detach().flatten() * a).mean()),
    ],
    "bug-eos": [
        (CAME, BEFORE["bug-eos"]),
        ("learn the padding, too", lambda t, e: t == t),
        ("second EOS", lambda t, e: F.pad((t != e), (2, 0), value=True)[:, :-2]),
        ("last real token is missing", lambda t, e: F.pad((t != e)[:, 1:], (0, 1)) & (t != e)),
        ("Upside down", lambda t, e: ~(t != e)),
        ("the EOS and nothing else", lambda t, e: mask_loop(t, e) & (t == e)),
        ("where the longest does", lambda t, e: mask_loop(t, e).any(0).expand(t.shape)),
    ],
    "bug-prompt": [
        (CAME, BEFORE["bug-prompt"]),
        ("first token of the response is missing", lambda r, p: learned_loop(r, p + 1)),
        ("last token of the prompt", lambda r, p: learned_loop(r, p - 1)),
        ("padding is in", lambda r, p: learned_loop(torch.ones_like(r), p)),
        ("Upside down", lambda r, p: r & ~learned_loop(r, p)),
        ("first row's prompt", lambda r, p: learned_loop(r, torch.full_like(p, int(p[0])))),
        ("longest prompt", lambda r, p: learned_loop(r, torch.full_like(p, int(p.max())))),
    ],
    "bug-shift": [
        (CAME, BEFORE["bug-shift"]),
        (CAME, scores_with(0)),
        ("position i now speaks about token i again",
         lambda x, t: torch.take_along_dim(x.log_softmax(-1), t[..., None], 2)[:, :-1, 0]),
        ("*before* the one", lambda x, t: torch.take_along_dim(x.log_softmax(-1)[:, 1:], t[:, :-1, None], 2)[..., 0]),
        ("roll()", lambda x, t: torch.log_softmax(torch.roll(x, 1, 1), -1).gather(2, t[..., None])[..., 0]),
        ("raw logits", lambda x, t: torch.take_along_dim(x[:, :-1], t[:, 1:, None], 2)[..., 0]),
        ("sign is flipped", lambda x, t: -scores_loop(x, t)),
        ("added up the row", lambda x, t: scores_loop(x, t).sum(-1)),
        ("no gradient flows through `logits`", lambda x, t: scores_loop(x.detach(), t)),
    ],
    "bug-padding": [
        (CAME, BEFORE["bug-padding"]),
        (CAME, put(lambda n, width: [width - 1])),
        ("last column of rows that have none", lambda s, m: put(lambda n, w: [w - 1] if n == w else [])(s, m)),
        ("too late", put(lambda n, width: [n])),
        ("too early", put(lambda n, width: [max(0, n - 2)])),
        ("every token", put(lambda n, width: range(n))),
        ("spread the score", lambda s, m: m * (s / m.sum(1))[:, None]),
        ("first token", put(lambda n, width: [0])),
    ],
    "bug-reference": [
        (CAME, BEFORE["bug-reference"]),
        (CAME, View),
        (CAME, reference_counted),
        ("shallow copy", lambda policy: policy),
        ("shallow copy", copy.copy),
        ("You froze the policy itself", reference_frozen_itself),
        ("not where the policy starts", reference_zeroed),
        ("is a `return` missing?", lambda policy: None),
        ("it needs evaluate", lambda policy: policy.state_dict()),
        ("Not written yet", lambda policy: (_ for _ in ()).throw(NotImplementedError)),
        ("Pass the function itself", 3),
        ("the run stopped", lambda policy: policy.missing),
    ],
    "bug-temperature": [
        (CAME, BEFORE["bug-temperature"]),
        ("multiplied by the temperature", lambda x, a, t: score_categorical(x, a, 1 / t)),
        ("no longer add up to 1. Divide", lambda x, a, t: score_categorical(x, a, 1) / t),
        ("no longer add up to 1", lambda x, a, t: score_categorical(x, a, 1) * t),
        ("normalisation is missing", lambda x, a, t: _pick(x / t, a)),
        ("density of a scaled variable", lambda x, a, t: score_categorical(x, a, 1) - float(np.log(t))),
        ("These are probabilities", lambda x, a, t: score_logsumexp(x, a, t).exp()),
    ],
    "bug-dropout": [
        (CAME, BEFORE["bug-dropout"]),
        ("on in both phases", lambda model, phase: model.train()),
        ("while responses are drawn", lambda model, phase: model.train(phase == "rollout")),
        ("same mask at every update", mode_seeded),
        ("froze the weights", mode_frozen),
        ("switched gradients off", mode_no_grad),
        ("the run stopped", lambda model, phase: model.evaluate()),
    ],
    "bug-truncation": [
        (CAME, BEFORE["bug-truncation"]),
        ("after *every* step", lambda d, c, g: g * torch.ones(d.shape)),
        ("mixed up", lambda d, c, g: g * (1 - c.float())),
        ("forgot gamma", lambda d, c, g: (~d).float() * torch.where(c, 1.0, g)),
        ("γ is missing", lambda d, c, g: (~d).float()),
        ("Upside down", lambda d, c, g: d * g),
        ("too late", lambda d, c, g: g * (~d.roll(1, 1)).float()),
    ],
    "bug-last-token": [
        (CAME, BEFORE["bug-last-token"]),
        ("One column too late", lambda m: RIGHT["bug-last-token"][0](m) + 1),
        ("You return the count", lambda m: m.int().sum(-1)),
        ("You read the last column", lambda m: torch.tensor([m.shape[1] - 1] * len(m))),
        ("first real column", lambda m: torch.argmax(m.float(), 1)),
        ("count from the right", lambda m: m.flip(1).float().argmax(1)),
    ],
    "bug-whitening": [
        (CAME, BEFORE["bug-whitening"]),
        ("deviation still counts the padding", lambda x, m: (x - x[m].mean()) / (x * m).std() * m),
        ("mean still counts the padding", lambda x, m: (x - (x * m).mean()) / x[m].std() * m),
        ("each row by itself",
         lambda x, m: torch.cat([whiten_loop(r[None], k[None]).nan_to_num() for r, k in zip(x, m)])),
        ("did not take the mean off", lambda x, m: x / x[m].std() * m),
        ("did not divide", lambda x, m: (x - x[m].mean()) * m),
        ("variance", lambda x, m: (x - x[m].mean()) / x[m].var() * m),
    ],
    "bug-k1": [
        (CAME, BEFORE["bug-k1"]),
        (CAME, lambda x, r: 10 * (x - r)),
        (CAME, lambda x, r: x),
        ("This is k3", penalty_k3),
        ("Twice too strong", lambda x, r: (x - r) ** 2),
        ("sign is flipped", lambda x, r: -penalty_square(x, r)),
        ("No gradient flows at all", lambda x, r: (x - r).detach()),
        ("neither in direction nor in size", lambda x, r: (x - r).abs()),
        ("the run stopped", lambda x, r: penalty_square(x, r).mean()),
    ],
    "bug-reward-shift": [
        (CAME, BEFORE["bug-reward-shift"]),
        ("famous half repair", lambda r, m: ((r - r[m].mean()) / r[m].std() + r[m].mean()) * m),
        ("variance", lambda r, m: r / r[m].var() * m),
        ("padding is counted", lambda r, m: r * m / (r * m).std()),
        ("only took the mean off", lambda r, m: (r - r[m].mean()) * m),
        ("changed nothing", lambda r, m: r * m),
        ("largest reward", lambda r, m: r * m / r[m].abs().max()),
    ],
}  # fmt: skip

# Of a diagnosis every wrong letter has a reason of its own, and anything else is no letter.
for patient, ward in zip(PATIENTS, WARDS):
    judge = ward.DIAGNOSIS.judge
    right = [letter for letter in "abcde" if judge(letter) is None]
    RIGHT[patient.name] = [right[0], f" {right[0].upper()} "]
    WRONG[patient.name] = [(judge(letter), letter) for letter in "abcde" if letter not in right]
    WRONG[patient.name] += [("one of the letters", "z"), ("one of the letters", 3)]
