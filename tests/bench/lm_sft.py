"""CPU milliseconds of one gradient step of supervised fine-tuning of a small GPT-2; one JSON line.

16 demonstrations a step: prompts of 16 tokens, responses of 32 and the EOS, the model of `lm_ppo.py`: the work that the
peers' scripts do.
"""

from __future__ import annotations

import argparse

import torch
from lm_ppo import PROMPT, RESPONSE, VOCAB, language_model
from torch import Tensor
from training_step import parse, report, timed

from rlbase.train import SFTConfig, sft
from rlbase.types import Choices, Prompt

ROWS, EOS = 512, 1


def responses(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random responses of one length, each with its EOS, and their mask."""
    actions = torch.randint(4, VOCAB, (rows, RESPONSE + 1), generator=generator)
    actions[:, -1] = EOS
    return actions, torch.ones_like(actions, dtype=torch.bool)


def prompts(rows: int, generator: torch.Generator) -> Prompt:
    """Random prompts of one length."""
    ids = torch.randint(4, VOCAB, (rows, PROMPT), generator=generator)
    return Prompt(ids, torch.ones_like(ids, dtype=torch.bool))


def main(arguments: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(arguments.seed)
    rows = Choices(prompts(ROWS, generator), *responses(ROWS, generator))
    config = SFTConfig(updates=arguments.updates, batch_size=16, learning_rate=1e-5)
    report("sft", arguments, timed(sft(language_model(0), rows, config, generator=generator)))


if __name__ == "__main__":
    main(parse(__doc__))
