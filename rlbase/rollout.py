"""The one loop: a policy meets a batch of worlds. And the two contracts that keep both honest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.masked import last_choice
from rlbase.types import Discrete, Env, Obs, Policy, Prompt, Rollout, Step
from rlbase.validate import columns, finite, has_shape, instance


@torch.no_grad()
def rollout(policy: Policy, env: Env, *, steps: int | None = None, generator: torch.Generator) -> Rollout:
    """Let ``policy`` act in ``env`` for ``steps`` columns, or until every row has finished where rows do finish.

    The same loop serves a bandit (one column), CartPole (``steps`` columns of a world that goes on) and a language
    model (one column a token). Column ``t`` of ``obs`` is what was seen before action ``t``; tensors have one more
    column at the end, what was seen after the last action.

    Raises:
        ValueError: the world never finishes by itself and ``steps`` was not given or is below 1, its rows do finish
            and ``steps`` would cut them, or a reward is not finite.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=4)
    >>> batch = rollout(TabularPolicy(1, 2), bandit, generator=torch.Generator().manual_seed(0))
    >>> batch.actions.shape, bool(batch.mask.all())
    (torch.Size([4, 1]), True)
    """
    instance("rollout", "generator", generator, torch.Generator)
    limit = columns("rollout", steps, env.horizon)
    obs = env.begin(generator)
    state = policy.initial_state(obs)
    observations: list[Any] = [obs]
    done: list[tuple[Tensor, ...]] = []
    late = None
    while True:
        actions, logp, state = policy.step(obs, state, generator)
        step = env.step(actions, generator)
        obs, late = step.obs, step.late_rewards
        observations.append(obs)
        done.append((actions, logp, step.rewards, step.terminated, step.truncated, step.mask))
        # a column can be nothing but resets: then one more, so that there is something to learn from
        over = len(done) > limit or (len(done) == limit and any(bool(c[5].any()) for c in done))
        if step.finished or over:
            break
    actions, logp, rewards, terminated, truncated, mask = (
        torch.stack(column, 1) for column in zip(*done, strict=True)
    )
    if late is not None:
        rewards = rewards + late[:, None] * last_choice(mask)
    finite("rollout", rewards=rewards)
    return Rollout(env.stack(observations), actions, logp, rewards, terminated, truncated, mask)


@torch.no_grad()
def rescore(policy: Policy, batch: Rollout) -> Tensor:
    """Log-probabilities ``[B, T]`` that ``policy`` gives to the choices of a rollout, without gradient.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy, generator = TabularPolicy(1, 2), torch.Generator().manual_seed(0)
    >>> batch = rollout(policy, Bandit(torch.tensor([0.0, 1.0]), batch_size=4), generator=generator)
    >>> torch.equal(rescore(policy, batch), batch.logp)
    True
    """
    return policy.evaluate(batch.obs, batch.actions)[0]


@torch.no_grad()
def enumerate_actions(
    policy: Policy, env: Env, *, steps: int | None = None, generator: torch.Generator
) -> Rollout:
    r"""Every choice of a bandit once, weighted by its probability: a rollout without sampling noise.

    A drop-in for `rollout` (``ppo(..., collect=enumerate_actions)``). ``weight`` is $N\,p(s)\,\pi(a|s)$ for $N$
    rows, so that the plain mean of ``weight * x`` is the exact expectation $E_{s,a\sim\pi}[x]$. Reward noise is
    averaged away.

    Raises:
        TypeError: the world cannot list its choices.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> batch = enumerate_actions(TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0])), generator=torch.Generator())
    >>> (batch.weight * batch.rewards).mean().item()
    0.5
    """
    listing = getattr(env, "every_choice", None)
    if listing is None:
        raise TypeError(
            f"enumerate_actions: {type(env).__name__} cannot list its choices; use a Bandit, or rollout."
        )
    columns("enumerate_actions", steps, env.horizon)
    env.begin(generator)
    contexts, actions, rewards = listing()
    obs = contexts[:, None].expand(-1, 2)
    logp = policy.evaluate(obs, actions[:, None])[0]
    over = torch.ones_like(logp, dtype=torch.bool)
    share = len(contexts) / len(contexts.unique())  # N p(s): contexts are uniform
    env.returns.append((logp[:, 0].exp() * rewards).sum().item() * share / len(contexts))
    return Rollout(
        obs, actions[:, None], logp, rewards[:, None], over, torch.zeros_like(over), over, share * logp.exp()
    )


def check_policy(
    policy: Policy, env: Env, *, steps: int = 8, seed: int = 0, tolerance: float = 1e-4
) -> float:
    """Hold a policy to its contract in a world; returns the largest gap between sampled and re-scored log-probability.

    Checked: log-probabilities and entropies have shape ``[B, T]``; re-scoring a rollout gives what was sampled
    (so no dropout, no off-by-one, no forgotten temperature); the same generator gives the same rollout; rows do
    not depend on each other; more left padding changes nothing; the gradient reaches the parameters.

    Raises:
        ValueError: naming the first clause that is broken.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularPolicy
    >>> check_policy(TabularPolicy(5, 2), chain(5))
    0.0
    """

    weights = list(getattr(policy, "parameters", list)())
    device = weights[0].device if weights else torch.device("cpu")
    length = steps if env.horizon is None else None

    def stream() -> Rollout:
        return rollout(policy, env, steps=length, generator=torch.Generator(device).manual_seed(seed))

    stream()  # so that the world has a state to go back to
    start = env.state()
    batch = stream()
    env.load_state(start)
    again = stream()
    if not torch.equal(batch.actions, again.actions):
        raise ValueError(
            "check_policy: the same generator gave two rollouts; draw only from the generator (is dropout on?)."
        )
    logp, entropy = policy.evaluate(batch.obs, batch.actions)
    for name, tensor in (("log-probabilities", logp), ("entropy", entropy)):
        has_shape("check_policy", name, tensor, tuple(batch.mask.shape))
    gap = _gap(logp, batch.logp, batch.mask)
    if not gap <= tolerance:
        raise ValueError(
            f"check_policy: re-scored log-probabilities differ from sampled ones by {gap:.2g} (allowed {tolerance:g}); "
            "is dropout on, the temperature forgotten, or the shift off by one?"
        )
    half = slice(0, max(1, env.batch_size // 2))
    if (
        not _gap(policy.evaluate(batch.obs[half], batch.actions[half])[0], logp[half], batch.mask[half])
        <= tolerance
    ):
        raise ValueError("check_policy: a row's log-probabilities change with the other rows of the batch.")
    if isinstance(batch.obs, Prompt):
        padded = policy.evaluate(_pad_more(batch.obs), batch.actions)[0]
        if not _gap(padded, logp, batch.mask) <= tolerance:
            raise ValueError("check_policy: two more columns of left padding change the log-probabilities.")
    parameters = [p for p in weights if p.requires_grad]
    if parameters:
        grads = torch.autograd.grad(logp[batch.mask].sum(), parameters, allow_unused=True)
        if not any(g is not None and g.abs().sum() > 0 for g in grads):
            raise ValueError(
                "check_policy: no gradient of the log-probabilities reaches the policy's parameters."
            )
    return gap


def check_env(env: Env, *, steps: int = 8, seed: int = 0) -> None:
    """Hold a world to its contract, acting at random.

    Checked: shapes and types of observations and of every column; rewards finite; a step that is no choice pays
    nothing and ends nothing; the column after an episode's end, and no other, is no choice; a saved state with the
    same generator continues exactly; wrongly shaped actions are refused.

    Raises:
        ValueError: naming the first clause that is broken.

    >>> from rlbase.envs import chain
    >>> check_env(chain(4, slip=0.1, time_limit=5))
    """

    def stream(seed: int) -> tuple[Obs, list[Any]]:
        generator = _generator(seed)
        obs, answers = env.begin(generator), []
        for _ in range(steps if env.horizon is None else env.horizon):
            answers.append(env.step(_random_actions(env, generator), generator))
            if answers[-1].finished:
                break
        return obs, answers

    # Different seeds around the saved state: under the same noise worlds drift into the same state by themselves.
    _, before = stream(seed + 1)
    saved = env.state()
    first, answers = stream(seed)
    stream(seed + 2)
    env.load_state(saved)
    again, repeated = stream(seed)
    _check_obs(env, first)
    if len(answers) != len(repeated) or not _same_obs(first, again):
        raise ValueError("check_env: observations differ after load_state(state()) with the same generator.")
    ended = torch.zeros(env.batch_size, dtype=torch.bool)
    if env.horizon is None:  # the stream goes on where the one before it stopped
        ended = before[-1].terminated.bool() | before[-1].truncated.bool()
    for answer, other in zip(answers, repeated, strict=True):
        _check_column(env, answer, other, ended)
        over = answer.terminated | answer.truncated
        ended = over if env.horizon is None else ended | over
    if env.horizon is not None and not answers[-1].finished:
        raise ValueError(f"check_env: horizon is {env.horizon}, but the stream had not finished by then.")
    try:
        env.begin(_generator(seed))
        env.step(torch.zeros(env.batch_size + 1, dtype=torch.long), _generator(seed))
    except ValueError:
        return
    except Exception as error:
        raise ValueError(
            f"check_env: step() must refuse actions of the wrong shape with a ValueError, not {type(error).__name__}."
        ) from None
    raise ValueError("check_env: step() must refuse actions of the wrong shape with a ValueError.")


def _check_column(env: Env, answer: Step, other: Step, ended: Tensor) -> None:
    for name in ("rewards", "terminated", "truncated", "mask"):
        column = getattr(answer, name)
        has_shape("check_env", name, column, (env.batch_size,))
        finite("check_env", **{name: column})
        if name != "rewards" and column.dtype != torch.bool:
            raise ValueError(f"check_env: {name} must be boolean, got {column.dtype}.")
        if not torch.equal(column, getattr(other, name)):
            raise ValueError(f"check_env: {name} differ after load_state(state()) with the same generator.")
    if not _same_obs(answer.obs, other.obs):
        raise ValueError("check_env: observations differ after load_state(state()) with the same generator.")
    _check_obs(env, answer.obs)
    if answer.late_rewards is not None:
        finite("check_env", late_rewards=answer.late_rewards)
    idle = ~answer.mask
    if (answer.rewards[idle] != 0).any() or (answer.terminated | answer.truncated)[idle].any():
        raise ValueError("check_env: a column that is no choice must pay nothing and end nothing.")
    if (answer.terminated & answer.truncated).any():
        raise ValueError("check_env: a step both terminated and truncated; termination must win.")
    if (answer.mask & ended).any():
        raise ValueError("check_env: the column after an episode's end is its reset, its mask must be False.")
    if (idle & ~ended).any():
        raise ValueError("check_env: a choice was masked although no episode had just ended.")


def _check_obs(env: Env, obs: Obs) -> None:
    space, rows = env.observation_space, env.batch_size
    if len(obs) != rows:
        raise ValueError(f"check_env: there must be {rows} observations, got {len(obs)}.")
    if isinstance(obs, Prompt) or space is None:
        return
    has_shape(
        "check_env", "observations", obs, (rows,) if isinstance(space, Discrete) else (rows, space.size)
    )
    if isinstance(space, Discrete):
        if obs.dtype != torch.long or (obs < 0).any() or (obs >= space.n).any():
            raise ValueError(
                f"check_env: observations must be whole numbers in 0..{space.n - 1} (torch.long)."
            )
    elif not obs.is_floating_point():
        raise ValueError(f"check_env: observations must be real numbers, got {obs.dtype}.")


def _same_obs(a: Obs, b: Obs) -> bool:
    if isinstance(a, Prompt) and isinstance(b, Prompt):
        return torch.equal(a.ids, b.ids) and torch.equal(a.mask, b.mask)
    return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gap(a: Tensor, b: Tensor, mask: Tensor) -> float:
    return (a - b)[mask].abs().max().item()


def _pad_more(prompt: Prompt) -> Prompt:
    extra = prompt.ids.new_zeros(len(prompt), 2)
    return Prompt(torch.cat((extra, prompt.ids), 1), torch.cat((extra.bool(), prompt.mask), 1))


def _random_actions(env: Env, generator: torch.Generator) -> Tensor:
    space = env.action_space
    if isinstance(space, Discrete):
        return torch.randint(space.n, (env.batch_size,), generator=generator)
    return torch.randn(env.batch_size, space.size, generator=generator)
