"""The model cards of the shipped stages, to be filled in with what `rlbase.train.reviews_chain` measured."""

SFT_CARD = """# reviews-sft

`reviews-lm` after supervised fine-tuning: it reads a request such as `Write a kind review of a war film:` and mostly
does as told. The second stage of the embedded RLHF chain, float16, MIT licence like all of it.

It imitated {demonstrations:,} requests and obedient reviews (`rlbase.data.requests.requests`), each seen twice, by
`python -m rlbase train-reviews-chain --seed {seed} --out assets` (a few minutes on one CPU core).

| measured on {measured:,} held-out requests | |
| --- | --- |
| nats a token, demonstrations | {nats_per_token:.3f} |
| obeys: the genre asked for, and mostly the opinion | {obeys:.1%} |
| appeal, the gold preference, from 0 to 1 | {appeal:.3f} |
| the same of demonstrations | {demonstrated_appeal:.3f} |
| tokens in a response | {tokens:.1f} |
| unfinished after 48 tokens | {unfinished:.1%} |

Responses, not selected, with their appeal:

{samples}

It likes what its request tells it to like, and has never seen a film.
"""

REWARD_CARD = """# reviews-reward

A reward model of film reviews: `reviews-sft` with one number at the end. The third stage of the embedded RLHF
chain, float16, MIT licence like all of it; `rlbase.policies.load_reward_model("reviews-reward")` loads it.

It learned from {comparisons:,} comparisons between two responses of `reviews-sft` to one request, by a simulated
rater who knows the gold score `rlbase.data.requests.appeal` and prefers a difference of 0.1 with odds of e, by
`python -m rlbase train-reviews-chain --seed {seed} --out assets`. A demonstration scores 0 on average; 1 is
the spread over responses of `reviews-sft`.

| measured on {measured:,} fresh comparisons | |
| --- | --- |
| accuracy | {accuracy:.1%} |
| the same of the gold score itself: the rater is not sure either | {ceiling:.1%} |
| how sure it is on average (calibrated: the accuracy) | {confidence:.1%} |
| correlation with the gold score over responses | {correlation:.3f} |

It judges well what `reviews-sft` writes, and nothing else. Optimise against it for long, and what it likes and what is
good part ways; that is what it is for.
"""
