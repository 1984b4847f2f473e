"""Answers a learner might give in notebook 11."""

# ruff: noqa: B905  (learners do not write strict=)

import numpy as np
import torch
import torch.nn.functional as F


def mask_loop(prompt_lengths, lengths, width):
    mask = torch.zeros(len(lengths), width, dtype=torch.bool)
    for b in range(len(lengths)):
        mask[b, prompt_lengths[b] : lengths[b]] = True
    return mask


def mask_numpy(prompt_lengths, lengths, width):
    t = np.arange(width)[None]
    return (t < lengths.numpy()[:, None]) & ~(t < prompt_lengths.numpy()[:, None])


def mask_lists(prompt_lengths, lengths, width):
    return torch.tensor(
        [[int(p <= t < n) for t in range(width)] for p, n in zip(prompt_lengths.tolist(), lengths.tolist())]
    )


def moved(start, stop):
    """The mask with both ends moved by so many columns."""

    def mask(prompt_lengths, lengths, width):
        rows = torch.zeros(len(lengths), width, dtype=torch.long)
        for row, p, n in zip(rows, prompt_lengths.tolist(), lengths.tolist()):
            row[p + start : n + stop] = 1
        return rows

    return mask


def loss_cross_entropy(logits, tokens, mask):
    targets = torch.where(mask, tokens, -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


def loss_loop(logits, tokens, mask):
    losses = []
    for b in range(len(tokens)):
        for t in range(1, tokens.shape[1]):
            if mask[b, t]:
                losses.append(logits[b, t - 1].logsumexp(0) - logits[b, t - 1, tokens[b, t]])
    return sum(losses) / len(losses)


def loss_weighted(logits, tokens, mask):
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return (each * mask[:, 1:]).sum() / mask[:, 1:].sum()


def surprises(logits, tokens):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")


def loss_prompt_too(logits, tokens, mask):
    ends = [row.nonzero().max().item() for row in mask]
    rows = [surprises(logits, tokens)[b, :end] for b, end in enumerate(ends)]
    return torch.cat(rows).mean()


def loss_row_means(logits, tokens, mask):
    each = surprises(logits, tokens)
    return torch.stack([row[m].mean() for row, m in zip(each, mask[:, 1:])]).mean()


def loss_unshifted(logits, tokens, mask):
    return F.cross_entropy(logits[mask], tokens[mask])


def loss_softmax_log(logits, tokens, mask):
    p = torch.softmax(logits[:, :-1], -1).gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
    return -torch.log(p)[mask[:, 1:]].mean()


def excess_loop(demo, logp):
    total = torch.zeros(())
    for p, q in zip(demo, logp):
        if p > 0:
            total = total + p * (p.log() - q)
    return total


def excess_entr(demo, logp):
    return -(demo * logp).sum() - torch.special.entr(demo).sum()


def excess_kl_div(demo, logp):
    return F.kl_div(logp, demo, reduction="sum")


def excess_numpy(demo, logp):
    p, q = demo.numpy(), logp.detach().numpy()
    return sum(a * (np.log(a) - b) for a, b in zip(p, q) if a > 0)


RIGHT = {
    "response-mask": [mask_loop, mask_numpy, mask_lists],
    "sft-loss": [loss_cross_entropy, loss_loop, loss_weighted],
    "excess-loss": [excess_loop, excess_entr, excess_kl_div],
    "predict-bad-demos": ["b", " B "],
}

WRONG = {
    "response-mask": [
        ("The prompt is in the mask", lambda p, n, w: moved(-100, 0)(0 * p + 100, n, w)),
        ("The padding is in the mask", lambda p, n, w: moved(0, 100)(p, n, w)),
        ("The EOS is missing", moved(0, -1)),
        ("One column too far", moved(0, 1)),
        ("first token of the response is missing", moved(1, 0)),
        ("last token of the prompt", moved(-1, 0)),
        ("a second time", lambda p, n, w: mask_loop(p, p + n, w)),
        ("the opposite", lambda p, n, w: 1 - mask_lists(p, n, w)),
        ("shifted by one", moved(-1, -1)),
        ("You marked the prompt", lambda p, n, w: mask_loop(0 * p, p, w)),
    ],
    "sft-loss": [
        ("No shift", loss_unshifted),
        ("wrong side", lambda x, t, m: (surprises(x, t) * m[:, :-1]).sum() / m[:, :-1].sum()),
        ("wrong side", lambda x, t, m: (surprises(x, t) * m[:, :-1]).sum() / m.sum()),
        ("Nothing is masked", lambda x, t, m: surprises(x, t).mean()),
        ("The prompt is in the loss", loss_prompt_too),
        ("averaged each row first", loss_row_means),
        ("divided by all tokens", lambda x, t, m: (surprises(x, t) * m[:, 1:]).mean()),
        ("number of rows", lambda x, t, m: (surprises(x, t) * m[:, 1:]).sum(1).mean()),
        ("added up the tokens", lambda x, t, m: (surprises(x, t) * m[:, 1:]).sum()),
        ("The sign is flipped", lambda x, t, m: -loss_loop(x, t, m)),
        ("underflows", loss_softmax_log),
        ("no gradient flows through `logits`", lambda x, t, m: loss_loop(x.detach(), t, m)),
    ],
    "excess-loss": [
        ("the whole loss", lambda d, x: -(d @ x)),
        ("The direction is flipped", lambda d, x: (x.exp() * (x - d.log())).sum()),
        ("The sign is flipped", lambda d, x: -excess_loop(d, x)),
        ("The entropy was added", lambda d, x: torch.special.entr(d).sum() - d @ x),
        ("the policy's entropy", lambda d, x: -(d @ x) - torch.special.entr(x.exp()).sum()),
        ("The weights are missing", lambda d, x: sum(a.log() - b for a, b in zip(d, x))),
        ("averaged over responses", lambda d, x: excess_loop(d, x) / d.numel()),
        ("did not add up", lambda d, x: F.kl_div(x, d, reduction="none")),
        ("0 log 0", lambda d, x: (d * torch.log(d)).sum() - (d * x).sum()),
        ("no gradient flows", excess_numpy),
    ],
    "predict-bad-demos": [
        ("Nothing votes", "a"),
        ("shares are those of the data", "c"),
        ("No number in the loss", "D"),
        ("Answer with one of the letters", 0.1),
        ("Answer with one of the letters", "e"),
    ],
}
