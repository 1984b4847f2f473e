"""A judge that writes: its number by hand, whatever it wrote, both orders, and a verdict that can be taught."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.envs import CharTokenizer, TextEnv
from rlbase.policies import CausalLMPolicy, GenerativeJudge, TabularPolicy, random_policy
from rlbase.rollout import rollout
from rlbase.train import SFTConfig, sft
from rlbase.types import Choices, Prompt

TOKENIZER = CharTokenizer("abcxyYN|?")
ONE, TWO = "{prompt}|{response}", "{prompt}|{first}|{second}"


def model(seed: int = 0) -> CausalLMPolicy:
    policy = random_policy("gpt2", vocab_size=TOKENIZER.vocab_size, initializer_range=0.3, seed=seed)
    policy.tokenizer = TOKENIZER
    return policy


def judge(policy: CausalLMPolicy | None = None, **extra: Any) -> GenerativeJudge:
    settings: dict[str, Any] = {"verdict": "?", "yes": "Y", "no": "N", "pair_template": TWO, **extra}
    return GenerativeJudge(policy or model(), ONE, **settings)


@torch.no_grad()
def said(policy: CausalLMPolicy, text: str, answer: str) -> float:
    """log P(answer | text), by transformers itself on the whole string."""
    ids = torch.tensor([TOKENIZER.encode(text + answer)])
    logp = policy.model(ids).logits[0].log_softmax(-1)
    n = len(answer)
    return sum(logp[-n - 1 + i, ids[0, -n + i]].item() for i in range(n))


def test_log_odds_by_hand() -> None:
    policy = model()
    scores = judge(policy, max_critique_tokens=0)(["a", "bcb"], ["xyx", "y"])
    for score, text in zip(scores, ("a|xyx?", "bcb|y?"), strict=True):
        assert score == pytest.approx(said(policy, text, "Y") - said(policy, text, "N"), abs=1e-4)
    assert abs(scores[0] - scores[1]) > 0.01
    longer = judge(policy, max_critique_tokens=0, yes="YY", no="Nx")(["a"], ["xyx"])
    by_hand = said(policy, "a|xyx?", "YY") - said(policy, "a|xyx?", "Nx")
    assert longer == pytest.approx([by_hand], abs=1e-4)


def test_it_reads_its_own_critique() -> None:
    policy = model()
    critic = judge(policy, max_critique_tokens=6)
    scores = critic(["a", "bcb"], ["xyx", "y"])
    assert any(critic.critiques) and all(len(c) <= 6 and "." not in c for c in critic.critiques)
    for score, text, critique in zip(scores, ("a|xyx", "bcb|y"), critic.critiques, strict=True):
        text = f"{text}{critique}?"
        assert score == pytest.approx(said(policy, text, "Y") - said(policy, text, "N"), abs=1e-4)
    assert critic(["a", "bcb"], ["xyx", "y"]) == scores, "without a generator one batch is judged one way"
    other = judge(policy, max_critique_tokens=6, generator=torch.Generator().manual_seed(9))
    assert other(["a", "bcb"], ["xyx", "y"]) != scores


@pytest.mark.parametrize("token", [".", "Y", "N", "|", "a"])
def test_a_number_whatever_it_writes(token: str) -> None:
    """It stops at once, writes a verdict into the critique, the marks of the form, or one letter without end."""
    policy = model()
    wanted = TOKENIZER.encode(token)[0]

    class Stubborn(CausalLMPolicy):
        def step(self, obs: Any, state: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
            tokens, logp, state = super().step(obs, state, generator)
            return torch.full_like(tokens, wanted), logp, state

    stubborn = Stubborn(policy.model, TOKENIZER)
    critic = judge(stubborn, max_critique_tokens=9)
    scores = critic(["a", "b"], ["x", "y"])
    assert critic.critiques == (["", ""] if token == "." else [token * 9] * 2)
    assert all(math.isfinite(score) for score in scores)
    # even when it is as sure as float32 can be
    policy.model.lm_head.weight.data *= 1e4
    assert all(math.isfinite(score) and abs(score) > 100 for score in critic(["a", "b"], ["x", "y"]))


def test_a_critique_that_has_ended_stays_ended_while_others_go_on() -> None:
    end, a = TOKENIZER.encode(".")[0], TOKENIZER.encode("a")[0]
    script = iter([[end, a], [a, a], [a, end], [a, a]])

    class Scripted(CausalLMPolicy):
        def step(self, obs: Any, state: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
            _, logp, state = super().step(obs, state, generator)
            return torch.tensor(next(script)), logp, state

    critic = judge(Scripted(model().model, TOKENIZER), max_critique_tokens=4)
    critic(["a", "b"], ["x", "y"])
    assert critic.critiques == ["", "aa"]
    assert len(list(script)) == 1, "nobody writes once all have ended"


def test_both_orders_cancel_a_liking_for_a_place() -> None:
    judged = judge(max_critique_tokens=0)
    firsts, seconds = ["x", "yy", "xy"], ["y", "x", "xy"]
    there = judged.compare(["a", "b", "c"], firsts, seconds)
    back = judged.compare(["a", "b", "c"], seconds, firsts)
    assert there == pytest.approx([-x for x in back], abs=1e-6)
    assert there[2] == 0, "identical responses are a tie"
    assert abs(there[0]) > 0.01
    one_sided = judged.log_odds(["c|xy|xy"])
    assert abs(one_sided.item()) > 0.01, "which this model's one-sided verdict denies"


def test_braces_in_a_response_are_text() -> None:
    tokenizer = CharTokenizer("abcxyYN|?{}promtesn")
    policy = random_policy("gpt2", vocab_size=tokenizer.vocab_size)
    policy.tokenizer = tokenizer
    seen: list[str] = []
    honest = tokenizer.encode

    def watched(text: str) -> list[int]:
        seen.append(text)
        return honest(text)

    tokenizer.encode = watched  # type: ignore[method-assign]
    judged = GenerativeJudge(policy, ONE, verdict="?", yes="Y", no="N", max_critique_tokens=0)
    judged(["{response}"], ["{prompt}{x}"])
    assert "{response}|{prompt}{x}" in seen


def test_scores_a_world_of_text() -> None:
    policy = model()
    env = TextEnv(["a", "b"], TOKENIZER, judge(policy, max_critique_tokens=3), max_new_tokens=1, batch_size=4)
    rolled = rollout(policy, env, generator=torch.Generator().manual_seed(0))
    assert rolled.rewards.isfinite().all() and env.scores.std() > 0
    assert judge(policy)([], []) == [] and judge(policy).compare([], [], []) == []


def test_a_verdict_can_be_taught_by_imitation() -> None:
    """Demonstrations of verdicts (an x makes a response good) turn the log-odds into a reward that tells them apart."""
    policy, generator = model(), torch.Generator().manual_seed(0)
    letters = torch.randint(0, 5, (400, 3), generator=generator)  # a b c x y
    texts = ["".join("abcxy"[i] for i in row) for row in letters.tolist()]
    ids = torch.tensor([TOKENIZER.encode(f"a|{text}?") for text in texts])
    good = torch.tensor(["x" in text for text in texts])
    verdicts = torch.where(good, TOKENIZER.encode("Y")[0], TOKENIZER.encode("N")[0])[:, None]
    rows = Choices(Prompt(ids, torch.ones_like(ids).bool()), verdicts, torch.ones_like(verdicts).bool())
    config = SFTConfig(epochs=20, batch_size=50, learning_rate=3e-3)
    for _ in sft(policy, rows[:300], config, generator=generator):
        pass
    scores = torch.tensor(judge(policy, max_critique_tokens=0)(["a"] * 100, texts[300:]))
    assert ((scores > 0) == good[300:]).float().mean() > 0.95


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (
            lambda: GenerativeJudge(TabularPolicy(1, 2)),
            TypeError,
            "GenerativeJudge: policy must be a CausalLM",
        ),  # type: ignore[arg-type]
        (lambda: GenerativeJudge(random_policy()), ValueError, "the policy has no tokenizer"),
        (lambda: GenerativeJudge(model(), "{prompt}"), ValueError, r"lacks \{response\}"),
        (lambda: judge(pair_template="{prompt}{first}"), ValueError, r"lacks \{second\}"),
        (lambda: judge(yes="N"), ValueError, "yes and no must be two different texts"),
        (lambda: judge(no=""), ValueError, "yes and no must be two different texts"),
        (lambda: judge(max_critique_tokens=-1), ValueError, "max_critique_tokens must be at least 0"),
        (lambda: judge()(["a"], ["x", "y"]), ValueError, "needs one of each kind .*1 prompts, 2 responses"),
        (lambda: judge().compare(["a"], ["x"], []), ValueError, "1 prompts, 1 firsts, 0 seconds"),
        (lambda: judge()(["a"], ["x" * 80]), ValueError, "more than the model's context of 64"),
    ],
)
def test_one_sentence_for_bad_input(make: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        make()


# labels in probabilities, and marks


def test_labels_of_both_orders_by_hand() -> None:
    policy = model()
    one = judge(policy, max_critique_tokens=0)
    there = said(policy, "a|x|yy?", "Y") - said(policy, "a|x|yy?", "N")
    back = said(policy, "a|yy|x?", "Y") - said(policy, "a|yy|x?", "N")
    asked = (["a"], ["x"], ["yy"])
    found = [t.item() for t in one.both_orders(*asked)]
    assert found == pytest.approx([there, back], abs=1e-4)
    sigma = lambda d: 1 / (1 + math.exp(-d))  # noqa: E731
    assert one.prefer(*asked, average="none") == pytest.approx([sigma(there)], abs=1e-5)
    assert one.prefer(*asked) == pytest.approx([(sigma(there) + 1 - sigma(back)) / 2], abs=1e-5)
    assert one.prefer(*asked, average="logit") == pytest.approx([sigma((there - back) / 2)], abs=1e-5)
    assert one.compare(*asked) == pytest.approx([(there - back) / 2], abs=1e-4)
    turned = (["a"], ["yy"], ["x"])
    for average in ("prob", "logit"):  # asked about the other one it says the rest
        both = one.prefer(*asked, average=average)[0] + one.prefer(*turned, average=average)[0]
        assert both == pytest.approx(1, abs=1e-6)
    assert one.prefer([], [], []) == one.prefer([], [], [], average="none") == []


class Placed(GenerativeJudge):
    """Says d for the pairs it is asked about, and b for whatever comes first: the known truth."""

    position = 2.0

    def log_odds(self, texts: Any) -> Tensor:
        parts = [text.split("|") for text in texts]
        return torch.tensor(
            [0.5 * (len(a) - len(b)) + self.position for _, a, b in parts], dtype=torch.float64
        )


def test_a_planted_liking_for_the_first_place_is_met_by_its_law() -> None:
    from rlbase.exact import swap_averaged

    one = Placed(model(), ONE, pair_template=TWO, verdict="?", yes="Y", no="N")
    firsts, seconds = ["xx", "x", "xyxy"], ["x", "yxyx", "x"]
    asked = (["a"] * 3, firsts, seconds)
    d = torch.tensor([0.5, -1.5, 1.5], dtype=torch.float64)
    assert one.prefer(*asked) == pytest.approx(swap_averaged(d, 2.0).tolist())
    assert one.prefer(*asked, average="logit") == pytest.approx(d.sigmoid().tolist())
    assert one.prefer(*asked, average="none") == pytest.approx((d + 2).sigmoid().tolist())
    there, back = one.both_orders(*asked)
    assert ((there + back) / 2).tolist() == pytest.approx([2.0] * 3)


def test_expected_mark_by_hand() -> None:
    policy = model()
    marks = ("a", "b", "cx")
    share = [math.exp(said(policy, "a|xyx?", mark)) for mark in marks]
    expected = (-share[0] + share[2]) / sum(share)
    found = judge(policy, max_critique_tokens=0).rate(["a"], ["xyx"], marks=marks)
    assert found == pytest.approx([expected], abs=1e-5)
    assert judge(policy).rate([], [], marks=marks) == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: judge().prefer(["a"], ["x"], ["y"], average="mean"),
            "average must be one of 'prob', 'logit', 'none'",
        ),
        (lambda: judge().prefer(["a"], ["x"], []), "needs one of each kind to a prompt"),
        (lambda: judge().rate(["a"], ["x"], marks=("a",)), "needs two marks or more"),
        (lambda: judge().rate(["a"], ["x"], marks=("a", "b", "a")), "the mark 'a' begins 'a'"),
        (
            lambda: judge().rate(["a"], ["x"], marks=("ab", "a")),
            "the mark 'a' begins 'ab' for this tokenizer",
        ),
        (lambda: judge().rate(["a"], []), "needs one of each kind to a prompt"),
    ],
)
def test_bad_labels(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_the_next_token_of_all_at_once_is_the_next_token_one_by_one() -> None:
    policy = model()
    prompts = Prompt(torch.tensor([[0, 0, 3], [1, 2, 3]]), torch.tensor([[False, False, True], [True] * 3]))
    found = policy.next_logp(prompts)
    assert found.exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    for token in range(TOKENIZER.vocab_size):
        one, _ = policy.evaluate(prompts, torch.full((2, 1), token))
        assert torch.allclose(found[:, token], one[:, 0], atol=1e-5)
