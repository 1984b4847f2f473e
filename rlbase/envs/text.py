"""Writing text is an environment: the observation is the prompt, an action is a token, a scorer pays at the end."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlbase.types import Discrete, Prompt, Step, Tokenizer
from rlbase.validate import has_shape, in_range, same_settings, whole


class CharTokenizer:
    """One token a character, EOS written as ``.``: for vocabularies small enough to enumerate.

    >>> tokenizer = CharTokenizer("ab")
    >>> tokenizer.encode("ba"), tokenizer.decode([1, 0, 2]), tokenizer.eos_token_id
    ([1, 0], 'ba.', 2)
    """

    def __init__(self, alphabet: str) -> None:
        if len(set(alphabet)) != len(alphabet) or "." in alphabet or not alphabet:
            raise ValueError(f"CharTokenizer: needs distinct characters without '.', got {alphabet!r}.")
        self.alphabet = alphabet + "."
        self.vocab_size = len(self.alphabet)
        self.eos_token_id = len(alphabet)

    def encode(self, text: str) -> list[int]:
        unknown = set(text) - set(self.alphabet)
        if unknown:
            raise ValueError(f"CharTokenizer: {sorted(unknown)} not in the alphabet {self.alphabet!r}.")
        return [self.alphabet.index(c) for c in text]

    def decode(self, ids: list[int]) -> str:
        if not all(0 <= i < self.vocab_size for i in ids):
            raise ValueError(
                f"CharTokenizer: tokens must lie in 0..{self.vocab_size - 1}, got {list(ids)}; "
                "is the model's vocabulary larger than the alphabet?"
            )
        return "".join(self.alphabet[i] for i in ids)


def pad_left(rows: Sequence[Sequence[int]], *, pad: int = 0) -> Prompt:
    """Token lists of different lengths as one left-padded `Prompt`, so that all end in the same column.

    >>> pad_left([[5], [6, 7]]).mask.tolist()
    [[False, True], [True, True]]
    """
    if not rows or not all(rows):
        empty = [i for i, row in enumerate(rows) if not row]
        raise ValueError(f"pad_left: every prompt needs at least one token, got none in rows {empty}.")
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return Prompt(ids, mask)


class TextEnv:
    """Prompts in, tokens as actions, and a score paid on each response's last token.

    ``scorer(prompts, responses)`` gives one number per response, from strings; ``token_scorer(prompt, actions, mask)``
    does it from tokens (a reward model). Rows come in groups of ``group_size`` responses to one prompt, next to each
    other, as RLOO and GRPO want them. A response ends with its EOS or after ``max_new_tokens``; either way it
    *terminates*: the score is final and nothing follows. One that is cut off without EOS pays
    ``missing_eos_penalty``. After a rollout ``prompts_used``, ``responses`` and ``scores`` hold the batch.

    Raises:
        ValueError: no prompts, no EOS, sizes that do not divide, not exactly one scorer, or a scorer that
            returns the wrong number of scores or one that is not finite.

    >>> def length(prompts, responses): return [float(len(text)) for text in responses]
    >>> env = TextEnv(["a"], CharTokenizer("ab"), length, max_new_tokens=2, batch_size=1)
    >>> generator = torch.Generator()
    >>> prompt = env.begin(generator)
    >>> _ = env.step(torch.tensor([1]), generator)
    >>> env.step(torch.tensor([2]), generator).late_rewards, env.responses
    (tensor([1.]), ['b'])
    """

    observation_space = None

    def __init__(
        self,
        prompts: Sequence[str],
        tokenizer: Tokenizer,
        scorer: Callable[[list[str], list[str]], Sequence[float] | Tensor] | None = None,
        *,
        token_scorer: Callable[[Prompt, Tensor, Tensor], Tensor] | None = None,
        max_new_tokens: int = 32,
        batch_size: int = 16,
        group_size: int = 1,
        missing_eos_penalty: float = 0.0,
    ) -> None:
        if (scorer is None) == (token_scorer is None):
            raise ValueError("TextEnv: give exactly one of scorer and token_scorer.")
        if not callable(scorer or token_scorer):
            raise TypeError("TextEnv: the scorer must be a function of prompts and responses.")
        if isinstance(prompts, str) or not all(isinstance(text, str) for text in prompts):
            raise TypeError("TextEnv: prompts must be a list of strings.")
        if not prompts:
            raise ValueError("TextEnv: needs at least one prompt, got none.")
        if getattr(tokenizer, "eos_token_id", None) is None:
            raise ValueError("TextEnv: the tokenizer has no EOS token, so no response could ever end.")
        sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "group_size": group_size}
        for name, size in sizes.items():
            whole("TextEnv", name, size, 1)
        in_range("TextEnv", "missing_eos_penalty", missing_eos_penalty, 0, float("inf"), open_high=True)
        if batch_size % group_size:
            raise ValueError(
                f"TextEnv: batch_size {batch_size} must be a multiple of group_size {group_size}."
            )
        self.prompts, self.tokenizer = list(prompts), tokenizer
        self.scorer, self.token_scorer = scorer, token_scorer
        self.horizon, self.batch_size, self.group_size = max_new_tokens, batch_size, group_size
        self.missing_eos_penalty = missing_eos_penalty
        self.action_space = Discrete(tokenizer.vocab_size)
        self.returns: deque[float] = deque(maxlen=100)
        self.prompts_used: list[str] = []
        self.responses: list[str] = []
        self.scores = torch.zeros(0)
        self._encoded = [tokenizer.encode(text) for text in self.prompts]
        pad_left(self._encoded)  # complains about empty prompts now, not in the middle of training

    def begin(self, generator: torch.Generator) -> Prompt:
        groups, device = self.batch_size // self.group_size, generator.device
        rounds = -(-groups // len(self.prompts))  # every prompt once before any prompt twice
        order = [torch.randperm(len(self.prompts), generator=generator, device=device) for _ in range(rounds)]
        picked = torch.cat(order)[:groups].repeat_interleave(self.group_size).tolist()
        self.prompts_used = [self.prompts[i] for i in picked]
        self._prompt = pad_left([self._encoded[i] for i in picked]).to(device)
        self._tokens: list[Tensor] = []
        self._masks: list[Tensor] = []
        self._alive = torch.ones(self.batch_size, dtype=torch.bool, device=device)
        return self._prompt

    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        has_shape("TextEnv.step", "actions", actions, (self.batch_size,))
        chosen = self._alive
        self._tokens.append(actions)
        self._masks.append(chosen)
        out_of_room = len(self._tokens) == self.horizon
        ended = chosen & (actions == self.tokenizer.eos_token_id)
        self._alive = chosen & ~ended
        terminated = chosen if out_of_room else ended
        finished = out_of_room or not bool(self._alive.any())
        zeros = torch.zeros(self.batch_size, device=actions.device)
        never = torch.zeros_like(chosen)
        late = self._settle() if finished else None
        return Step(actions, zeros, terminated, never, chosen, finished, late)

    def _settle(self) -> Tensor:
        actions, mask = torch.stack(self._tokens, 1), torch.stack(self._masks, 1)
        eos = self.tokenizer.eos_token_id
        rows = [row[kept].tolist() for row, kept in zip(actions.cpu(), mask.cpu(), strict=True)]
        self.responses = [self.tokenizer.decode(row[:-1] if row[-1] == eos else row) for row in rows]
        if self.token_scorer is not None:
            answer = self.token_scorer(self._prompt, actions, mask)
        else:
            assert self.scorer is not None
            answer = self.scorer(self.prompts_used, self.responses)
        try:
            scores = torch.as_tensor(answer)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"TextEnv: the scorer must return one number per response, got {type(answer).__name__} {answer!r:.60}."
            ) from None
        scores = scores.detach().to(actions.device, torch.get_default_dtype())
        has_shape("TextEnv", "the scorer's answer", scores, (self.batch_size,))
        bad = (~scores.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"TextEnv: scores must be finite, got {scores[bad[0]]} for {self.responses[bad[0]]!r}."
            )
        scores = scores - self.missing_eos_penalty * self._alive
        self.scores = scores
        self.returns.extend(scores.tolist())
        return scores

    def stack(self, observations: list[Any]) -> Prompt:
        return observations[0]  # the later ones are the actions themselves

    def _settings(self) -> dict[str, Any]:
        sizes = {"max_new_tokens": self.horizon, "batch_size": self.batch_size, "group_size": self.group_size}
        told = zlib.crc32(repr(self._encoded).encode())  # of all prompts, which may be many
        return {**sizes, "missing_eos_penalty": self.missing_eos_penalty, "checksum of prompts": told}

    def state(self) -> dict[str, Any]:
        return {**self._settings(), "returns": list(self.returns)}

    def load_state(self, state: dict[str, Any]) -> None:
        same_settings("TextEnv", self._settings(), state)
        self.returns.clear()
        self.returns.extend(state["returns"])
