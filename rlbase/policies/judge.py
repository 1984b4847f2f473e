"""A language model that writes what it thinks of a response, and whose verdict is turned into a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlbase.policies.causal_lm import CausalLMPolicy
from rlbase.types import Prompt
from rlbase.validate import instance, one_of, whole

ONE = "Request: {prompt}\nAnswer: {response}\nCritique:"
MARKS = tuple(f" {mark}" for mark in range(1, 10))
TWO = "Request: {prompt}\nAnswer A: {first}\nAnswer B: {second}\nCritique:"


class GenerativeJudge:
    r"""Writes a critique, reads its own words, and is asked for a verdict: the reward is the verdict's log-odds.

    $$r(x,y)=\log\pi(\text{yes}\,|\,x,y,\text{critique})-\log\pi(\text{no}\,|\,x,y,\text{critique})$$

    The critique is sampled; whatever it says, and even if it never ends, the verdict is a finite number, since it is
    read from probabilities and not from text. Both can be taught with `rlbase.train.sft`. Called with prompts and
    responses it is a scorer for `rlbase.envs.TextEnv`; `compare` judges two responses side by side, in both orders, so
    that a liking for the first place cancels (Zheng et al. 2023, section 3.4).

    Args:
        policy: the language model, with its tokenizer.
        template: asks about one response; with ``{prompt}`` and ``{response}``.
        pair_template: asks about two; with ``{prompt}``, ``{first}`` and ``{second}``.
        verdict: what is appended to the critique before the verdict is read.
        yes: the verdict for a good response, and for the first of two.
        no: the other one.
        max_critique_tokens: after which the critique is cut; 0 asks for the verdict at once.
        generator: what critiques are sampled with; None begins anew at every call, so that a batch is judged one way.

    Raises:
        TypeError: something other than a language model.
        ValueError: no tokenizer, a template without its fields, or verdicts that are one and the same.

    >>> from rlbase.policies.load import load_policy
    >>> judge = GenerativeJudge(load_policy("reviews"), yes=" great", no=" awful", max_critique_tokens=4)
    >>> score, = judge(["Review this film:"], ["The film is great."])
    >>> isinstance(score, float)
    True
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        template: str = ONE,
        *,
        pair_template: str = TWO,
        verdict: str = "\nVerdict:",
        yes: str = " yes",
        no: str = " no",
        max_critique_tokens: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:
        instance("GenerativeJudge", "policy", policy, CausalLMPolicy)
        whole("GenerativeJudge", "max_critique_tokens", max_critique_tokens, 0)
        if policy.tokenizer is None:
            raise ValueError("GenerativeJudge: the policy has no tokenizer to read and write with.")
        for text, fields in (
            (template, ("prompt", "response")),
            (pair_template, ("prompt", "first", "second")),
        ):
            missing = [name for name in fields if f"{{{name}}}" not in text]
            if missing:
                raise ValueError(f"GenerativeJudge: the template {text!r:.40} lacks {{{missing[0]}}}.")
        self.policy, self.template, self.pair_template = policy, template, pair_template
        self.max_critique_tokens, self.generator = max_critique_tokens, generator
        self.verdict = self._ids(verdict)
        self.yes, self.no = self._ids(yes), self._ids(no)
        if self.yes == self.no or not (self.yes and self.no):
            raise ValueError(
                f"GenerativeJudge: yes and no must be two different texts, got {yes!r} and {no!r}."
            )
        self.critiques: list[str] = []

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The log-odds of ``yes`` for each response; the critiques are kept in ``critiques``."""
        _alike(prompts=prompts, responses=responses)
        texts = [
            _filled(self.template, prompt=p, response=r) for p, r in zip(prompts, responses, strict=True)
        ]
        return self.log_odds(texts).tolist()

    def compare(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> list[float]:
        """The log-odds that ``firsts`` are better than ``seconds``, the mean of both orders.

        Asked the other way round it is the negative: exactly so without critiques, else up to what was sampled.
        """
        there, back = self.both_orders(prompts, firsts, seconds)
        return (0.5 * (there - back)).tolist()

    def prefer(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str], *, average: str = "prob"
    ) -> list[float]:
        r"""Soft labels: the probability that ``firsts`` are better.

        With $d$ the judge's own log-odds and $b$ its liking for the first place, one order alone says $\sigma(d+b)$.
        ``"prob"`` averages the probabilities of both orders (Lee et al. 2023, section 3.1), which falls on the right
        side but shrinks towards 1/2; ``"logit"`` averages the log-odds, which gives $\sigma(d)$ back; ``"none"`` asks
        in one order only. See `rlbase.exact.swap_averaged`.

        Raises:
            ValueError: an unknown way to average, or lists of different lengths.
        """
        one_of("GenerativeJudge.prefer", "average", average, ("prob", "logit", "none"))
        there, back = self.both_orders(prompts, firsts, seconds, back=average != "none")
        if average == "logit":
            return (0.5 * (there - back)).sigmoid().tolist()
        return (there.sigmoid() if average == "none" else (there.sigmoid() + (-back).sigmoid()) / 2).tolist()

    def both_orders(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str], *, back: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The log-odds that whatever is shown first is better, ``[B]``: in the order given, and the other way round.

        Their mean is the judge's liking for the first place, half their difference its opinion of the responses.
        Without ``back`` the second is empty.
        """
        _alike(prompts=prompts, firsts=firsts, seconds=seconds)
        orders = ((firsts, seconds), (seconds, firsts))[: 1 + back]
        texts = [
            _filled(self.pair_template, prompt=p, first=a, second=b)
            for one, two in orders
            for p, a, b in zip(prompts, one, two, strict=True)
        ]
        found = self.log_odds(texts)
        return found[: len(prompts)], found[len(prompts) :]

    @torch.no_grad()
    def rate(
        self, prompts: Sequence[str], responses: Sequence[str], *, marks: Sequence[str] = MARKS
    ) -> list[float]:
        r"""The expected mark of each response, from -1 (all on the first mark) to 1 (all on the last).

        $$s=\sum_i i\,\frac{\pi(m_i)}{\sum_j\pi(m_j)},\qquad \text{reward}=2\,\frac{s-1}{n-1}-1$$

        Direct RLAIF (Lee et al. 2023, section 2.3.2): a reward without a reward model, and finer than the most likely
        mark, of which there are only $n$. No mark may begin another one: `` 10`` is as likely as `` 1`` at most,
        where both begin with the same token, and would be counted twice.

        Raises:
            ValueError: fewer than two marks, two that are the same, or one whose tokens begin another's.
        """
        _alike(prompts=prompts, responses=responses)
        answers = [self._ids(mark) for mark in marks]
        _apart(marks, answers)
        if not prompts:
            return []
        rows = [
            self._ids(_filled(self.template, prompt=p, response=r), start=True)
            for p, r in zip(prompts, responses, strict=True)
        ]
        written = self._critiques(rows)
        self.critiques = [self.policy.tokenizer.decode(row) for row in written]
        asked = [row + critique + self.verdict for row, critique in zip(rows, written, strict=True)]
        share = self._log_probs(asked, answers).softmax(1)
        return (share @ torch.linspace(-1, 1, len(answers), dtype=share.dtype)).tolist()

    @torch.no_grad()
    def log_odds(self, texts: Sequence[str]) -> Tensor:
        """Critique every text, then read the verdict's log-odds, ``[B]``, in float64."""
        if not texts:
            return torch.zeros(0, dtype=torch.float64)
        rows = [self._ids(text, start=True) for text in texts]
        written = self._critiques(rows)
        self.critiques = [self.policy.tokenizer.decode(row) for row in written]
        asked = [row + critique + self.verdict for row, critique in zip(rows, written, strict=True)]
        yes, no = self._log_probs(asked, (self.yes, self.no)).unbind(1)
        return yes - no

    def _critiques(self, rows: list[list[int]]) -> list[list[int]]:
        """A sampled continuation of each row, up to its EOS (left out) or the limit."""
        generator = self.generator or torch.Generator(self.policy.model.device).manual_seed(0)
        eos, written = self.policy.tokenizer.eos_token_id, [[] for _ in rows]
        obs: Any = _left_padded(rows)
        state, alive = self.policy.initial_state(obs), [True] * len(rows)
        for _ in range(self.max_critique_tokens):
            tokens, _, state = self.policy.step(obs, state, generator)
            alive = [a and token != eos for a, token in zip(alive, tokens.tolist(), strict=True)]
            for row, going, token in zip(written, alive, tokens.tolist(), strict=True):
                row += [token] if going else []
            if not any(alive):
                break
            obs = tokens
        return written

    def _log_probs(self, rows: list[list[int]], answers: Sequence[list[int]]) -> Tensor:
        """Log-probability of each of ``answers``, all its tokens, after each row, ``[B, answers]``."""
        prompts = _left_padded(rows)
        if all(len(answer) == 1 for answer in answers):  # one forward says it of all of them
            return self.policy.next_logp(prompts)[:, [answer[0] for answer in answers]].double()
        found = []
        for answer in answers:
            actions = torch.tensor(answer).expand(len(rows), -1)
            logp = self.policy.logp(prompts, actions, torch.ones_like(actions, dtype=torch.bool))
            found.append(logp.double().sum(1))
        return torch.stack(found, 1)

    def _ids(self, text: str, *, start: bool = False) -> list[int]:
        """Tokens of ``text``; with the special tokens that a tokenizer puts first only at the ``start``."""
        tokenizer: Any = self.policy.tokenizer
        if start or not hasattr(tokenizer, "all_special_ids"):
            return list(tokenizer.encode(text))
        return list(tokenizer.encode(text, add_special_tokens=False))


def _apart(marks: Sequence[str], answers: list[list[int]]) -> None:
    if len(answers) < 2:
        raise ValueError(f"GenerativeJudge.rate: needs two marks or more, got {list(marks)}.")
    for i, first in enumerate(answers):
        for j, second in enumerate(answers):
            if i != j and second[: len(first)] == first:
                raise ValueError(
                    f"GenerativeJudge.rate: the mark {marks[i]!r} begins {marks[j]!r} for this tokenizer, so that "
                    "their probabilities overlap; choose others."
                )


def _alike(**texts: Sequence[str]) -> None:
    if len({len(found) for found in texts.values()}) > 1:
        told = ", ".join(f"{len(found)} {name}" for name, found in texts.items())
        raise ValueError(f"GenerativeJudge: needs one of each kind to a prompt, got {told}.")


def _filled(template: str, **fields: str) -> str:
    """``template`` with its fields filled in; braces in a response are text, not fields."""
    parts = template
    for name in fields:
        parts = parts.replace(f"{{{name}}}", f"\0{name}\0")
    pieces = parts.split("\0")
    return "".join(fields.get(piece, piece) if i % 2 else piece for i, piece in enumerate(pieces))


def _left_padded(rows: list[list[int]]) -> Prompt:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return Prompt(ids, torch.arange(width) >= width - torch.tensor([len(row) for row in rows])[:, None])
