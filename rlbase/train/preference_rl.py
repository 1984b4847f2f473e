"""Reinforcement learning without a reward: people compare clips of behaviour, a reward is fitted to what they say.

Read `preference_rl` top to bottom: act, ask about the clips that the ensemble disputes most, fit, improve the policy on
the fitted reward by whichever loop you pass in. Different from Christiano et al. (2017): the three processes take turns
instead of running side by side, weight decay is a setting and not steered by the held-out loss, and every
round asks equally often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlbase.envs import LearnedReward, TabularMDP
from rlbase.envs.learned_reward import PaysEach
from rlbase.exact import value_iteration
from rlbase.feedback import Ask, Clips, Comparisons, cut
from rlbase.losses.segments import segment_preference
from rlbase.policies import StepEnsemble, TabularPolicy
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.epochs import adamw
from rlbase.types import Choices, Critic, Env, Policy
from rlbase.validate import in_range, instance, one_of, whole

INFINITY = float("inf")
# Whatever makes the policy better in a world: a trainer of this package, all but world and generator filled in.
Improve = Callable[[LearnedReward, torch.Generator], Iterable[dict[str, float]]]


@dataclass(frozen=True)
class PreferenceRLConfig:
    """Settings of `preference_rl`; those of the fit serve `fit_reward` alone too."""

    updates: int = 10
    """Rounds of acting, asking, fitting and improving."""
    steps: int = 100
    """Columns rolled out in each round, from which its clips are cut."""
    clip_length: int = 25
    """Choices in a clip, the same for all."""
    comparisons: int = 40
    """Questions asked in a round."""
    first_comparisons: int | None = None
    """Questions asked in the first round, about an untrained policy; None: as many as in the others."""
    query: str = "disagreement"
    """``disagreement`` asks where the members' answers vary most, ``uniform`` anywhere."""
    candidates: int = 10
    """Pairs looked at for each one that is asked, where disagreement chooses."""
    error: float = 0.1
    """Share of answers that the fit takes to be random."""
    bootstrap: bool = True
    """Let every member learn from its own resample of the comparisons."""
    epochs: int = 20
    """Passes over all comparisons in each round."""
    batch_size: int = 64
    """Comparisons in a gradient step."""
    learning_rate: float = 3e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Pull of every weight towards 0, decoupled from the gradient."""
    reward_std: float = 1.0
    """Spread of the reward that is paid, over the steps of the latest rollout; their mean is 0."""

    def __post_init__(self) -> None:
        sizes = ("updates", "steps", "clip_length", "comparisons", "candidates", "epochs", "batch_size")
        for name in sizes:
            whole("PreferenceRLConfig", name, getattr(self, name), 1)
        first = self.comparisons if self.first_comparisons is None else self.first_comparisons
        whole("PreferenceRLConfig", "first_comparisons", first, 1)
        one_of("PreferenceRLConfig", "query", self.query, ("disagreement", "uniform"))
        in_range("PreferenceRLConfig", "error", self.error, 0, 1, open_high=True)
        for name in ("learning_rate", "weight_decay"):
            in_range("PreferenceRLConfig", name, getattr(self, name), 0, INFINITY, open_high=True)
        in_range("PreferenceRLConfig", "reward_std", self.reward_std, 0, INFINITY, open_low=True)


def preference_rl(
    policy: Policy,
    env: Env,
    reward: StepEnsemble,
    ask: Ask,
    improve: Improve,
    config: PreferenceRLConfig = PreferenceRLConfig(),
    *,
    critic: Critic | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Learn a ``reward`` from comparisons of clips and a ``policy`` from that reward, yielding one record per round.

    Christiano et al. (2017). The rewards of ``env`` are never learned from: they only enter ``return_mean``, and what
    a simulated rater says. ``label_share`` is the share of all steps taken that anybody was shown.

    Args:
        ask: answers about clips, see `rlbase.feedback.judge`; NaN skips a pair.
        improve: improves ``policy`` in the world it is given, for example ``lambda world, generator: ppo(policy, world,
            settings, critic=critic, generator=generator)``, or `plan`.
        critic: named so that a checkpoint holds it; ``improve`` uses it.

    Raises:
        ValueError: settings that do not fit the world, labels outside [0, 1], or a checkpoint of another run.
        FloatingPointError: the fit's loss is no longer finite.

    >>> from rlbase.envs import garden
    >>> from rlbase.feedback import Rater, judge
    >>> from rlbase.policies import TabularReward
    >>> world, policy = garden(torch.tensor([[0.0, 0.0, 1.0]])), TabularPolicy(3, 4)  # up, right, down, left
    >>> reward = StepEnsemble([TabularReward(3, None), TabularReward(3, None)])
    >>> def improve(world, generator): return plan(policy, world, gamma=0.9)
    >>> config = PreferenceRLConfig(updates=3, clip_length=4, learning_rate=0.05)
    >>> records = list(preference_rl(policy, world, reward, judge(Rater()), improve, config))
    >>> policy.probs()[:2].argmax(1).tolist(), len(records)
    ([1, 1], 3)
    """
    instance("preference_rl", "reward", reward, StepEnsemble)
    instance("preference_rl", "config", config, PreferenceRLConfig)
    instance("preference_rl", "generator", generator, torch.Generator, optional=True)
    common.check_parts("preference_rl", policy, env)
    generator = generator or common.new_generator(common.parameters_of(policy))
    told = Comparisons(len(reward), bootstrap=config.bootstrap)
    world = LearnedReward(env, reward)
    saved = Checkpoint(checkpoint, (policy, critic, reward, told, world, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0, "steps_shown": 0})
    looked_at = config.candidates if config.query == "disagreement" else 1
    while counters["update"] < config.updates:
        asked = config.comparisons if counters["update"] else config.first_comparisons or config.comparisons
        behaviour = rollout(policy, env, steps=config.steps, generator=generator)
        clips = cut(behaviour, config.clip_length, 2 * asked * looked_at, generator=generator)
        first, second, disputed = choose_pairs(reward, clips, asked, query=config.query)
        told.add(first.choices, second.choices, ask(first, second, generator), generator=generator)
        fitted, learned = {}, {}
        if len(told):  # whoever skips every pair has taught nothing yet
            fitted = fit_reward(reward, told, config, generator=generator)
            reward.normalise(Choices(behaviour.obs, behaviour.actions, behaviour.mask), std=config.reward_std)
            for record in improve(world, generator):
                learned = record
        counters["update"] += 1
        counters["env_steps"] += int(behaviour.mask.sum()) + int(learned.get("env_steps", 0))
        counters["steps_shown"] += 2 * asked * config.clip_length
        saved.save(counters)
        yield {
            **learned,
            **fitted,
            **counters,
            "comparisons": len(told),
            "return_mean": common.recent_return(env),
            "disagreement": disputed.mean().item(),
            "label_share": counters["steps_shown"] / counters["env_steps"],
        }


def choose_pairs(
    reward: StepEnsemble, clips: Clips, n: int, *, query: str = "disagreement"
) -> tuple[Clips, Clips, Tensor]:
    r"""The ``n`` pairs to ask about: the first half of ``clips`` against the second half, pair by pair.

    ``disagreement`` takes those whose $\sigma(\hat r_m(a)-\hat r_m(b))$ has the largest variance over the members
    (Christiano et al. 2017, section 2.2.4), ``uniform`` the first ones. The third result is that variance, ``[n]``.

    Raises:
        ValueError: fewer than ``2 n`` clips, or an unknown ``query``.

    >>> from rlbase.policies import TabularReward
    >>> optimist, pessimist = TabularReward(3, None), TabularReward(3, None)
    >>> optimist.table.data[2], pessimist.table.data[2] = 1.0, -1.0  # about square 2 they differ
    >>> visits = Choices(torch.tensor([[0], [0], [1], [2]]), torch.zeros(4, 1).long(), torch.ones(4, 1).bool())
    >>> clips = Clips(visits, paid=torch.zeros(4))
    >>> first, second, disputed = choose_pairs(StepEnsemble([optimist, pessimist]), clips, 1)
    >>> second.choices.obs.tolist()
    [[2]]
    """
    one_of("choose_pairs", "query", query, ("disagreement", "uniform"))
    pairs = len(clips) // 2
    if pairs < n:
        raise ValueError(f"choose_pairs: {n} pairs need {2 * n} clips, got {len(clips)}.")
    first, second = clips[:pairs], clips[pairs : 2 * pairs]
    disputed = reward.disagreement(first.choices, second.choices)
    kept = disputed.topk(n).indices if query == "disagreement" else torch.arange(n, device=disputed.device)
    return first[kept], second[kept], disputed[kept]


def fit_reward(
    reward: StepEnsemble,
    told: Comparisons,
    config: PreferenceRLConfig = PreferenceRLConfig(),
    *,
    generator: torch.Generator,
) -> dict[str, float]:
    """Fit every member to its own resample of the comparisons, going on from where it stands; returns metrics.

    The loss is `rlbase.losses.segment_preference` of each member's sums. ``held_out_loss`` and ``held_out_accuracy``
    are over the comparisons that a member never learns from (NaN where there is none); ties have no accuracy.

    Raises:
        ValueError: there is no comparison yet, or they were counted for another number of members.
        FloatingPointError: the loss is no longer finite.

    >>> from rlbase.policies import TabularReward
    >>> reward, told = StepEnsemble([TabularReward(2, 1)]), Comparisons(bootstrap=False)
    >>> stay = Choices(torch.tensor([[0], [1]]), torch.zeros(2, 1).long(), torch.ones(2, 1).bool())
    >>> told.add(stay[:1], stay[1:], torch.tensor([0.0]), generator=torch.Generator())
    >>> fitted = fit_reward(reward, told, generator=torch.Generator())
    >>> bool(reward.members[0].table[1] > reward.members[0].table[0])
    True
    """
    if told.members != len(reward):
        raise ValueError(
            f"fit_reward: the comparisons were counted for {told.members} members, the reward has {len(reward)}."
        )
    if not len(told):
        raise ValueError("fit_reward: there is no comparison to learn from yet.")
    parameters = common.parameters_of(reward)
    optimizer = adamw(parameters, config.learning_rate, config.weight_decay)
    first, second = told.first, told.second
    for _ in range(config.epochs):
        for rows in torch.randperm(len(told), generator=generator, device=generator.device).split(
            config.batch_size
        ):
            each = _losses(reward, first[rows], second[rows], told.prob[rows], config.error)
            counts = told.counts[rows].T
            loss = ((each * counts).sum(1) / counts.sum(1).clamp(min=1)).sum()
            common.gradient_step("fit_reward", loss, parameters, optimizer, INFINITY)
    return _fit_metrics(reward, told, config.error)


def _losses(reward: StepEnsemble, first: Choices, second: Choices, prob: Tensor, error: float) -> Tensor:
    """The loss of every member on every pair, ``[members, n]``."""
    worth_a, worth_b = reward.scores(first), reward.scores(second)
    labels = prob.to(worth_a.dtype).expand_as(worth_a)
    flat = segment_preference(worth_a.flatten(), worth_b.flatten(), labels.flatten(), error=error)
    return flat.view_as(worth_a)


@torch.no_grad()
def _fit_metrics(reward: StepEnsemble, told: Comparisons, error: float) -> dict[str, float]:
    each, counts = _losses(reward, told.first, told.second, told.prob, error), told.counts.T
    ahead = reward.scores(told.first) > reward.scores(told.second)
    right = (ahead == (told.prob > 0.5)).float()
    out = counts == 0
    decided = out & (told.prob != 0.5)
    return {
        "reward_loss": ((each * counts).sum() / counts.sum().clamp(min=1)).item(),
        "held_out_loss": each[out].mean().item(),
        "held_out_accuracy": right[decided].mean().item(),
    }


def plan(
    policy: TabularPolicy, world: LearnedReward, *, gamma: float, temperature: float = 0.1
) -> Iterator[dict[str, float]]:
    r"""Solve a finite world for its learned reward: $\pi(a|s)\propto e^{Q(s,a)/\tau}$ by soft value iteration.

    An ``improve`` for `preference_rl` that needs no steps in the world, only its tables; ``temperature`` keeps the
    policy curious enough to show new behaviour. Nothing is paid once an episode has ended.

    Raises:
        TypeError: the world has no tables.
        ValueError: ``temperature`` is not positive, or the values never settle.

    >>> from rlbase.envs import garden
    >>> from rlbase.policies import TabularReward
    >>> reward, policy = TabularReward(3, None), TabularPolicy(3, 4)
    >>> reward.table.data[2] = 1.0
    >>> _ = list(plan(policy, LearnedReward(garden(torch.zeros(1, 3)), reward), gamma=0.9))
    >>> policy.probs()[:2].argmax(1).tolist()  # 1: right
    [1, 1]
    """
    env = world.env
    if not isinstance(env, TabularMDP):
        raise TypeError(f"plan: only a TabularMDP has the tables to plan with, got {type(env).__name__}.")
    in_range("plan", "temperature", temperature, 0, INFINITY, open_low=True)
    rewards = reward_table(world.reward, env)
    uniform = torch.full_like(rewards, 1 / rewards.shape[1])
    values = value_iteration(env.transitions, rewards, gamma=gamma, ref=uniform, beta=temperature)
    policy.logits.data.copy_(values.q / temperature)
    yield {"env_steps": 0, "planned_value": values.values[env.start].item()}


@torch.no_grad()
def reward_table(reward: PaysEach, env: TabularMDP) -> Tensor:
    """What a reward says of every state and action of a finite world, ``[S, A]``; 0 where the episode is over.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularReward
    >>> reward_table(TabularReward(3, 2), chain(3)).shape
    torch.Size([3, 2])
    """
    states, actions = env.rewards.shape
    grid = torch.arange(states)[:, None].expand(states, actions)
    table = reward.each(grid, torch.arange(actions).expand(states, actions))
    return torch.where(env.is_terminal[:, None], 0, table)
