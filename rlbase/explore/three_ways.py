"""PPO, DPO, IPO and KTO on one language model whose 15 responses can be listed: each beside the law it aims at.

The model writes at most three letters, a or b. Two responses are drawn from it, and somebody prefers the one with more
a and fewer b, as Bradley and Terry have it. So every method's answer is known, and every distance is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from rlbase import exact
from rlbase.envs import CharTokenizer, TextEnv, pad_left
from rlbase.explore.live import Explorable, explore, slider
from rlbase.explore.scene import Cells, Panel, Scene
from rlbase.losses import dpo, ipo, kto
from rlbase.policies import LMCritic, LMRewardModel, frozen_copy, random_policy
from rlbase.train import (
    LANGUAGE_MODEL,
    PreferenceConfig,
    RewardModelConfig,
    ppo,
    preference,
    reward_model,
    with_reference,
)
from rlbase.types import Choices, Labelled, PreferencePairs

TOKENIZER, LENGTH = CharTokenizer("ab"), 3
IDS, MASK = exact.enumerate_responses(3, TOKENIZER.eos_token_id, LENGTH)
N, TOKENS = len(IDS), MASK.sum(1)
WORDS = tuple("".join("ab"[t] for t in row if t < 2) or "∅" for row in IDS.tolist())
GOLD = 0.8 * (((IDS == 0) & MASK).sum(1) - ((IDS == 1) & MASK).sum(1).double())
METHODS, BETAS = ("DPO", "IPO", "IPO averaged", "KTO"), (0.01, 0.1, 0.3, 0.6)
Scorer = Callable[[Any, Tensor, Tensor], Tensor]


def writer() -> Any:
    """The language model before anybody trains it: a small GPT-2 with random weights."""
    return random_policy("gpt2", vocab_size=3, hidden_size=16, layers=1, initializer_range=0.12, seed=6)


@torch.no_grad()
def law(policy: Any) -> Tensor:
    """The probability of every response, ``[15]``, in the order of `WORDS`.

    >>> round(law(writer()).sum().item(), 6)
    1.0
    """
    logp = policy.evaluate(_rows(torch.arange(N)).obs, IDS)[0]
    return torch.where(MASK, logp, 0).sum(1).double().softmax(0)


@lru_cache
def start() -> Tensor:
    """The law of the `writer`, ``[15]``: everybody's reference, and where the comparisons come from."""
    return law(writer())


def comparisons(n: int | None = None, seed: int = 0) -> Tensor:
    """How often row was preferred to column, ``[15, 15]``, in ``n`` comparisons; None: in all there could be (sum 1).

    >>> comparisons(100).sum().item(), round(comparisons().sum().item(), 6)
    (100.0, 1.0)
    """
    asked = start()[:, None] * start() * (1 - torch.eye(N, dtype=torch.float64))
    shares = asked * (GOLD[:, None] - GOLD).sigmoid()
    shares = shares / shares.sum()
    if n is None:
        return shares
    drawn = torch.multinomial(shares.flatten(), n, True, generator=torch.Generator().manual_seed(seed))
    return drawn.bincount(minlength=N * N).double().view(N, N)


@lru_cache
def target(method: str, beta: float) -> Tensor:
    r"""Where ``method`` rests, ``[15]``, when it has seen all comparisons: its own fixed point.

    Averaged, IPO fits the log-ratio *per token*: $\log\frac\pi{\pi_{ref}}=|y|(f(y)+c)$ with the f of the summed one,
    and $c$ makes probabilities of it. KTO's reference point is 0: its estimate cannot rise in a world of one prompt.

    >>> (target("DPO", 0.5) - target("PPO", 0.5)).abs().max().item()
    0.0
    """
    ref, wins = start(), comparisons()
    asked = wins + wins.T
    if method in ("DPO", "PPO"):
        return exact.kl_optimum(ref, GOLD, beta=beta)
    if method == "KTO":
        return exact.kto_optimum(ref, wins.sum(1) / asked.sum(1), asked.sum(1), beta=beta, kl=0.0)[0]
    summed = exact.ipo_optimum(ref, wins / asked.clamp(min=1e-300), tau=beta, weight=asked)
    if method == "IPO":
        return summed
    f = summed.log() - ref.log()
    low, high = -f.max().item(), -f.min().item()
    for _ in range(100):
        c = (low + high) / 2
        low, high = (low, c) if (ref.log() + TOKENS * (f + c)).exp().sum() > 1 else (c, high)
    return (ref.log() + TOKENS * (f + low)).softmax(0)


def learn(
    method: str,
    beta: float,
    wins: Tensor | None = None,
    *,
    updates: int | None = None,
    every: int = 10,
    scorer: Scorer | None = None,
    policy: Any = None,
    seed: int = 0,
) -> Iterator[dict[str, float]]:
    """Train a fresh `writer` (or ``policy``) by one of `METHODS` or by PPO; every ten updates, where it stands.

    ``wins`` are `comparisons` (None: all there could be); ``scorer`` is what PPO is paid (None: the gold reward).
    Every run of a loss of preferences sees all its comparisons in every step. ``seed`` is PPO's.

    >>> round(list(learn("DPO", 1.0, updates=10))[-1]["kl"], 1) > 0
    True
    """
    policy = policy or writer()
    reference: Any = frozen_copy(policy)
    if method == "PPO":
        critic: Any = LMCritic(policy)
        env: Any = TextEnv(
            ("a",), TOKENIZER, token_scorer=scorer or paid, max_new_tokens=LENGTH, batch_size=128
        )
        config = replace(
            LANGUAGE_MODEL, updates=updates or 60, learning_rate=3e-3, beta=beta, value_clip=None
        )
        luck = torch.Generator().manual_seed(seed)
        steps = ppo(policy, env, config, critic=critic, reference=reference, generator=luck)
    else:
        data: Any = counted(comparisons() if wins is None else wins, one_by_one=method == "KTO")
        plan = PreferenceConfig(updates=updates or 200, batch_size=len(data), learning_rate=0.01)
        losses = {"DPO": partial(dpo, beta=beta), "KTO": partial(kto, beta=beta)}
        loss = losses.get(method, partial(ipo, tau=beta))
        plan = replace(plan, average=method == "IPO averaged")
        steps = preference(policy, with_reference(reference, data), loss, plan)
    for record in steps:
        if record["update"] % every == 0:
            yield {"update": record["update"], **standing(law(policy), method, beta)}


def standing(found: Tensor, method: str, beta: float) -> dict[str, float]:
    """Gold reward, KL to the reference, and total variation to the method's own target and to PPO's of this beta."""
    own, rl = (exact.total_variation(found, target(m, beta)) for m in (method, "PPO"))
    return {"gold": (found @ GOLD).item(), "kl": exact.kl(found, start()), "tv_own": own, "tv_rl": rl}


def counted(wins: Tensor, *, one_by_one: bool = False) -> PreferencePairs | Labelled:
    """The comparisons behind ``wins``, equal ones together, with weights; or, one by one, how often each response won.

    >>> len(counted(comparisons())), len(counted(comparisons(), one_by_one=True))
    (105, 15)
    """
    asked = wins + wins.T
    if one_by_one:
        seen = (asked.sum(1) > 0).nonzero()[:, 0]
        times = asked.sum(1)[seen]
        share = (wins.sum(1)[seen] / times).float()
        return Labelled(_rows(seen), share, (times / times.mean()).float())
    i, j = asked.triu(1).nonzero(as_tuple=True)
    weight = (asked[i, j] / asked[i, j].mean()).float()
    return PreferencePairs(_rows(i), _rows(j), (wins / asked)[i, j].float(), weight=weight)


def judge(wins: Tensor, *, seed: int = 0, updates: int = 300) -> Scorer:
    """What PPO is paid when nobody knows the gold reward: a reward model fitted to the same comparisons."""
    i, j = (index.repeat_interleave(wins[wins > 0].long()) for index in wins.nonzero(as_tuple=True))
    model: Any = LMRewardModel(writer())
    config = RewardModelConfig(updates=updates, batch_size=64, learning_rate=0.01)
    pairs, luck = PreferencePairs(_rows(i), _rows(j)), torch.Generator().manual_seed(seed)
    for _ in reward_model(model, pairs, config, generator=luck):
        pass
    return frozen_copy(model).score


def paid(prompt: Any, actions: Tensor, mask: Tensor) -> Tensor:
    """The gold reward of responses, ``[B]``: 0.8 for every a, -0.8 for every b."""
    return 0.8 * (((actions == 0) & mask).sum(1) - ((actions == 1) & mask).sum(1)).float()


Table = Mapping[str, Sequence[Mapping[str, float]]]


def sweep_scene(
    table: Table, metrics: Sequence[str] = ("gold", "kl", "tv_own"), betas: Sequence[float] = BETAS
) -> Scene:
    """One heat map per metric: a row per method, a column per beta; what is not trained yet is a wall."""
    titles = {
        "gold": "Gold reward",
        "kl": "KL to the reference, nats",
        "tv_own": "Distance to its own target",
    }
    limits = {"gold": (0.0, 2.4), "kl": (0.0, 2.1), "tv_own": (0.0, 0.5)}
    panels = []
    for metric in metrics:
        values = [
            [row[i][metric] if i < len(row) else None for i in range(len(betas))] for row in table.values()
        ]
        texts = [["" if v is None else f"{v:.2f}" for v in row] for row in values]
        cells = Cells(values, None, texts, *limits[metric], label="", rows=list(table))
        panels.append(Panel([cells], titles[metric], categories=[f"β {b:g}" for b in betas]))
    return Scene(panels, width=1000, height=300)


def known_table(methods: Sequence[str] = METHODS) -> dict[str, list[dict[str, float]]]:
    """Where every method rests for each of `BETAS`, from the closed forms."""
    return {m: [standing(target(m, b), m, b) for b in BETAS] for m in methods}


def price_scene(table: Table, price: float = 0.6) -> Scene:
    """Reward by itself, and what is left of it when every nat costs ``price``: the best beta of each method."""
    left = {m: [{"gold": r["gold"] - price * r["kl"]} for r in row] for m, row in table.items()}
    best = {m: max(range(len(row)), key=lambda i: row[i]["gold"]) for m, row in left.items()}
    texts = [
        [("★ " if i == best[m] else "") + f"{r['gold']:.2f}" for i, r in enumerate(row)]
        for m, row in left.items()
    ]
    cells = Cells([[r["gold"] for r in row] for row in left.values()], None, texts, label="", rows=list(left))
    panel = Panel([cells], f"Gold reward less {price:.2f} a nat", categories=[f"β {b:g}" for b in BETAS])
    words = ", ".join(f"{m} {BETAS[i]:g}" for m, i in best.items())
    return Scene([panel], f"At {price:.2f} a nat the best β (or τ) is: {words}.", width=620)


def price_explorer(table: Table) -> Explorable:
    """The price of a nat in hand; the star stands at each method's best beta."""
    return explore(
        partial(price_scene, table), {"price": slider(0.6, 0.0, 1.5, step=0.05, label="price of a nat")}
    )


def _rows(i: Tensor) -> Choices:
    return Choices(pad_left([TOKENIZER.encode("a")])[[0] * len(i)], IDS[i], MASK[i])
