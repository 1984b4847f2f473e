"""Answers a learner might give in notebook 21."""

import torch
from torch.nn import functional as F


def logp_gather(logits, tokens, response):
    logp = logits[:, :-1].log_softmax(-1)
    return (logp.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2) * response[:, 1:]).sum(-1)


def logp_entropy(logits, tokens, response):
    wanted = torch.where(response, tokens, -100)[:, 1:]
    return -F.cross_entropy(logits[:, :-1].transpose(1, 2), wanted, reduction="none").sum(1)


def logp_loop(logits, tokens, response):
    found = []
    for b in range(len(tokens)):
        places = response[b].nonzero().flatten().tolist()
        found.append(sum(logits[b, t - 1].log_softmax(0)[tokens[b, t]] for t in places))
    return torch.stack(found)


def unshifted(logits, tokens, response):
    logp = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    return (logp * response).sum(1)


def gap(w, le, rw, rl):
    return w - le - rw + rl


def accuracy_sign(w, le, rw, rl):
    return (gap(w, le, rw, rl).sign() + 1).mean() / 2


def accuracy_loop(w, le, rw, rl):
    won = [0.5 if g == 0 else float(g > 0) for g in gap(w, le, rw, rl).tolist()]
    return sum(won) / len(won)


RIGHT = {
    "response-logp": [logp_gather, logp_entropy, logp_loop],
    "ranking-accuracy": [accuracy_sign, accuracy_loop],
    "predict-missing-arm": ["c", "C"],
    "predict-refresh": [0.5, 2 / 4],
}

WRONG = {
    "response-logp": [
        ("did not shift", unshifted),
        ("prompt and padding", lambda x, t, m: logp_gather(x, t, torch.ones_like(m))),
        (
            "it is given, nobody chose it",
            lambda x, t, m: logp_loop(x, t, m) + logp_gather(x, t, m.cumsum(1) == 0),
        ),
        ("Padding is counted", lambda x, t, m: logp_gather(x, t, m.cumsum(1) > 0)),
        ("divided by the number of tokens", lambda x, t, m: logp_entropy(x, t, m) / m.sum(1)),
        ("sign is flipped", lambda x, t, m: -logp_gather(x, t, m)),
        ("raw logits", lambda x, t, m: (x[:, :-1].gather(2, t[:, 1:, None])[..., 0] * m[:, 1:]).sum(1)),
        ("not the mask", lambda x, t, m: logp_gather(x, t, torch.cat((m[:, :1], m[:, :-1]), 1))),
        (
            "over the positions",
            lambda x, t, m: x[:, :-1].log_softmax(1).gather(2, t[:, 1:, None])[..., 0].mul(m[:, 1:]).sum(1),
        ),
        (
            "width of the batch",
            lambda x, t, m: torch.stack(
                [
                    torch.stack(
                        [x[i, j - 1].log_softmax(0)[t[i, j]] * m[i, j] for j in range(1, t.shape[1])]
                    ).mean()
                    for i in range(len(t))
                ]
            ),
        ),
        ("off all three", lambda x, t, m: unshifted(x[:, :-1], t[:, :-1], m[:, :-1])),
        ("over the batch", lambda x, t, m: logp_gather(x, t, m).mean()),
    ],
    "ranking-accuracy": [
        ("which one is likelier", lambda w, le, rw, rl: accuracy_sign(w, le, 0 * w, 0 * w)),
        ("missing, and ties", lambda w, le, rw, rl: (w > le).float().mean()),
        ("swapped, and a tie", lambda w, le, rw, rl: (le - rl > w - rw).float().mean()),
        ("always wrong", lambda w, le, rw, rl: (w - rw > le - rl).double().mean()),
        ("always right", lambda w, le, rw, rl: (w - rw >= le - rl).double().mean()),
        ("chosen response became likelier", lambda w, le, rw, rl: accuracy_sign(w, 0 * w, rw, 0 * w)),
        ("swapped", lambda w, le, rw, rl: accuracy_sign(le, w, rl, rw)),
        ("rank alike", lambda w, le, rw, rl: (((w - le) > 0) == ((rw - rl) > 0)).double().mean()),
        ("from -1 to 1", lambda w, le, rw, rl: torch.sign(gap(w, le, rw, rl)).mean()),
        ("let a tie", lambda w, le, rw, rl: (w - rw > le - rl).double().sum()),
        ("mean gap", lambda w, le, rw, rl: gap(w, le, rw, rl).mean()),
        ("mean probability", lambda w, le, rw, rl: torch.sigmoid(gap(w, le, rw, rl)).mean()),
    ],
    "predict-missing-arm": [
        ("somebody must have said so", "a"),
        ("never took part", "b"),
        ("shares a sum", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 0.1),
    ],
    "predict-refresh": [
        ("if the reference stays", 2),
        ("smaller", 8),
        ("do not multiply", 1 / 8),
        ("after two rounds", 1),
        ("not 2 to the power", 1 / 16),
        ("ever more rounds", 0),
        ("too large", 3),
    ],
}
