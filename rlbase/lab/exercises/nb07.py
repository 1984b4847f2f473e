"""Exercises of notebook 07: a language model as a policy; every one of them is an off-by-one in somebody's code."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise

NOTEBOOK = "07_a_language_model_is_a_policy"


def _gathered(logits: Tensor, tokens: Tensor, shift: int, prompt_length: int) -> Tensor:
    """Log-probs of the response's tokens read ``shift`` positions before them."""
    length = tokens.shape[1] - prompt_length
    rows = logits[:, prompt_length - shift : prompt_length - shift + length].log_softmax(-1)
    return rows.gather(-1, tokens[:, prompt_length:, None])[..., 0]


def _token_logp(logits: Tensor, tokens: Tensor, prompt_length: int) -> Tensor:
    return _gathered(logits, tokens, 1, prompt_length)


def _text(seed: int, prompt: int, response: int, scale: float = 2.0, *, extreme: bool = False) -> Case:
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, prompt + response, 7, generator=g)
    tokens = torch.randint(7, (2, prompt + response), generator=g)
    label = f"prompt of {prompt}, response of {response}" + (f", logits of ±{scale:,.0f}" if extreme else "")
    return Case(label, {"logits": logits, "tokens": tokens, "prompt_length": prompt}, extreme)


token_logp = Exercise(
    "token-logp", NOTEBOOK, "the log-probability of a response", *(3, 5, 12),
    "Write `token_logp(logits, tokens, prompt_length)`: the log-probability of every token of the **response** `[B, "
    "T]`. `tokens` is `[B, P+T]`, prompt first; `logits` `[B, P+T, V]` is the model's output for them, in which "
    "position i predicts token i + 1.",
    ("The first response token was predicted at the last position of the prompt.",
     "logp[:, t] = log_softmax(logits[:, P - 1 + t])[tokens[:, P + t]].",
     "logits[:, P - 1 : -1].log_softmax(-1).gather(-1, tokens[:, P:, None])[..., 0]"),
    "right for four prompts and responses, gradients and huge logits included.",
    reference=_token_logp, cases=(_text(1, 3, 4), _text(2, 2, 5), _text(3, 5, 1), _text(4, 3, 3, 1e4, extreme=True)),
    mistakes=(
        ("Off by one: position i predicts token i + 1, so a token's log-prob stands one position before it.",
         lambda x, t, p: _gathered(x, t, 0, p)),
        ("Off by one: you read one position too early.", lambda x, t, p: _gathered(x, t, 2, p)),
        ("The prompt is included: return the response's tokens only.", lambda x, t, p: _gathered(x, t, 1, 1)),
        ("These are probabilities: take their logarithm.", lambda x, t, p: _token_logp(x, t, p).exp()),
        ("These are raw logits: normalise with log_softmax.",
         lambda x, t, p: x[:, p - 1 : -1].gather(-1, t[:, p:, None])[..., 0]),
        ("You took the likeliest token's log-prob: gather that of the token which was chosen.",
         lambda x, t, p: x[:, p - 1 : -1].log_softmax(-1).amax(-1)),
        ("You added up the row: give one number for each token.", lambda x, t, p: _token_logp(x, t, p).sum(1)),
        ("This is the negative log-likelihood: flip the sign.", lambda x, t, p: -_token_logp(x, t, p)),
        ("You gathered the tokens of the positions, not the ones that follow: tokens[:, P:].",
         lambda x, t, p: x[:, p - 1 : -1].log_softmax(-1).gather(-1, t[:, p - 1 : -1, None])[..., 0]),
        ("log(softmax(...)) is -infinity where a probability underflows: use log_softmax.",
         lambda x, t, p: x[:, p - 1 : -1].softmax(-1).log().gather(-1, t[:, p:, None])[..., 0]),
    ),
    gradient=("logits",),
)


def _place(score: Tensor, mask: Tensor) -> Tensor:
    rewards = torch.zeros(mask.shape)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = score
    return rewards


def _at(score: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    return score[:, None] * (torch.arange(mask.shape[1]) == index[:, None])


def _masks() -> tuple[Case, ...]:
    ragged = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
    full = torch.ones(2, 3).bool()
    return (
        Case(
            "responses of 4, 2, 1 and 3 tokens",
            {"score": torch.tensor([1.0, 2.0, -3.0, 0.5]), "mask": ragged},
        ),
        Case("no padding", {"score": torch.tensor([0.5, -1.0]), "mask": full}),
    )


reward_on_last = Exercise(
    "reward-on-last", NOTEBOOK, "pay on the last real token", *(2, 5, 6),
    "Write `place_reward(score, mask)`: rewards `[B, T]`, zero everywhere except that each row's `score` `[B]` stands "
    "on its last True step of `mask` `[B, T]`, the end-of-text token if there is one. Padding is on the right.",
    ("The last choice ends the episode; that is when the score is paid.",
     "rewards[b, mask[b].sum() - 1] = score[b].",
     "rewards[torch.arange(len(mask)), mask.sum(1) - 1] = score"),
    "right for rows of every length, the full row included.",
    reference=_place, cases=_masks(),
    mistakes=(
        ("One step too late: you paid after the last token, on padding, where no policy learns from it.",
         lambda s, m: _at(s, m, m.sum(1))),
        ("One step too late: you paid after the last token, on padding, where no policy learns from it.",
         lambda s, m: _at(s, m, m.sum(1).clamp(max=m.shape[1] - 1))),
        ("You paid in the last column: in shorter rows that is padding.",
         lambda s, m: _at(s, m, 0 * m.sum(1) + m.shape[1] - 1)),
        ("You paid on every token: once is enough.", lambda s, m: s[:, None] * m),
        ("You spread the score over the tokens: pay it whole, at the end.",
         lambda s, m: s[:, None] * m / m.sum(1, True)),
        ("You paid on the first token: the score is due at the end.", lambda s, m: _at(s, m, 0 * m.sum(1))),
        ("One step too early: the last real token is mask.sum() - 1.", lambda s, m: _at(s, m, m.sum(1) - 2)),
        ("One step too early: -1 became the last column in a row of one token.",
         lambda s, m: _at(s, m, (m.sum(1) - 2) % m.shape[1])),
    ),
)


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


position_ids = Exercise(
    "position-ids", NOTEBOOK, "positions under left padding", *(2, 4, 6),
    "Write `position_ids(mask)`: prompts of different lengths are padded on the **left**, and `mask` `[B, P]` is True "
    "on real tokens. Give each real token its position in its own prompt, counted from 0 (`[B, P]`); padding may get "
    "anything.",
    ("A model must not notice the padding: the first real token is at position 0, wherever it stands.",
     "position = (number of real tokens up to and including this one) - 1.",
     "return (mask.long().cumsum(1) - 1).clamp(min=0)"),
    "right for prompts of every length: padding moves nothing.",
    reference=_positions,
    cases=(
        Case(
            "prompts of 5, 3 and 1",
            {"mask": torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]).bool()},
        ),
        Case("no padding", {"mask": torch.ones(2, 3).bool()}),
    ),
    mistakes=(
        ("You counted columns: padding moves every token.", lambda m: torch.arange(m.shape[1]).expand(m.shape)),
        ("You counted from 1: positions start at 0.", lambda m: m.cumsum(1)),
        ("You counted from the right: position 0 is the first real token.",
         lambda m: m.flip(1).cumsum(1).flip(1) - 1),
        ("All tokens have the same position.", lambda m: torch.zeros(m.shape)),
        ("You subtracted the prompt's length: subtract the padding's.",
         lambda m: torch.arange(m.shape[1]) - m.sum(1, True)),
        ("Padding is on the left here: this assumes that it is on the right.",
         lambda m: torch.minimum(torch.arange(m.shape[1]).expand(m.shape), m.sum(1, True) - 1)),
    ),
    inside="mask",
)


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _distinct(texts: list[str], n: int) -> float:
    return _share([g for text in texts for g in _grams(text, n)])


def _share(grams: list[tuple[str, ...]]) -> float:
    return len(set(grams)) / len(grams)


def _words(texts: list[str]) -> list[str]:
    return [w for text in texts for w in text.split()]


REVIEWS = ["a warm and funny film", "a warm and moving film", "great great great", "dull"]
SHOUTS = ["good good", "good good good good", "bad film", "film bad film"]

distinct_n = Exercise(
    "distinct-n", NOTEBOOK, "distinct-n, a collapse alarm", *(2, 3, 8),
    "Write `distinct_n(texts, n)`: split each text on blanks, collect all its n-grams (n words in a row, never across "
    "two texts), and divide the number of *different* n-grams in the whole list by the number of all of them.",
    ("A policy that repeats itself has few different n-grams among many.",
     "distinct-n = |set of n-grams| / |list of n-grams|, over all texts together.",
     "grams = [tuple(w[i:i+n]) for w in map(str.split, texts) for i in range(len(w) - n + 1)]"),
    "right for n = 1, 2 and 3, texts shorter than n included.",
    reference=_distinct,
    cases=(
        Case("four reviews, n = 1", {"texts": REVIEWS, "n": 1}),
        Case("four reviews, n = 2", {"texts": REVIEWS, "n": 2}),
        Case("four reviews, n = 3", {"texts": REVIEWS, "n": 3}),
        Case("repetitive texts, n = 2", {"texts": SHOUTS, "n": 2}),
    ),
    mistakes=(
        (
            "You averaged over texts: repetition *between* texts is then never seen.",
            lambda texts, n: (
                sum(_distinct([t], n) for t in texts if _grams(t, n)) / sum(bool(_grams(t, n)) for t in texts)
            ),
        ),
        ("You averaged over texts: repetition *between* texts is then never seen.",
         lambda texts, n: sum(_distinct([t], n) for t in texts if _grams(t, n)) / len(texts)),
        ("Your n-grams run across two texts: take each text by itself.",
         lambda texts, n: _distinct([" ".join(texts)], n)),
        ("You counted single words whatever n is.", lambda texts, n: _distinct(texts, 1)),
        ("You divided by the number of words: divide by the number of n-grams.",
         lambda texts, n: len({g for t in texts for g in _grams(t, n)}) / len(_words(texts))),
        ("This is a count: divide by the number of all n-grams.",
         lambda texts, n: len({g for t in texts for g in _grams(t, n)})),
        ("This is the repeated share: take it from 1.", lambda texts, n: 1 - _distinct(texts, n)),
        ("You counted letters: an n-gram is n *words* in a row.",
         lambda texts, n: _distinct([" ".join(t) for t in texts], n)),
        ("You counted letters, blanks among them: split each text first, an n-gram is n *words* in a row.",
         lambda texts, n: _distinct([" ".join(t.replace(" ", "_")) for t in texts], n)),
        ("You counted the shorter pieces at the end of a text too: its last n-gram begins n words before the end.",
         lambda texts, n: _share([tuple(t.split()[i : i + n]) for t in texts for i in range(len(t.split()))])),
        (
            "You cut texts into blocks of n words: n-grams overlap, one begins at every word.",
            lambda texts, n: (
                len({g for t in texts for g in _grams(t, n)[::n]})
                / sum(len(_grams(t, n)[::n]) for t in texts)
            ),
        ),
    ),
)

EXERCISES = (token_logp, reward_on_last, position_ids, distinct_n)
