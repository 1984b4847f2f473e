"""CPU milliseconds of one gradient step of DPO or KTO on a small GPT-2; one JSON line.

16 comparisons a step for DPO (32 rows), 16 verdicts for KTO (and 16 mismatched responses, for its reference point):
prompts of 16 tokens, responses of 32 and the EOS, the model of `lm_ppo.py`, which is also the reference: the work that
the peers' scripts do. ``--cached`` computes the reference's log-probabilities before the clock starts.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from lm_ppo import language_model
from lm_sft import ROWS, prompts, responses
from training_step import parse, report, timed

from rlbase.losses import dpo, kto
from rlbase.policies import frozen_copy
from rlbase.train import PreferenceConfig, preference, with_reference
from rlbase.types import Choices, Labelled, PreferencePairs


def main(arguments: argparse.Namespace) -> None:
    task, cached = arguments.task, arguments.cached
    generator = torch.Generator().manual_seed(arguments.seed)
    given = prompts(ROWS, generator)
    pairs = PreferencePairs(*(Choices(given, *responses(ROWS, generator)) for _ in range(2)))
    one_each = Labelled(pairs.chosen, torch.arange(ROWS) % 2 == 0)
    data, loss = (pairs, partial(dpo, beta=0.1)) if task == "dpo" else (one_each, partial(kto, beta=0.1))
    policy = language_model(0)
    reference = frozen_copy(policy)
    if cached:
        rows = torch.arange(min(ROWS, 16 * arguments.updates))  # what is learned from, and no more
        data, reference = with_reference(reference, data[rows]), None
    config = PreferenceConfig(updates=arguments.updates, batch_size=16, learning_rate=1e-5)
    run = preference(policy, data, loss, config, reference=reference, generator=generator)
    report(task + (", cached" if cached else ""), arguments, timed(run))


if __name__ == "__main__":
    main(parse(__doc__, tasks=("dpo", "kto")))
