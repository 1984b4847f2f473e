"""Answers a learner might give in notebook 07."""

# ruff: noqa: B905  (learners do not write strict=)

from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F


def logp_cross_entropy(logits, tokens, prompt_length):
    p = prompt_length
    losses = F.cross_entropy(logits[:, p - 1 : -1].transpose(1, 2), tokens[:, p:], reduction="none")
    return -losses


def logp_loop(logits, tokens, prompt_length):
    rows = []
    for b in range(tokens.shape[0]):
        row = []
        for i in range(prompt_length, tokens.shape[1]):
            scores = logits[b, i - 1]
            row.append(scores[tokens[b, i]] - scores.logsumexp(0))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def logp_shift_all(logits, tokens, prompt_length):
    every = torch.log_softmax(logits[:, :-1], -1).gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return every[:, prompt_length - 1 :]


def shifted(k):
    def logp(logits, tokens, prompt_length):
        every = torch.log_softmax(torch.roll(logits, k, dims=1), -1)
        return torch.stack(
            [
                torch.stack([every[b, i, tokens[b, i]] for i in range(prompt_length, tokens.shape[1])])
                for b in range(len(tokens))
            ]
        )

    return logp


def logp_softmax_log(logits, tokens, prompt_length):
    probs = logits.softmax(-1)[:, prompt_length - 1 : -1]
    return torch.take_along_dim(probs, tokens[:, prompt_length:, None], 2)[..., 0].log()


def put(where):
    """Place the score in the columns that ``where(n, T)`` names."""

    def place(score, mask):
        out = torch.zeros(mask.shape)
        for b, n in enumerate(mask.sum(1).tolist()):
            for t in where(n, mask.shape[1]):
                if t < mask.shape[1]:
                    out[b, t] = score[b]
        return out

    return place


def place_diff(score, mask):
    following = F.pad(mask[:, 1:], (0, 1), value=False)
    return score.unsqueeze(1) * (mask & ~following)


def place_numpy(score, mask):
    m = mask.numpy()
    out = np.zeros(m.shape)
    for b in range(len(m)):
        out[b, np.flatnonzero(m[b])[-1]] = score[b]
    return out


def positions_loop(mask):
    out = []
    for row in mask.tolist():
        pad = row.index(True)
        out.append([max(0, i - pad) for i in range(len(row))])
    return torch.tensor(out)


def positions_subtract(m):
    return torch.arange(m.shape[1])[None] - (~m).sum(1, keepdim=True)


def distinct_counter(texts, n):
    counts = Counter()
    for text in texts:
        words = text.split()
        counts.update(zip(*(words[i:] for i in range(n))))
    return len(counts) / sum(counts.values())


def distinct_strings(sentences, size):
    grams = []
    for s in sentences:
        w = s.split(" ")
        for i in range(len(w)):
            if i + size <= len(w):
                grams.append(" ".join(w[i : i + size]))
    return torch.tensor(len(set(grams)) / len(grams))


def distinct_per_text(texts, n):
    scores = [distinct_counter([t], n) for t in texts if len(t.split()) >= n]
    return np.mean(scores)


def distinct_over_words(texts, n):
    found = {tuple(t.split()[i : i + n]) for t in texts for i in range(len(t.split()) - n + 1)}
    return len(found) / sum(len(t.split()) for t in texts)


def distinct_letters(texts, n):
    grams = [t[i : i + n] for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams)


def distinct_with_stumps(texts, n):
    grams = []
    for words in map(str.split, texts):
        grams += [" ".join(words[i : i + n]) for i in range(len(words))]
    return len(set(grams)) / len(grams)


RIGHT = {
    "token-logp": [logp_cross_entropy, logp_loop, logp_shift_all],
    "reward-on-last": [place_diff, place_numpy, put(lambda n, length: [n - 1])],
    "position-ids": [positions_loop, positions_subtract],
    "distinct-n": [distinct_counter, distinct_strings],
}

WRONG = {
    "token-logp": [
        ("stands one position before", shifted(0)),
        ("one position too early", shifted(2)),
        ("prompt is included", lambda x, t, p: logp_shift_all(x, t, 1)),
        ("These are probabilities", lambda x, t, p: torch.exp(logp_loop(x, t, p))),
        ("raw logits", lambda x, t, p: torch.take_along_dim(x[:, p - 1 : -1], t[:, p:, None], 2).squeeze(2)),
        ("likeliest token", lambda x, t, p: F.log_softmax(x, 2).max(2).values[:, p - 1 : -1]),
        ("added up the row", lambda x, t, p: logp_loop(x, t, p).sum(-1)),
        ("negative log-likelihood", lambda x, t, p: -logp_cross_entropy(x, t, p)),
        ("ones that follow", lambda x, t, p: shifted(0)(x, t, p - 1)[:, :-1]),
        ("underflows", logp_softmax_log),
        ("no gradient flows through `logits`", lambda x, t, p: logp_loop(x.detach(), t, p)),
        ("reduced the result", lambda x, t, p: logp_cross_entropy(x, t, p).mean()),
    ],
    "reward-on-last": [
        ("One step too late", put(lambda n, length: [n])),
        ("One step too late", put(lambda n, length: [min(n, length - 1)])),
        ("last column", put(lambda n, length: [length - 1])),
        ("on every token", put(lambda n, length: range(n))),
        ("on the first token", put(lambda n, length: [0])),
        ("spread the score", lambda s, m: torch.stack([x * row / row.sum() for x, row in zip(s, m)])),
        ("One step too early", lambda s, m: put(lambda n, length: [n - 2] if n > 1 else [])(s, m)),
        ("One step too early", lambda s, m: put(lambda n, length: [n - 2])(s, m)),
        ("reversed along the last axis", lambda s, m: place_diff(s, m).flip(1)),
        ("raised IndexError", lambda s, m: torch.zeros(m.shape)[torch.arange(len(m)), m.sum(1)]),
    ],
    "position-ids": [
        ("counted columns", lambda mask: np.tile(np.arange(mask.shape[1]), (len(mask), 1))),
        (
            "from 1",
            lambda mask: [[sum(row[: i + 1]) for i in range(len(row))] for row in mask.int().tolist()],
        ),
        ("from the right", lambda mask: torch.arange(mask.shape[1] - 1, -1, -1).expand(mask.shape)),
        ("same position", lambda mask: 0 * mask.long()),
        ("the prompt's length", lambda m: torch.arange(m.shape[1])[None] - m.sum(1)[:, None]),
        (
            "on the right",
            lambda m: torch.arange(m.shape[1])[None].repeat(len(m), 1).clamp(max=m.sum(1)[:, None] - 1),
        ),
    ],
    "distinct-n": [
        ("averaged over texts", distinct_per_text),
        ("across two texts", lambda texts, n: distinct_counter([" ".join(texts)], n)),
        ("single words", lambda texts, n: distinct_counter(texts, 1)),
        ("number of words", distinct_over_words),
        (
            "This is a count",
            lambda texts, n: len({g for t in texts for g in zip(*(t.split()[i:] for i in range(n)))}),
        ),
        ("repeated share", lambda texts, n: 1.0 - float(distinct_strings(texts, n))),
        ("counted letters", lambda texts, n: distinct_counter([" ".join(t) for t in texts], n)),
        ("blanks among them", distinct_letters),
        ("shorter pieces", distinct_with_stumps),
        ("raised ZeroDivisionError", lambda texts, n: np.mean([distinct_counter([t], n) for t in texts])),
    ],
}
