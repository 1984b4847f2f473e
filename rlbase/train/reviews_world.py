"""The world of requests for language models, and how the recipes of the embedded model draw responses in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlbase.data.requests import Scorer, all_requests, appeal
from rlbase.envs.text import TextEnv
from rlbase.rollout import rollout
from rlbase.types import Choices, Prompt, Rollout
from rlbase.validate import whole

LONGEST = 48  # tokens of a response: hardly any is cut off
AT_ONCE = 720  # responses in one rollout: what a small machine holds in memory


def request_world(
    tokenizer: Any,
    scorer: Scorer | None = None,
    *,
    prompts: Sequence[str] | None = None,
    token_scorer: Callable[[Prompt, Tensor, Tensor], Tensor] | None = None,
    batch_size: int = 36,
    group_size: int = 1,
    max_new_tokens: int = LONGEST,
) -> TextEnv:
    """The world in which `rlbase.data.requests` are answered: ``prompts``, or (None) all 36 in a batch.

    >>> from rlbase.policies import load_policy
    >>> world = request_world(load_policy("reviews-sft").tokenizer, appeal)
    >>> _ = rollout(load_policy("reviews-sft"), world, generator=torch.Generator().manual_seed(0))
    >>> len(world.responses), bool(world.scores.mean() > 0.3)
    (36, True)
    """
    return TextEnv(
        all_requests() if prompts is None else prompts,
        tokenizer,
        scorer,
        token_scorer=token_scorer,
        batch_size=batch_size,
        group_size=group_size,
        max_new_tokens=max_new_tokens,
    )


class Drawn(NamedTuple):
    """Responses of a policy ``[n]``, their prompts and texts, and their scores ``[n]``."""

    choices: Choices
    prompts: list[str]
    texts: list[str]
    scores: Tensor


def drawn(
    policy: Any,
    n: int,
    *,
    generator: torch.Generator,
    prompts: Sequence[str] | None = None,
    scorer: Scorer = appeal,
    group_size: int = 1,
) -> Drawn:
    """``n`` responses of ``policy`` to requests, ``group_size`` neighbours to the same one.

    Raises:
        ValueError: ``n`` is below 1 or no multiple of ``group_size``, or the group is larger than `AT_ONCE`.

    >>> from rlbase.policies import load_policy
    >>> found = drawn(load_policy("reviews-sft"), 4, generator=torch.Generator().manual_seed(0), group_size=2)
    >>> len(found.choices), found.prompts[0] == found.prompts[1], found.texts[0] == found.texts[1]
    (4, True, False)
    """
    whole("drawn", "n", n, 1)
    whole("drawn", "group_size", group_size, 1)
    if n % group_size or group_size > AT_ONCE:
        raise ValueError(
            f"drawn: n must be a multiple of group_size, which is at most {AT_ONCE}; got {n} and {group_size}."
        )
    rows = min(n, AT_ONCE // group_size * group_size)
    world: Any = request_world(
        policy.tokenizer, scorer, prompts=prompts, batch_size=rows, group_size=group_size
    )
    rolled, asked, texts, scores = [], [], [], []
    for _ in range(-(-n // rows)):
        rolled.append(rollout(policy, world, generator=generator))
        asked += world.prompts_used
        texts += world.responses
        scores.append(world.scores)
    return Drawn(_responses(rolled)[:n].trimmed(), asked[:n], texts[:n], torch.cat(scores)[:n])


def _responses(rolled: Sequence[Rollout]) -> Choices:
    """Rollouts of the same prompts one after another, as choices of one width."""

    def wide(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, LONGEST - x.shape[1]))

    prompts = [r.obs for r in rolled if isinstance(r.obs, Prompt)]
    obs = Prompt(torch.cat([p.ids for p in prompts]), torch.cat([p.mask for p in prompts]))
    return Choices(
        obs, torch.cat([wide(r.actions) for r in rolled]), torch.cat([wide(r.mask) for r in rolled])
    )
