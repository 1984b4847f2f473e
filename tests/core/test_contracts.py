"""The two contracts: everything that ships keeps them, and every clause fails on a planted bug."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv, chain, gridworld
from rlbase.policies import MLPPolicy, TabularPolicy, for_env, random_policy
from rlbase.rollout import check_env, check_policy, enumerate_actions, rescore, rollout
from rlbase.train.checkpoint import load_tree, save_tree
from rlbase.train.common import estimate_advantages
from rlbase.types import Box, Discrete, Prompt, Step

TOKENIZER = CharTokenizer("abcd")


def length(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(text)) for text in responses]


def text_world(**options: Any) -> TextEnv:
    settings: dict[str, Any] = {"max_new_tokens": 5, "batch_size": 6, **options}
    return TextEnv(["a", "bcd", "dd"], TOKENIZER, length, **settings)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def newest(name: str) -> str:
    """The registered version of an environment: Gymnasium retires old ones."""
    return max(key for key in gymnasium.registry if key.startswith(name + "-v"))


GYM = ["CartPole", "Acrobot", "FrozenLake", "Taxi", "Pendulum", "MountainCar", "CliffWalking"]
if importlib.util.find_spec("Box2D"):
    GYM.append("LunarLander")


# what ships


@pytest.mark.parametrize(
    "build",
    [
        lambda: Bandit(torch.tensor([0.0, 1.0]), noise=0.5),
        lambda: Bandit(torch.randn(3, 4), batch_size=5),
        lambda: chain(4),
        lambda: chain(5, slip=0.3, time_limit=3, batch_size=1),
        lambda: gridworld(slip=0.2, time_limit=7),
        text_world,
        lambda: text_world(group_size=3, missing_eos_penalty=1.0),
        lambda: text_world(batch_size=1, max_new_tokens=1),
    ],
)
def test_worlds_keep_their_contract(build: Callable[[], Any]) -> None:
    check_env(build(), steps=60)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", GYM)
def test_gymnasium_worlds_keep_their_contract(name: str) -> None:
    env = GymEnv(newest(name), batch_size=3)
    check_env(env, steps=230)  # Pendulum's time limit is 200
    if name != "Taxi":  # 500 states need no second look
        policy, _ = for_env(env)
        assert check_policy(policy, env) < 1e-5  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_language_models_keep_their_contract(architecture: str, temperature: float) -> None:
    policy = random_policy(
        architecture, vocab_size=5, initializer_range=0.5, dropout=0.3, temperature=temperature
    )
    assert check_policy(policy, text_world()) < 1e-4


def test_small_policies_keep_their_contract() -> None:
    assert check_policy(TabularPolicy(1, 4), Bandit(torch.zeros(4))) < 1e-6
    assert check_policy(TabularPolicy(5, 2), chain(5, time_limit=4)) < 1e-6
    assert check_policy(MLPPolicy(4, Discrete(2)), GymEnv("CartPole-v1")) < 1e-5
    assert check_policy(MLPPolicy(3, Box(1, -2, 2), log_std=-0.5), GymEnv("Pendulum-v1")) < 1e-5


# planted bugs: policies


class Forgetful(TabularPolicy):
    """Samples at temperature 1/2, scores at 1."""

    def step(self, obs: Tensor, state: None, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        logp = (self.logits[obs] * 2).log_softmax(-1)
        actions = torch.multinomial(logp.exp(), 1, generator=generator)
        return actions[:, 0], logp.gather(1, actions)[:, 0].detach(), None


class OffByOne(TabularPolicy):
    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return super().evaluate(obs[:, 1:], actions)


class DropoutOn(MLPPolicy):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))


class Impulsive(TabularPolicy):
    """Draws from the global generator."""

    def step(self, obs: Tensor, state: None, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        return super().step(obs, state, torch.default_generator)


class Gregarious(TabularPolicy):
    """Normalises over the batch: a row's probability depends on its neighbours."""

    def table(self, obs: Tensor) -> Tensor:
        return self.logits[obs] + torch.tensor([0.0, 1.0]) * obs.float().mean() * len(obs)

    def step(self, obs: Tensor, state: None, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        logp = self.table(obs).log_softmax(-1).detach()
        actions = torch.multinomial(logp.exp(), 1, generator=generator)
        return actions[:, 0], logp.gather(1, actions)[:, 0], None

    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        columns = [self.table(obs[:, t]).log_softmax(-1) for t in range(actions.shape[1])]
        logp = torch.stack(columns, 1)
        return logp.gather(-1, actions[..., None])[..., 0], -(logp.exp() * logp).sum(-1)


class Flat(TabularPolicy):
    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logp, entropy = super().evaluate(obs, actions)
        return logp, entropy.mean()


class NoGradient(TabularPolicy):
    @torch.no_grad()
    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logp, entropy = super().evaluate(obs, actions)
        return logp + 0 * self.extra.detach() if hasattr(self, "extra") else logp.requires_grad_(), entropy


class NotANumber(TabularPolicy):
    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logp, entropy = super().evaluate(obs, actions)
        return logp * float("nan"), entropy


def uneven(kind: type[TabularPolicy]) -> TabularPolicy:
    policy = kind(5, 2)
    policy.logits.data = torch.randn(5, 2, generator=seeded(3))
    return policy


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: uneven(Forgetful), "re-scored log-probabilities differ"),
        (lambda: uneven(OffByOne), "re-scored log-probabilities differ"),
        (
            lambda: uneven(NotANumber),
            "re-scored log-probabilities differ by nan|differ from sampled ones by nan",
        ),
        (lambda: uneven(Impulsive), "the same generator gave two rollouts"),
        (lambda: uneven(Gregarious), "change with the other rows of the batch"),
        (lambda: uneven(Flat), r"entropy must have shape \[16, 8\], got \[\]"),
        (lambda: uneven(NoGradient), "no gradient"),
    ],
)
def test_planted_bugs_in_policies_are_found(build: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_policy(build(), chain(5, slip=0.3, time_limit=6))


def test_dropout_is_found() -> None:
    with pytest.raises(ValueError, match="is dropout on"):
        check_policy(DropoutOn(4, Discrete(2)), GymEnv("CartPole-v1"))


def test_a_language_model_that_looks_at_padding_is_found() -> None:
    policy = random_policy("gpt2", vocab_size=5, initializer_range=0.5)
    honest = policy.evaluate

    def counts_padding(obs: Prompt, actions: Tensor) -> tuple[Tensor, Tensor]:
        everything = Prompt(obs.ids, torch.ones_like(obs.mask))
        return honest(everything, actions)

    env = TextEnv(["ab"], TOKENIZER, length, max_new_tokens=4, batch_size=4)
    policy.evaluate = counts_padding  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="left padding"):
        check_policy(policy, env)


# planted bugs: worlds


def broken(**changes: Callable[[Any, Step], Step]) -> Any:
    """A chain whose answers are changed by ``changes['step']``."""
    world = chain(4, slip=0.3, time_limit=4, batch_size=4)
    honest = world.step

    def step(actions: Tensor, generator: torch.Generator) -> Step:
        return changes["step"](world, honest(actions, generator))

    world.step = step  # type: ignore[method-assign]
    return world


def forget(name: str) -> Any:
    world = chain(4, slip=0.3, time_limit=4, batch_size=4)
    honest = world.load_state

    def load_state(state: dict[str, Any]) -> None:
        kept = {"_clock": world._clock, "_states": world._states}.get(name)
        honest(state)
        if name == "resetting":
            world.log.resetting = torch.zeros(4, dtype=torch.bool)
        else:
            setattr(world, name, kept)

    world.load_state = load_state  # type: ignore[method-assign]
    return world


def careless() -> Any:
    world = chain(4, batch_size=4)
    honest = world.step

    def step(actions: Tensor, generator: torch.Generator) -> Step:
        return honest(actions[:4], generator)

    world.step = step  # type: ignore[method-assign]
    return world


def global_noise() -> Any:
    bandit = Bandit(torch.zeros(2), batch_size=4)
    honest = bandit.step

    def step(actions: Tensor, generator: torch.Generator) -> Step:
        return honest(actions, generator)._replace(rewards=torch.randn(4))

    bandit.step = step  # type: ignore[method-assign]
    return bandit


def endless() -> Any:
    world = text_world()
    honest = world.step

    def step(actions: Tensor, generator: torch.Generator) -> Step:
        return honest(actions, generator)._replace(finished=False)

    world.step = step  # type: ignore[method-assign]
    return world


def hidden_state() -> Any:
    """Observations that a saved state does not bring back; rewards and flags give nothing away."""
    world = gridworld("S....\n.....\n....+", batch_size=4)
    world.state = lambda: {}  # type: ignore[method-assign]
    world.load_state = lambda state: None  # type: ignore[method-assign]
    return world


TRUE = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: broken(step=lambda w, s: s._replace(mask=TRUE)), "its mask must be False"),
        (
            lambda: broken(step=lambda w, s: s._replace(mask=~TRUE)),
            "pay nothing and end nothing|no episode had",
        ),
        (
            lambda: broken(step=lambda w, s: s._replace(mask=s.mask & (s.obs != 2))),
            "masked although|pay nothing",
        ),
        (lambda: broken(step=lambda w, s: s._replace(rewards=s.rewards + 1)), "pay nothing"),
        (
            lambda: broken(step=lambda w, s: s._replace(truncated=s.truncated | s.terminated)),
            "both terminated and truncated",
        ),
        (lambda: broken(step=lambda w, s: s._replace(terminated=s.terminated.float())), "must be boolean"),
        (lambda: broken(step=lambda w, s: s._replace(rewards=s.rewards[:, None])), "rewards must have shape"),
        (lambda: broken(step=lambda w, s: s._replace(rewards=s.rewards / 0)), "finite"),
        (lambda: broken(step=lambda w, s: s._replace(obs=s.obs + 4)), r"whole numbers in 0\.\.3"),
        (lambda: broken(step=lambda w, s: s._replace(obs=s.obs.float())), r"whole numbers in 0\.\.3"),
        (lambda: broken(step=lambda w, s: s._replace(obs=s.obs[:2])), "there must be 4 observations, got 2"),
        (lambda: forget("_clock"), "differ after load_state"),
        (lambda: forget("_states"), "differ after load_state"),
        (lambda: forget("resetting"), "differ after load_state"),
        (careless, "must refuse actions of the wrong shape"),
        (global_noise, "rewards differ after load_state"),
        (endless, "had not finished by then"),
        (hidden_state, "observations differ after load_state"),
    ],
)
def test_planted_bugs_in_worlds_are_found(build: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_env(build(), steps=40)


# Gymnasium, compared with Gymnasium run by hand


def test_cartpole_is_natively_vectorised() -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

    assert isinstance(GymEnv("CartPole-v1", batch_size=2).vector, CartPoleVectorEnv)


@pytest.mark.parametrize(
    ("name", "options", "columns"),
    [("Acrobot-v1", {"max_episode_steps": 7}, 30), ("FrozenLake-v1", {"max_episode_steps": 5}, 40)]
    + [("Pendulum-v1", {"max_episode_steps": 6}, 20), ("CliffWalking-v1", {"max_episode_steps": 4}, 12)],
)
@pytest.mark.filterwarnings("ignore")
def test_streams_equal_gymnasium_by_hand(name: str, options: dict[str, Any], columns: int) -> None:
    world = GymEnv(name, batch_size=2, options=options)
    batch = rollout(for_env(world)[0], world, steps=columns, generator=seeded())  # type: ignore[arg-type]
    seed = int(torch.randint(2**31 - 1, (1,), generator=seeded()))
    finished = []
    for row in range(2):
        single = gymnasium.make(name, **options)
        obs, _ = single.reset(seed=seed + row)
        over, total = False, 0.0
        for t in range(columns):
            np.testing.assert_allclose(batch.obs[row, t].numpy(), np.float32(obs), rtol=1e-6)
            assert batch.mask[row, t] == (not over)
            if over:  # the reset column: the action is ignored, the next observation opens an episode
                obs, _ = single.reset()
                assert batch.rewards[row, t] == 0 and not (batch.terminated | batch.truncated)[row, t]
                over = False
                continue
            action = batch.actions[row, t].numpy()
            given = np.clip(action, -2, 2) if name == "Pendulum-v1" else int(action)
            obs, reward, terminated, truncated, _ = single.step(given)
            total += float(reward)
            assert batch.rewards[row, t].item() == pytest.approx(float(reward), rel=1e-6)
            assert batch.terminated[row, t] == terminated
            assert batch.truncated[row, t] == (truncated and not terminated)
            # column t + 1 holds the final observation, and GAE reads its value there
            np.testing.assert_allclose(batch.obs[row, t + 1].numpy(), np.float32(obs), rtol=1e-6)
            over = terminated or truncated
            if over:
                finished.append(total)
                total = 0.0
    assert batch.truncated.any()
    assert sorted(world.returns) == pytest.approx(sorted(finished), rel=1e-5)


class Echo(gymnasium.Env[Any, Any]):
    """Pays what it was given, and shows it."""

    def __init__(self, action_space: Any, observation_space: Any) -> None:
        self.action_space, self.observation_space = action_space, observation_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.low if hasattr(self.observation_space, "low") else 7, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return (
            (action if hasattr(self.observation_space, "low") else 8),
            float(np.sum(action)),
            False,
            False,
            {},
        )


def test_gymnasium_spaces_keep_their_start_and_their_bounds() -> None:
    gymnasium.register("EchoTest-v0", entry_point=Echo)
    try:
        spaces = {
            "action_space": gymnasium.spaces.Discrete(3, start=2),
            "observation_space": gymnasium.spaces.Discrete(2, start=7),
        }
        world = GymEnv("EchoTest-v0", batch_size=3, options=spaces)
        assert world.begin(seeded()).tolist() == [0, 0, 0]  # 7 is the first of its states
        step = world.step(torch.tensor([0, 1, 2]), seeded())
        assert (
            step.rewards.tolist() == [2, 3, 4]
            and isinstance(step.obs, Tensor)
            and step.obs.tolist() == [1] * 3
        )
        box = gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([0.5, 3]))
        world = GymEnv("EchoTest-v0", batch_size=2, options={"action_space": box, "observation_space": box})
        world.begin(seeded())
        obs = world.step(torch.tensor([[2.0, 2.0], [-9.0, -9.0]]), seeded()).obs
        assert isinstance(obs, Tensor) and obs.tolist() == [
            [0.5, 2.0],
            [-1.0, 0.0],
        ]  # each side has its own bounds
    finally:
        del gymnasium.registry["EchoTest-v0"]


def test_cartpole_streams_obey_its_physics() -> None:
    """The native vector environment against single steps from the very same states."""
    world = GymEnv("CartPole-v1", batch_size=4)
    batch = rollout(MLPPolicy(4, Discrete(2)), world, steps=120, generator=seeded())
    single: Any = gymnasium.make("CartPole-v1").unwrapped
    ends = 0
    for row in range(4):
        for t in range(120):
            if not batch.mask[row, t]:
                assert batch.obs[row, t + 1].abs().max() <= 0.05  # a fresh start
                continue
            single.reset()
            single.state = tuple(batch.obs[row, t].double().tolist())
            obs, reward, terminated, _, _ = single.step(int(batch.actions[row, t]))
            np.testing.assert_allclose(batch.obs[row, t + 1].numpy(), obs, rtol=1e-4, atol=1e-5)
            assert batch.terminated[row, t] == terminated and batch.rewards[row, t] == reward
            ends += terminated
    assert ends > 4


def test_cartpole_is_saved_in_as_little_after_a_long_run_as_after_a_short_one(tmp_path: Path) -> None:
    """And goes on bit for bit: episodes end, so states, clocks, resets and Gymnasium's own noise all show."""
    options = {"max_episode_steps": 20}
    world, policy, generator = (
        GymEnv("CartPole-v1", batch_size=4, options=options),
        MLPPolicy(4, Discrete(2)),
        seeded(),
    )
    sizes = []
    for name in ("short", "long"):
        rollout(policy, world, steps=500 if name == "long" else 37, generator=generator)
        while not world.log.resetting.any():  # in the middle of a reset
            world.step(torch.ones(4, dtype=torch.long), generator)
        world.log.returns.extend([0.0] * 100)  # full in both files
        save_tree(tmp_path / name, world.state())
        sizes.append((tmp_path / name).stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 100
    twin = GymEnv("CartPole-v1", batch_size=4, options=options)
    twin.begin(seeded(5))
    twin.load_state(load_tree(tmp_path / "long"))
    left, right = (rollout(policy, w, steps=200, generator=seeded(1)) for w in (world, twin))
    for name in ("obs", "actions", "rewards", "terminated", "truncated", "mask"):
        assert torch.equal(getattr(left, name), getattr(right, name)), name
    assert left.truncated.any() and left.terminated.any() and list(world.returns) == list(twin.returns)


def test_a_world_that_is_replayed_goes_on_as_well() -> None:
    world, twin = (GymEnv("Acrobot-v1", batch_size=2, options={"max_episode_steps": 9}) for _ in range(2))
    policy, generator = MLPPolicy(6, Discrete(3)), seeded()
    rollout(policy, world, steps=23, generator=generator)
    twin.load_state(world.state())
    left, right = (rollout(policy, w, steps=20, generator=seeded(1)) for w in (world, twin))
    assert torch.equal(left.obs, right.obs) and list(world.returns) == list(twin.returns)
    assert world.returns is world.log.returns and twin.returns is twin.log.returns


def test_truncated_values_come_from_the_final_observation() -> None:
    world = GymEnv("Pendulum-v1", batch_size=2, options={"max_episode_steps": 3})
    batch = rollout(MLPPolicy(3, Box(1)), world, steps=8, generator=seeded())
    values = torch.arange(18.0).reshape(2, 9) ** 1.5
    advantages, _ = estimate_advantages(batch, batch.rewards, values, "gae", gamma=0.9, lam=0.0, group_size=1)
    assert batch.truncated[:, 2].all() and not batch.mask[:, 3].any()
    expected = batch.rewards[:, 2] + 0.9 * values[:, 3] - values[:, 2]
    torch.testing.assert_close(advantages[:, 2], expected)
    assert not advantages[:, 3].any()


def test_cartpole_time_limit_truncates() -> None:
    world = GymEnv("CartPole-v1", batch_size=1)
    generator, ended = seeded(), []
    obs = world.begin(generator)
    for _ in range(501):  # a hand-made controller that never falls
        push = (obs[:, 2] + obs[:, 3] * 0.5 + 0.05 * obs[:, 0] + 0.1 * obs[:, 1] > 0).long()
        step = world.step(push, generator)
        obs = step.obs
        ended.append((bool(step.terminated), bool(step.truncated), bool(step.mask)))
    assert ended[499] == (False, True, True) and ended[500] == (False, False, False)
    assert list(world.returns) == [500.0]


# the loop


def test_prompts_are_used_evenly_and_in_groups() -> None:
    world = text_world(batch_size=12, group_size=2)
    generator = seeded()
    for _ in range(5):
        world.begin(generator)
        used = world.prompts_used
        assert used[::2] == used[1::2]
        assert sorted(used) == sorted(["a", "bcd", "dd"] * 4)


def test_scores_are_paid_once_on_the_last_choice_and_silence_costs() -> None:
    world = text_world(missing_eos_penalty=2.0, batch_size=64)
    batch = rollout(random_policy("gpt2", vocab_size=5), world, generator=seeded())
    eos = TOKENIZER.eos_token_id
    for row in range(64):
        choices = batch.actions[row][batch.mask[row]].tolist()
        assert eos not in choices[:-1]
        ended = choices[-1] == eos
        assert ended or len(choices) == 5
        expected = (len(choices) - 1) if ended else len(choices) - 2.0
        paid = batch.rewards[row].nonzero().flatten().tolist()
        assert paid == ([len(choices) - 1] if expected else [])
        assert batch.rewards[row].sum().item() == expected == world.scores[row].item()
        assert bool(batch.terminated[row, len(choices) - 1]) and batch.terminated[row].sum() == 1
        assert len(world.responses[row]) == len(choices) - ended
    assert list(world.returns) == world.scores.tolist()


def test_rows_that_finish_are_never_cut_before_they_are_paid() -> None:
    policy, world = random_policy("gpt2", vocab_size=5), text_world()
    with pytest.raises(
        ValueError, match="rows finish by themselves within 5 steps and are not cut; leave out"
    ):
        rollout(policy, world, steps=4, generator=seeded())
    for steps in (None, 5, 64):  # what asks for no less than the rows may take contradicts nothing
        batch = rollout(policy, world, steps=steps, generator=seeded())
        assert batch.rewards.any() and batch.terminated.any(1).all()
    check_policy(policy, world, steps=2)  # its steps are for worlds that go on


def test_a_rollout_of_nothing_but_resets_goes_on() -> None:
    world = chain(3, batch_size=1)  # every step ends the episode, every second column is a reset
    generator, policy = seeded(), TabularPolicy(3, 2)
    for _ in range(6):
        batch = rollout(policy, world, steps=1, generator=generator)
        assert batch.mask.any() and batch.obs.shape[1] == batch.mask.shape[1] + 1


def test_streams_go_on_from_one_rollout_to_the_next() -> None:
    one, two = (chain(6, slip=0.3, time_limit=5, batch_size=3) for _ in range(2))
    policy, left, right = TabularPolicy(6, 2), seeded(), seeded()
    whole = rollout(policy, one, steps=20, generator=left)
    first, second = (rollout(policy, two, steps=10, generator=right) for _ in range(2))
    assert torch.equal(whole.obs[:, :11], first.obs) and torch.equal(whole.obs[:, 10:], second.obs)
    assert torch.equal(whole.rewards, torch.cat((first.rewards, second.rewards), 1))


def test_enumerated_choices_weigh_what_they_are_worth() -> None:
    rewards = torch.randn(3, 4, generator=seeded())
    policy = TabularPolicy(3, 4)
    policy.logits.data = torch.randn(3, 4, generator=seeded(1))
    world = Bandit(rewards, noise=5.0)
    batch = enumerate_actions(policy, world, generator=seeded())
    assert batch.weight is not None
    exact = (policy.probs() * rewards).sum(1).mean().item()
    assert (batch.weight * batch.rewards).mean().item() == pytest.approx(exact, rel=1e-5)
    assert batch.weight.mean().item() == pytest.approx(1, rel=1e-5)
    assert world.returns[-1] == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(rescore(policy, batch), batch.logp)


def test_tables_never_land_where_they_cannot() -> None:
    """A row that sums to a little below one must not spill onto the last state."""
    transitions = torch.zeros(3, 1, 3, dtype=torch.float64)
    transitions[:, 0, 0] = 1 - 9e-6
    from rlbase.envs import TabularMDP

    world = TabularMDP(transitions, torch.zeros(3, 1), batch_size=100_000)
    generator = seeded()
    for _ in range(10):
        world.begin(generator)
        assert not world.step(torch.zeros(100_000, dtype=torch.long), generator).obs.any()


def test_transitions_follow_their_table() -> None:
    transitions = torch.tensor([[[0.1, 0.0, 0.6, 0.3]]]).expand(4, 1, 4)
    from rlbase.envs import TabularMDP

    world = TabularMDP(transitions, torch.zeros(4, 1), batch_size=50_000)
    generator = seeded()
    world.begin(generator)
    obs = world.step(torch.zeros(50_000, dtype=torch.long), generator).obs
    frequencies = obs.bincount(minlength=4) / 50_000
    torch.testing.assert_close(frequencies, transitions[0, 0], atol=0.01, rtol=0)
