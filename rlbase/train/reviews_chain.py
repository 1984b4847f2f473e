"""The recipe of the shipped stages of RLHF: the embedded model taught to obey, and a reward model of its responses.

``python -m rlbase train-reviews-chain --out assets`` runs it: supervised fine-tuning on `rlbase.data.requests`, then
two responses of that very model to each request, compared by raters who know `appeal`, then a reward model begun from
it. `RLHF` holds the settings with which PPO goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlbase.data.encode import encode_demonstrations
from rlbase.data.requests import Scorer, appeal, obeys, requests
from rlbase.feedback.raters import Rater
from rlbase.policies.load import load_policy, reviews_folder
from rlbase.policies.reward_model import LMRewardModel, load_reward_model, normalise
from rlbase.rollout import rollout
from rlbase.train.ppo import LANGUAGE_MODEL
from rlbase.train.recipe import all_at_the_end, save_in_half
from rlbase.train.reviews_cards import REWARD_CARD, SFT_CARD
from rlbase.train.reviews_world import drawn, request_world
from rlbase.train.reward_model import RewardModelConfig, reward_model
from rlbase.train.sft import SFTConfig, held_out_loss, sft
from rlbase.types import Choices, PreferencePairs
from rlbase.validate import whole

SFT = SFTConfig(epochs=2, batch_size=16, learning_rate=1e-3, warmup=10, group_by_length=True)
"""Two passes over 8,000 demonstrations: about 75 CPU-seconds."""
REWARD = RewardModelConfig(learning_rate=1e-3, warmup=10, group_by_length=True)
"""One pass over 8,000 comparisons: about 80 CPU-seconds."""
RLHF = replace(LANGUAGE_MODEL, updates=30, epochs=2, learning_rate=5e-4)
"""PPO on the shipped stages, about 1.2 CPU-seconds an update of 36 responses, with ``critic=LMCritic(reward_model)``.

It begins at a proxy of -0.2 and a gold score of 0.46 and reaches, over seeds 0, 1, 2: in 12 updates 1.0 and 0.60 to
0.65, 5 nats away; in 25 updates 1.5 and 0.65 to 0.69, 6 nats away; in 50 updates 1.7 and no more gold. At ``beta=0``
gold peaks at 0.54 after 20 updates and is 0.26 after 50, while the proxy goes on to 2.0; with ``learning_rate=1e-3,
anneal=False``, too, it is below its beginning after 10 to 20. RLOO in groups of four needs two thirds of the time and
ends at 1.6 and 0.59.
"""
RATER = Rater(temperature=0.1)
"""Whoever compares: a difference of 0.1 in the gold score is preferred with odds of e."""
HELD_OUT_SEED = 10_000


class Compared(NamedTuple):
    """Comparisons ``[n]``, and the ``[2n]`` responses behind them with their gold scores: a pair is two neighbours.

    ``ceiling`` is the accuracy that nobody can exceed on them, the mean of the more likely answer's probability.
    """

    pairs: PreferencePairs
    responses: Choices
    gold: Tensor
    ceiling: float


def compared(
    policy: Any,
    n: int,
    *,
    generator: torch.Generator,
    rater: Rater = RATER,
    scorer: Scorer = appeal,
) -> Compared:
    """``n`` pairs of responses of ``policy`` to one request each, compared by ``rater``, who goes by ``scorer``.

    What was sampled is kept token by token, so that the reward model reads what PPO will show it.

    Raises:
        ValueError: ``n`` is below 1.

    >>> found = compared(load_policy("reviews-sft"), 40, generator=torch.Generator().manual_seed(0))
    >>> len(found.pairs), found.gold.shape, 0.5 < found.ceiling < 1
    (40, torch.Size([80]), True)
    """
    whole("compared", "n", n, 1)
    responses, _, _, gold = drawn(policy, 2 * n, generator=generator, scorer=scorer, group_size=2)
    a = torch.arange(0, 2 * n, 2)
    prob = rater.prob(gold[a], gold[a + 1])
    first = rater.prefer(gold[a], gold[a + 1], generator)
    chosen, rejected = torch.where(first, a, a + 1), torch.where(first, a + 1, a)
    pairs = PreferencePairs(responses[chosen], responses[rejected])
    return Compared(pairs, responses, gold, torch.maximum(prob, 1 - prob).mean().item())


def train_reviews_chain(
    out: Path,
    *,
    demonstrations: int = 8000,
    comparisons: int = 8000,
    seed: int = 0,
    measured_on: int = 1000,
) -> Iterator[dict[str, Any]]:
    """Train both stages and write them to ``out``; yields the records of `sft` and then of `reward_model`.

    The last record holds the measurements of the cards instead (`measure_policy`, `measure_reward`). The files appear
    in ``out/reviews-sft`` and ``out/reviews-reward`` when all is done.

    Raises:
        OSError: ``out`` cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> *records, figures = train_reviews_chain(folder, demonstrations=16, comparisons=8, measured_on=8)
    >>> len(records), load_reward_model(folder / "reviews-reward").scale.item() > 0
    (3, True)
    """
    first, second = (torch.Generator().manual_seed(seed + stage) for stage in range(2))
    with all_at_the_end(out) as folder:
        sft_folder, reward_folder = folder / "reviews-sft", folder / "reviews-reward"
        policy: Any = load_policy("reviews")
        shown = encode_demonstrations(policy.tokenizer, requests(demonstrations, seed=seed + 1))
        yield from sft(policy, shown, SFT, generator=first)
        _save_policy(policy, sft_folder)
        policy = load_policy(sft_folder)  # as it is shipped: rounded to float16
        learned = compared(policy, comparisons, generator=second)
        model: Any = LMRewardModel(policy)
        yield from reward_model(model, learned.pairs, REWARD, generator=second)
        normalise_to(model, learned.responses, shown)
        model.save(reward_folder, dtype=torch.float16)
        figures: dict[str, float] = {
            "demonstrations": demonstrations,
            "comparisons": comparisons,
            "measured": measured_on,
        }
        figures |= measure_policy(policy, n=measured_on)
        figures |= measure_reward(load_reward_model(reward_folder), policy, n=measured_on)
        _write_cards(policy, sft_folder, reward_folder, {"seed": seed, **figures})
    yield figures


def normalise_to(model: LMRewardModel, responses: Choices, demonstrations: Choices) -> None:
    """Let the spread over ``responses`` be the unit, and the mean of ``demonstrations`` 0; see `normalise`.

    >>> policy, generator = load_policy("reviews-sft"), torch.Generator().manual_seed(0)
    >>> drawn, model = compared(policy, 20, generator=generator), load_reward_model("reviews-reward")
    >>> normalise_to(model, drawn.responses, drawn.responses[:7])
    >>> every = drawn.responses
    >>> scores = model.score(every.obs, every.actions, every.mask)
    >>> bool(scores[:7].mean().abs() < 1e-5), bool((scores.std(correction=0) - 1).abs() < 1e-5)
    (True, True)
    """
    normalise(model, responses, std=1.0)
    unit = model.scale.clone()
    normalise(model, demonstrations)
    model.scale.copy_(unit)


@torch.no_grad()
def measure_policy(policy: Any, *, n: int = 1000) -> dict[str, float]:
    """What a policy makes of requests: nats a token on ``n`` held-out demonstrations, and ``n`` responses of its own.

    >>> figures = measure_policy(load_policy("reviews-sft"), n=36)
    >>> figures["obeys"] > 0.4, figures["nats_per_token"] < 1
    (True, True)
    """
    held_out = requests(n, seed=HELD_OUT_SEED)
    prompts, demonstrated = ([getattr(d, name) for d in held_out] for name in ("prompt", "response"))
    shown = encode_demonstrations(policy.tokenizer, held_out)
    world: Any = request_world(policy.tokenizer, appeal, batch_size=n)
    rolled = rollout(policy, world, generator=torch.Generator().manual_seed(HELD_OUT_SEED))
    written = rolled.actions.eq(policy.tokenizer.eos_token_id) & rolled.mask
    return {
        "nats_per_token": held_out_loss(policy, shown),
        "obeys": sum(obeys(world.prompts_used, world.responses)) / n,
        "appeal": world.scores.mean().item(),
        "demonstrated_appeal": sum(appeal(prompts, demonstrated)) / n,
        "tokens": rolled.mask.sum(1).double().mean().item(),
        "unfinished": 1 - written.any(1).double().mean().item(),
    }


@torch.no_grad()
def measure_reward(model: Any, policy: Any, *, n: int = 1000) -> dict[str, float]:
    r"""How well a reward model judges ``n`` fresh comparisons of responses of ``policy``.

    ``accuracy`` against ``ceiling``, what the gold score itself would reach; ``confidence``, the mean probability
    $\sigma(|\Delta r|)$ that it gives to its own verdict in its own units (``scale`` undone): above the accuracy it is
    too sure; ``correlation`` with the gold score over the ``2n`` responses.

    >>> figures = measure_reward(load_reward_model("reviews-reward"), load_policy("reviews-sft"), n=40)
    >>> figures["correlation"] > 0.5
    True
    """
    found = compared(policy, n, generator=torch.Generator().manual_seed(HELD_OUT_SEED))
    scores = model.score(found.responses.obs, found.responses.actions, found.responses.mask)
    pairs = (scores * model.scale).view(n, 2)  # two neighbours each, the chosen one first or second
    first = (found.pairs.chosen.actions == found.responses.actions[::2]).all(1)
    chosen, rejected = torch.where(first[:, None], pairs, pairs.flip(1)).unbind(1)
    return {
        "accuracy": (chosen > rejected).double().mean().item(),
        "ceiling": found.ceiling,
        "confidence": (chosen - rejected).abs().sigmoid().double().mean().item(),
        "correlation": torch.corrcoef(torch.stack((scores, found.gold)))[0, 1].item(),
    }


def _save_policy(policy: Any, folder: Path) -> None:
    save_in_half(policy, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(reviews_folder() / name, folder / name)


def _write_cards(policy: Any, sft_folder: Path, reward_folder: Path, told: dict[str, float]) -> None:
    world: Any = request_world(policy.tokenizer, appeal, batch_size=6)
    rollout(policy, world, generator=torch.Generator().manual_seed(1))
    told_of = zip(world.prompts_used, world.responses, world.scores.tolist(), strict=True)
    samples = "\n".join(f"- **{p}**{r} ({score:.2f})" for p, r, score in told_of)
    (sft_folder / "README.md").write_text(SFT_CARD.format(samples=samples, **told), encoding="utf-8")
    (reward_folder / "README.md").write_text(REWARD_CARD.format(**told), encoding="utf-8")
