"""CPU milliseconds of one gradient step of a reward model, a small GPT-2 with a head; one JSON line.

16 comparisons a step, so 32 rows: prompts of 16 tokens, responses of 32 and the EOS, the model of `lm_ppo.py`: the work
that the peers' scripts do.
"""

from __future__ import annotations

import argparse

import torch
from lm_ppo import language_model
from lm_sft import ROWS, prompts, responses
from training_step import parse, report, timed

from rlbase.policies import LMRewardModel
from rlbase.train import RewardModelConfig, reward_model
from rlbase.types import Choices, PreferencePairs


def main(arguments: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(arguments.seed)
    given = prompts(ROWS, generator)
    pairs = PreferencePairs(*(Choices(given, *responses(ROWS, generator)) for _ in range(2)))
    model = LMRewardModel(language_model(0), generator)
    config = RewardModelConfig(updates=arguments.updates, batch_size=16, learning_rate=1e-5)
    report("reward", arguments, timed(reward_model(model, pairs, config, generator=generator)))


if __name__ == "__main__":
    main(parse(__doc__))
