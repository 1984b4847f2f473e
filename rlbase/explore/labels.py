"""Labels in hand: how sure raters are, and how often a label is wrong; losses of comparisons retrain at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from rlbase.exact import bt_projection, ipo_optimum, kl_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, explore, log_slider, slider
from rlbase.explore.live import choice as pick
from rlbase.explore.scene import Bars, Line, Panel, Scene, number
from rlbase.losses import cdpo, dpo, ipo, rdpo

NAMES = [f"worth {number(r)}" for r in REWARD.tolist()]
ALL = 0  # as many comparisons of each pair as there are


def agreed(share: float) -> Tensor:
    """The better one of two responses of `REWARD` is preferred by ``share`` of all raters, ``[4, 4]``.

    >>> agreed(0.9)[3].tolist()
    [0.9, 0.9, 0.9, 0.5]
    """
    ahead = (REWARD[:, None] - REWARD).sign()
    return 0.5 + ahead * (share - 0.5)


def fitted(
    loss: Callable[..., Tensor],
    preference: Tensor,
    updates: int = 200,
    *,
    ref: Tensor = REF,
    learning_rate: float = 0.1,
) -> Tensor:
    r"""Log-probabilities ``[updates + 1, n]`` of a policy that learns from ``ref`` on, by Adam.

    Each step takes the exact gradient of a ``loss`` of comparisons, its settings bound, over all pairs of responses;
    ``preference[i, j]`` is the share that prefers i to j.

    >>> last = fitted(partial(dpo, beta=0.5), (REWARD[:, None] - REWARD).sigmoid())[-1]
    >>> last.exp().round(decimals=2).tolist()
    [0.05, 0.26, 0.06, 0.63]
    """
    one, two = torch.cat([pairs := torch.triu_indices(len(ref), len(ref), 1), pairs.flip(0)], 1)
    counts, ref_logp = preference[one, two], ref.log()
    logits = ref_logp.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=learning_rate, betas=(0.9, 0.99), fused=True)
    path = [ref_logp]
    for _ in range(updates):
        logp = logits.log_softmax(0)
        each = counts * loss(logp[one], logp[two], ref_logp[one], ref_logp[two])
        (logits.grad,) = torch.autograd.grad(each.sum(), logits)
        optimizer.step()
        path.append(logits.detach().log_softmax(0))
    return torch.stack(path)


@lru_cache(maxsize=256)
def _course(name: str, strength: float, share: float) -> Tensor:
    loss = partial(dpo, beta=strength) if name == "dpo" else partial(ipo, tau=strength)
    return fitted(loss, agreed(share))


def _ahead(logp: Tensor) -> list[float]:
    """By how much the log-ratio of the best response is above that of the worst."""
    ratio = logp - REF.log()
    return (ratio[..., 3] - ratio[..., 0] + 0.0).round(decimals=6).abs().tolist()


def certainty_scene(share: float = 0.9, beta: float = 0.5, tau: float = 0.1) -> Scene:
    """DPO and IPO learn from raters who agree to ``share``; the gap of best and worst, and who is left."""
    courses = {"DPO": _course("dpo", beta, share), "IPO": _course("ipo", tau, share)}
    rests = {"IPO": ipo_optimum(REF, agreed(share), tau=tau)}
    if share < 1:
        rests["DPO"] = kl_optimum(REF, bt_projection(agreed(share)), beta=beta)
    marks, bars = [], [Bars(REF, "reference", "reference")]
    for name, color in (("DPO", "wrong"), ("IPO", "policy")):
        marks.append(Line(range(201), _ahead(courses[name]), color, name, width=2.5))
        if name in rests:
            level = _ahead(rests[name].log())
            marks.append(Line([0, 200], [level] * 2, color, f"{name} will rest", dashed=True, width=1.5))
        bars.append(Bars(courses[name][-1].exp(), color, name))
    gap = Panel(marks, "Log-ratio: best minus worst", "update", "nats", (0, 200), (0, 20))
    who = Panel(bars, "After 200 updates", "", "probability", y_range=(0, 1.08), categories=NAMES, weight=1.3)
    half, end = (_ahead(courses["DPO"])[k] for k in (100, 200))
    told = f"is on its way to {_ahead(rests['DPO'].log()):.1f}" if "DPO" in rests else "has nowhere to rest"
    caption = (
        f"{share:.0%} prefer the better one. DPO's gap is {half:.1f} after 100 updates, {end:.1f} after 200, and "
        f"{told}. IPO's is {_ahead(courses['IPO'])[200]:.1f}; it rests at {_ahead(rests['IPO'].log()):.1f}, and no "
        f"label moves it beyond 1/τ = {1 / tau:.1f}."
    )
    return Scene([gap, who], caption, width=900, height=350)


def certainty_explorer() -> Explorable:
    """How sure raters are, β and τ in hand; DPO and IPO retrain."""
    controls = {
        "share": slider(0.9, 0.5, 1.0, step=0.05, label="raters who agree"),
        "beta": log_slider(0.5, 0.1, 2.0, label="DPO's β", steps=10),
        "tau": log_slider(0.1, 0.05, 1.0, label="IPO's τ", steps=10),
    }
    return explore(certainty_scene, controls)


def flipped(preference: Tensor, noise: float) -> Tensor:
    r"""What raters seem to prefer if each label is turned around with probability ``noise``.

    $P'=\epsilon+(1-2\epsilon)P$: everything moves towards 1/2.

    >>> flipped(torch.tensor([1.0, 0.5, 0.0]), 0.2)
    tensor([0.8000, 0.5000, 0.2000])
    """
    return noise + (1 - 2 * noise) * preference


def counted(preference: Tensor, times: int, generator: torch.Generator) -> Tensor:
    """The shares that one sees when each pair is compared ``times`` times only.

    >>> counted(torch.full((2, 2), 0.5), 4, torch.Generator().manual_seed(0)).sum().item()
    2.0
    """
    draws = torch.rand(times, *preference.shape, generator=generator) < preference
    upper = draws.double().mean(0).triu(1)
    return upper + (1 - upper.T).tril(-1) + 0.5 * torch.eye(len(preference)).to(upper)


@lru_cache(maxsize=64)
def _learned(noise: float, guess: float, times: int) -> dict[str, Tensor]:
    labels = flipped((REWARD[:, None] - REWARD).sigmoid(), noise)
    if times:
        labels = counted(labels, times, torch.Generator().manual_seed(0))
    losses = {
        "DPO": partial(dpo, beta=0.5),
        "cDPO": partial(cdpo, beta=0.5, label_smoothing=guess),
        "rDPO": partial(rdpo, beta=0.5, label_smoothing=guess),
        "IPO": partial(ipo, tau=0.1),
    }
    return {name: fitted(loss, labels, 120)[-1].exp() for name, loss in losses.items()}


def noise_scene(noise: float = 0.2, guess: float = 0.0, times: int = ALL) -> Scene:
    """Four losses on flipped labels: where they come to lie, and how far from where clean labels lead each."""
    clean = (REWARD[:, None] - REWARD).sigmoid()
    truth, learned = kl_optimum(REF, REWARD, beta=0.5), _learned(noise, guess, int(times))
    rests = {"IPO": ipo_optimum(REF, clean, tau=0.1)}
    colors = {"DPO": "reference", "cDPO": "other", "rDPO": "policy"}
    bars = [Bars(truth, "truth", "truth π*")] + [Bars(learned[n], c, n) for n, c in colors.items()]
    who = Panel(bars, "Who is left", "", "probability", y_range=(0, 1.08), categories=NAMES, weight=2.1)
    off = {name: total_variation(found, rests.get(name, truth)) for name, found in learned.items()}
    far = Panel(
        [Bars(list(off.values()), "wrong")],
        "Distance to what clean labels teach",
        "",
        "total variation",
        y_range=(0, 0.6),
        categories=list(off),
    )
    seen = f"{int(times)} comparisons of each pair" if times else "Endlessly many comparisons"
    caption = f"{seen}, {noise:.0%} flipped, {guess:.0%} assumed. Distance: " + ", ".join(
        f"{name} {x:.3f}" for name, x in off.items()
    )
    return Scene([who, far], f"{caption}.", width=1000, height=350)


def noise_explorer() -> Explorable:
    """The share of flipped labels, what one believes it is, and the number of comparisons in hand."""
    sizes = [("endlessly many", ALL), ("1000 of each pair", 1000), ("10 of each pair", 10)]
    controls = {
        "noise": slider(0.2, 0.0, 0.45, step=0.05, label="flipped labels, e"),
        "guess": slider(0.0, 0.0, 0.45, step=0.05, label="what we assume"),
        "times": pick(ALL, sizes, label="comparisons"),
    }
    return explore(noise_scene, controls)
