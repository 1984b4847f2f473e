"""CPU milliseconds of one PPO update of a small GPT-2, generation included; one JSON line.

16 prompts of 16 tokens, responses of 32, a reference, a critic and a reward model of the same size (4 layers of 256,
5,000 tokens), one epoch of one minibatch: the work that the peers' scripts do.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import torch
import transformers
from torch import Tensor

from rlbase.envs import TextEnv
from rlbase.policies import CausalLMPolicy, LMCritic
from rlbase.train import PPOConfig, ppo
from rlbase.types import Prompt

PROMPTS, PROMPT, RESPONSE, VOCAB, BATCH = 512, 16, 32, 5000, 16


class Numbers:
    """Texts are lists of numbers; the EOS is out of reach, so that every response has full length."""

    vocab_size = VOCAB
    eos_token_id = VOCAB

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def config(**extra: int) -> transformers.GPT2Config:
    return transformers.GPT2Config(
        n_layer=4,
        n_embd=256,
        n_head=4,
        vocab_size=VOCAB,
        n_positions=128,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        **extra,
    )


def language_model(seed: int) -> CausalLMPolicy:
    torch.manual_seed(seed)
    return CausalLMPolicy(transformers.GPT2LMHeadModel(config()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=14)
    parser.add_argument("--skip", type=int, default=4, help="updates that warm up and do not count")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(arguments.seed)
    policy, reference = language_model(0), language_model(0).requires_grad_(False)
    critic = LMCritic(language_model(2))
    torch.manual_seed(1)
    reward_model = transformers.GPT2ForSequenceClassification(config(num_labels=1)).eval()

    @torch.no_grad()
    def score(prompt: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        return reward_model(torch.cat((prompt.ids, actions), 1), use_cache=False).logits[:, 0]

    ids = torch.randint(4, VOCAB, (PROMPTS, PROMPT), generator=generator)
    prompts = [" ".join(map(str, row)) for row in ids.tolist()]
    env = TextEnv(prompts, Numbers(), token_scorer=score, max_new_tokens=RESPONSE, batch_size=BATCH)
    settings = PPOConfig(
        updates=arguments.updates,
        epochs=1,
        minibatches=1,
        learning_rate=1e-5,
        anneal=False,
        gamma=1.0,
        value_coef=0.1,
        value_clip=0.2,
        max_grad_norm=1.0,
        beta=0.05,
    )
    times, mark, clock = [], time.process_time(), time.perf_counter()
    for _ in ppo(policy, env, settings, critic=critic, reference=reference, generator=generator):
        times.append((1e3 * (time.process_time() - mark), 1e3 * (time.perf_counter() - clock)))
        mark, clock = time.process_time(), time.perf_counter()
    cpu, wall = zip(*times[arguments.skip :], strict=True)
    middle = len(cpu) // 2
    print(
        json.dumps(
            {
                "peer": "rlbase",
                "task": "ppo",
                "seed": arguments.seed,
                "step_cpu_ms": sorted(cpu)[middle],
                "step_ms": sorted(wall)[middle],
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
