"""The recipe of the embedded model: grammar, tokenizer, training, checkpoint and model card.

``python -m rlbase train-reviews-lm --out assets/reviews-lm`` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from rlbase.data.reviews import nats_per_review, prompts, reviews, vocabulary, words
from rlbase.envs.text import pad_left
from rlbase.policies.causal_lm import CausalLMPolicy
from rlbase.policies.load import load_policy, random_policy
from rlbase.train.language_model import LanguageModelConfig, language_model, nats
from rlbase.train.recipe import all_at_the_end, save_in_half

VOCAB_SIZE = 1536  # room for nearly every word of the grammar as one token
HELD_OUT_SEED = 10_000  # training draws with the recipe's own seed


def train_reviews_lm(
    out: Path, *, texts: int = 80_000, seed: int = 0, measured_on: int = 1000
) -> Iterator[dict[str, Any]]:
    """Train the embedded model and write it to ``out``; yields the records of `language_model`.

    The last record holds the measurements of the model card instead (see `measure`). The files
    appear in ``out`` when all is done, so an interrupted run spoils nothing.

    Raises:
        OSError: ``out`` cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> *records, figures = train_reviews_lm(folder, texts=128, measured_on=4)
    >>> len(records), (folder / "model.safetensors").is_file()
    (2, True)
    """
    with all_at_the_end(out) as folder:
        training = reviews(texts, seed=seed)
        tokenizer = _write_tokenizer(training, folder)
        end = tokenizer.token_to_id("<eos>")
        # Half of the texts begin with <eos>, so that the model can begin from nothing, too.
        encoded = [[end] * (i % 2) + e.ids + [end] for i, e in enumerate(tokenizer.encode_batch(training))]
        config = LanguageModelConfig()
        policy = random_policy(
            "gpt2", vocab_size=VOCAB_SIZE, hidden_size=128, layers=4, context=128, seed=seed
        )
        policy.model.config.eos_token_id = policy.model.config.bos_token_id = end
        yield from language_model(policy, _alike_in_length(encoded, config.batch_size), config)
        save_in_half(policy, folder)
        policy = load_policy(folder)
        figures = measure(policy, training, n=measured_on)
        (folder / "README.md").write_text(_card(policy, figures, texts, seed), encoding="utf-8")
    yield figures


def measure(policy: CausalLMPolicy, training: Sequence[str], *, n: int = 1000) -> dict[str, float]:
    """How good the model is, on ``n`` held-out reviews and ``n`` of its own.

    ``nats_per_token`` against ``grammar_nats_per_token`` (what a perfect model would have on the
    same reviews), ``invented_words`` (share of words that the grammar does not have),
    ``unfinished`` (share of reviews still going after 64 tokens), ``copied`` (share of finished
    reviews found word for word in ``training``; ``repeated`` is that share of the held-out reviews,
    since short ones come up again).

    >>> figures = measure(load_policy("reviews"), [], n=20)
    >>> figures["nats_per_token"] < 1.2, figures["copied"]
    (True, 0.0)
    """
    tokenizer = policy.tokenizer
    end = tokenizer.eos_token_id
    fresh = reviews(n, seed=HELD_OUT_SEED)
    held_out = [[end, *tokenizer.encode(text), end] for text in fresh]
    total, tokens = nats(policy, held_out)
    own, finished = complete(policy, ["<eos>"] * n, seed=0)
    spoken = [word for text, done in zip(own, finished, strict=True) if done for word in words(text)]
    known = set(training)
    return {
        "reviews": n,
        "nats_per_token": total / tokens,
        "grammar_nats_per_token": nats_per_review(n, seed=HELD_OUT_SEED) * n / tokens,
        "tokens_per_review": tokens / n,
        "invented_words": sum(word not in vocabulary() for word in spoken) / max(1, len(spoken)),
        "unfinished": 1 - sum(finished) / n,
        "copied": sum(text in known for text, done in zip(own, finished, strict=True) if done)
        / max(1, sum(finished)),
        "repeated": sum(text in known for text in fresh) / n,
    }


def complete(
    policy: CausalLMPolicy, openings: Sequence[str], *, seed: int, max_new_tokens: int = 64
) -> tuple[list[str], list[bool]]:
    """Each opening continued until its end, and whether the end came within ``max_new_tokens``.

    Raises:
        ValueError: there is no opening, or one has no token.

    >>> texts, finished = complete(load_policy("reviews"), ["The film is"], seed=0, max_new_tokens=2)
    >>> texts[0].startswith("The film is"), finished
    (True, [False])
    """
    tokenizer = policy.tokenizer
    rows = [tokenizer.encode(text) for text in openings]
    obs = pad_left(rows)
    generator, state, seen = torch.Generator().manual_seed(seed), policy.initial_state(obs), []
    for _ in range(max_new_tokens):
        tokens, _, state = policy.step(obs if not seen else seen[-1], state, generator)
        seen.append(tokens)
    texts, finished = [], []
    for row, new in zip(rows, torch.stack(seen, 1).tolist(), strict=True):
        finished.append(tokenizer.eos_token_id in new)
        stop = new.index(tokenizer.eos_token_id) if finished[-1] else len(new)
        texts.append(tokenizer.decode(row + new[:stop], skip_special_tokens=True))
    return texts, finished


def _alike_in_length(texts: list[list[int]], batch_size: int) -> list[list[int]]:
    """Sort every 16 batches by length, which halves the padding, and shuffle batches within them."""
    generator, ordered = torch.Generator().manual_seed(0), []
    for start in range(0, len(texts), 16 * batch_size):
        group = sorted(texts[start : start + 16 * batch_size], key=len)
        batches = [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            ordered += batches[i]
    return ordered


def _write_tokenizer(texts: list[str], folder: Path) -> Any:
    """A byte-level BPE in which nearly every word of the grammar is one token, and any text can be written."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=VOCAB_SIZE, special_tokens=["<eos>"], show_progress=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "padding_side": "left"}
    config |= {"model_max_length": 128, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return tokenizer


def _card(policy: CausalLMPolicy, figures: dict[str, float], texts: int, seed: int) -> str:
    parameters = sum(p.numel() for p in policy.parameters())
    samples, _ = complete(policy, prompts(12, seed=1), seed=1)
    lines = "\n".join(f"- {text}" for text in samples)
    return f"""# reviews-lm

A language model of {parameters:,} parameters that writes short film reviews and knows nothing else. GPT-2
architecture (4 layers, 128 wide, context 128, {VOCAB_SIZE} byte-level BPE tokens), float16. It is small enough
to be trained, aligned and over-optimised while you watch.

It was trained on {texts:,} reviews drawn from the grammar in `rlbase/data/reviews_grammar.txt`, each seen once,
by `python -m rlbase train-reviews-lm --texts {texts} --seed {seed} --out assets/reviews-lm`
(a few minutes on one CPU core). MIT licence, like the code and the grammar.

| measured on {figures["reviews"]:,} reviews | |
| --- | --- |
| nats a token, held-out reviews | {figures["nats_per_token"]:.3f} |
| the same of a perfect model (entropy of the grammar) | {figures["grammar_nats_per_token"]:.3f} |
| tokens in a review | {figures["tokens_per_review"]:.1f} |
| words that the grammar does not have | {figures["invented_words"]:.2%} |
| reviews unfinished after 64 tokens | {figures["unfinished"]:.1%} |
| reviews found word for word in the training text | {figures["copied"]:.1%} |
| the same of new reviews from the grammar | {figures["repeated"]:.1%} |

Completions of twelve prompts, not selected:

{lines}

Its opinions are those of a coin. It has never seen a film, and it speaks only English.
"""
