"""Answers a learner might give in notebook 17."""

import math
from itertools import combinations

import numpy as np
import torch


def gain_by_hand(ref, proxy, gold, beta):
    logits = ref.log() + proxy / beta
    weights = (logits - logits.max()).exp()
    policy = weights / weights.sum()
    return (policy * gold).sum() - (ref * gold).sum()


def gain_package(ref, proxy, gold, beta):
    from rlbase.exact import kl_optimum

    return kl_optimum(ref, proxy, beta=beta) @ gold - ref @ gold


def gain_numpy(ref, proxy, gold, beta):
    ref, proxy, gold = ref.numpy(), proxy.numpy(), gold.numpy()
    weights = ref * np.exp((proxy - proxy.max()) / beta)
    return float(np.average(gold, weights=weights) - np.average(gold, weights=ref))


def gain_overflow(ref, proxy, gold, beta):
    weights = ref * torch.exp(proxy / beta)
    policy = weights / weights.sum()
    return policy.dot(gold) - ref.dot(gold)


def policy_of(exponent):
    return torch.softmax(exponent, dim=0)


def best_comb(scores, gold, n):
    order = torch.argsort(scores).tolist()
    total = 0.0
    for wins, i in enumerate(order):
        total += math.comb(wins, n - 1) * gold[i].item()
    return total / math.comb(len(order), n)


def best_listed(scores, gold, n):
    winners = []
    for subset in combinations(range(len(scores)), n):
        subset = list(subset)
        winners.append(gold[subset][scores[subset].argmax()])
    return sum(winners) / len(winners)


def best_replacement(scores, gold, n):
    size = len(scores)
    ranks = torch.arange(1, size + 1, dtype=torch.float64) / size
    law = ranks**n - (ranks - 1 / size) ** n
    return (law * gold[scores.sort().indices]).sum()


def best_blocks(scores, gold, n):
    found = []
    for start in range(0, len(scores), n):
        if start + n <= len(scores):
            found.append(gold[start + scores[start : start + n].argmax().item()].item())
    return np.mean(found)


def best_unscaled(scores, gold, n):
    return sum(math.comb(i, n - 1) * g for i, g in enumerate(gold[scores.argsort()]))


def best_off_by_one(scores, gold, n):
    size = len(scores)
    ranked = gold[scores.argsort()]
    return sum(math.comb(i, n - 1) * ranked[i - 1] for i in range(1, size + 1)) / math.comb(size, n)


def fair_lstsq(scores, lengths):
    table = torch.stack([torch.ones_like(lengths), lengths], dim=1)
    line = table @ torch.linalg.lstsq(table, scores[:, None]).solution
    return scores - line[:, 0] + scores.mean()


def fair_polyfit(scores, lengths):
    slope, _ = np.polyfit(lengths.numpy(), scores.numpy(), 1)
    return scores - slope * (lengths - lengths.mean())


def fair_cov(scores, lengths):
    both = torch.cov(torch.stack([scores, lengths]))
    return scores - both[0, 1] / both[1, 1] * (lengths - torch.mean(lengths))


def explained(scores, lengths):
    return scores.mean() + scores - fair_cov(scores, lengths)


def correlated(scores, lengths):
    r = torch.corrcoef(torch.stack([scores, lengths]))[0, 1]
    return scores - r * (lengths - lengths.mean())


def through_origin(scores, lengths):
    slope = (scores * lengths).sum() / (lengths * lengths).sum()
    return scores - slope * lengths


def upside_down(scores, lengths):
    both = torch.cov(torch.stack([scores, lengths]))
    return scores - both[0, 1] / both[0, 0] * (lengths - lengths.mean())


def keep_while(gold, patience):
    i = best = 0
    while i + 1 < len(gold) and i - best < patience:
        i += 1
        if gold[i] > gold[best]:
            best = i
    return best


def keep_seen(gold, patience):
    seen = []
    for value in gold:
        seen.append(value)
        if len(seen) - 1 - seen.index(max(seen)) >= patience:
            break
    return seen.index(max(seen))


def keep_stop(gold, patience):
    best, where = float("-inf"), 0
    for i, value in enumerate(gold):
        if value > best:
            best, where = value, i
        elif i - where == patience:
            return i
    return len(gold) - 1


def keep_fallen(gold, patience):
    fallen, best = 0, 0
    for i in range(1, len(gold)):
        if gold[i] > gold[i - 1]:
            fallen = 0
        else:
            fallen += 1
        if gold[i] > gold[best]:
            best = i
        if fallen == patience:
            break
    return best


def keep_total(gold, patience):
    bad, best = 0, 0
    for i, value in enumerate(gold[1:], 1):
        if value > gold[best]:
            best = i
        else:
            bad += 1
        if bad == patience:
            return best
    return best


def keep_equal(gold, patience):
    best = 0
    for i, value in enumerate(gold):
        if value >= gold[best]:
            best = i
        if i - best >= patience:
            break
    return best


RIGHT = {
    "hacked-gain": [gain_by_hand, gain_package, gain_numpy],
    "best-of-n-gold": [best_comb, best_listed],
    "length-out": [fair_lstsq, fair_polyfit, fair_cov],
    "early-stop": [keep_while, keep_seen],
    "predict-noise": ["b", " B"],
}

WRONG = {
    "hacked-gain": [
        ("let the policy see gold", lambda r, p, g, b: gain_by_hand(r, g, g, b)),
        ("the proxy's gain", lambda r, p, g, b: gain_by_hand(r, p, p, b)),
        ("subtract the reference's", lambda r, p, g, b: policy_of(r.log() + p / b) @ g),
        ("reference is missing", lambda r, p, g, b: policy_of(p / b) @ g - r @ g),
        ("a plain average", lambda r, p, g, b: policy_of(r.log() + p / b) @ g - torch.mean(g)),
        ("multiplied by beta", lambda r, p, g, b: (policy_of(r.log() + p * b) - r) @ g),
        ("averaged over responses", lambda r, p, g, b: ((policy_of(r.log() + p / b) - r) * g).mean()),
        ("sign is flipped", lambda r, p, g, b: r @ g - policy_of(r.log() + p / b) @ g),
        ("take its logarithm", lambda r, p, g, b: (policy_of(r + p / b) - r) @ g),
        ("overflows", gain_overflow),
    ],
    "best-of-n-gold": [
        ("the mean score", lambda s, g, n: best_comb(s, s, n)),
        ("chose by gold", lambda s, g, n: best_listed(g, g, n)),
        ("the first n draws", lambda s, g, n: g[int(np.argmax(s[:n].numpy()))]),
        ("blocks of n", best_blocks),
        ("best of all draws", lambda s, g, n: g[int(s.argmax())]),
        ("the n best draws", lambda s, g, n: g[s.argsort(descending=True)[:n]].mean()),
        ("with replacement", best_replacement),
        ("lowest score", lambda s, g, n: best_comb(-s, g, n)),
        ("Off by one", best_off_by_one),
        ("number of all subsets", best_unscaled),
    ],
    "length-out": [
        ("moved the mean", lambda s, x: s - np.polyfit(x.numpy(), s.numpy(), 1)[0] * x),
        ("mean is gone", lambda s, x: fair_lstsq(s, x) - s.mean()),
        ("once more", lambda s, x: 2 * s - fair_cov(s, x)),
        ("what length explains", explained),
        ("divided by the length", lambda s, x: s / x),
        ("through the origin", through_origin),
        ("upside down", upside_down),
        ("the correlation", correlated),
        ("by the number of responses", lambda s, x: s + (fair_cov(s, x) - s) / len(s)),
    ],
    "early-stop": [
        ("the whole run", lambda gold, patience: gold.index(max(gold))),
        ("where the run stops", keep_stop),
        ("from one look to the next", keep_fallen),
        ("never reset", keep_total),
        ("A tie is no progress", keep_equal),
        ("too late", lambda gold, patience: keep_while(gold, patience + 1)),
        ("too early", lambda gold, patience: keep_seen(gold, patience - 1)),
        ("gold reward itself", lambda gold, patience: gold[keep_seen(gold, patience)]),
        ("counted from 0", lambda gold, patience: 1 + keep_seen(gold, patience)),
    ],
    "predict-noise": [
        ("must be *bad*", "a"),
        ("a sign of quality", "c"),
        ("why should they harm", "d"),
        ("one of the letters", "e"),
        ("one of the letters", 2),
    ],
}
