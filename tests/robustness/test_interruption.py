"""Killed, interrupted, out of disk: nothing is lost, and the resumed run is the uninterrupted one, bit for bit."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import Nursery
from runs import UPDATES, build, equal, fingerprint
from torch import Tensor

from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv, chain
from rlbase.policies import TabularPolicy, for_env
from rlbase.train import PPOConfig, ReinforceConfig, ppo, reinforce, trpo
from rlbase.train.checkpoint import Checkpoint, load_tree, save_tree

NAMES = list(UPDATES)


@pytest.mark.parametrize("name", NAMES)
def test_resumed_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    run, parts = build(name, None)
    records = list(run)
    path, resumed = tmp_path / "run.safetensors", []
    again: list[Any] = []
    for stop in (1, UPDATES[name] // 3, 3, UPDATES[name]):  # four processes' worth of fresh objects
        run, again = build(name, path)
        for _, record in zip(range(stop), run, strict=False):
            resumed.append(record)
    assert equal(fingerprint(parts), fingerprint(again))
    assert [r["update"] for r in resumed] == list(range(1, UPDATES[name] + 1))
    for whole, part in zip(records, resumed, strict=True):
        assert whole.keys() == part.keys()
        assert all(
            whole[k] == part[k] or whole[k] != whole[k] for k in whole
        )  # NaN where there is no figure yet
    finished, same = build(name, path)
    assert list(finished) == []  # nothing left to do, and the trained weights are back
    assert equal(fingerprint(parts), fingerprint(same))


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.parent.communicate()


@pytest.mark.parametrize(
    "name",
    [
        "bandit",
        "cartpole",
        "language model",
        "sft",
        "ratings",
        "rejection",
        "preferences",
        "comparisons",
        "refreshed",
    ],
)
def test_killed_at_random_moments(name: str, nursery: Nursery, tmp_path: Path) -> None:
    """SIGKILL, really, several times; then the last process is left alone."""
    run, parts = build(name, None)
    list(run)
    path = tmp_path / "run.safetensors"
    chance = random.Random(name)
    kills = 0
    for _ in range(4):
        process = nursery.start(name, path)
        for _ in range(chance.randint(1, 3)):  # let it get somewhere first
            process.line()
        time.sleep(chance.random() * 0.02)
        kills += process.kill() == -9
        if path.exists():
            load_tree(path)  # whole, whatever the moment
    assert kills >= 1
    done = nursery.start(name, path)
    assert done.wait() == 0
    assert done.said[-1:] in ([str(UPDATES[name])], [])
    run, again = build(name, path)
    assert list(run) == []
    assert equal(fingerprint(parts), fingerprint(again))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_torn_writes_leave_the_old_checkpoint(tmp_path: Path) -> None:
    """Every way in which a disk can be full, at every call that touches it."""
    path = tmp_path / "run.safetensors"
    save_tree(path, {"step": 1})
    before = path.read_bytes()
    for call in ("open", "write", "fsync", "replace"):
        with pytest.MonkeyPatch.context() as patch:
            full_disk(patch, call)
            with pytest.raises(
                OSError, match=r"could not be written \(.*No space left.*the previous one is untouched"
            ):
                save_tree(path, {"step": 2, "weights": torch.zeros(1000)})
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    save_tree(path, {"step": 3})
    assert load_tree(path) == {"step": 3}


def full_disk(patch: pytest.MonkeyPatch, call: str) -> None:
    import builtins

    no_space = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: Any, **__: Any) -> Any:
        raise no_space

    if call in ("fsync", "replace"):
        patch.setattr(os, call, fail)
        return
    honest = builtins.open

    def limited(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "w" not in mode:
            return honest(file, mode, *rest, **options)
        if call == "open":
            raise no_space
        opened = honest(file, mode, *rest, **options)

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: Any) -> None:
                opened.close()

            def write(self, data: bytes) -> int:
                opened.write(data[: len(data) // 2])
                opened.flush()
                raise no_space

        return Full()

    patch.setattr(builtins, "open", limited)


def test_a_full_disk_interrupts_training_but_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    run, _ = build("bandit", path)
    next(run)
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, "write")
        with pytest.raises(OSError, match="the previous one is untouched"):
            next(run)
    whole, parts = build("bandit", None)
    list(whole)
    run, again = build("bandit", path)
    list(run)
    assert equal(fingerprint(parts), fingerprint(again))


def test_a_real_full_disk(tmp_path: Path) -> None:
    """A file system of 64 kB, where the machine allows mounting one."""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("mounting needs privileges; the same is tested above without a mount")
    try:
        path = small / "run.safetensors"
        save_tree(path, {"weights": torch.ones(5000)})
        before = path.read_bytes()
        with pytest.raises(OSError, match="No space left on device.*the previous one is untouched"):
            save_tree(path, {"weights": torch.zeros(12_000)})
        assert path.read_bytes() == before and [p.name for p in small.iterdir()] == [path.name]
    finally:
        subprocess.run(["umount", str(small)], check=True)


class Interrupting(TabularPolicy):
    """Raises KeyboardInterrupt at its ``moment``-th forward, as the stop button of a notebook does."""

    moment = 0

    def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        self.moment -= 1
        if self.moment == 0:
            raise KeyboardInterrupt
        return super().evaluate(obs, actions)


@pytest.mark.parametrize("moment", [1, 3, 6, 11])
def test_an_interrupted_update_leaves_a_usable_policy_and_a_whole_checkpoint(
    moment: int, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    config = PPOConfig(updates=6, advantage="returns", learning_rate=0.05)
    bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=16)
    whole, policy = TabularPolicy(1, 2), Interrupting(1, 2)
    list(ppo(whole, Bandit(torch.tensor([0.0, 1.0]), batch_size=16), config))
    run = ppo(policy, bandit, config, checkpoint=path)
    next(run)
    policy.moment = moment
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert policy.probs().isfinite().all()
    list(ppo(policy, bandit, config, checkpoint=path))  # the same cell again, with the same objects
    assert torch.equal(policy.logits, whole.logits)
    policy.moment = 5
    with pytest.raises(KeyboardInterrupt):
        list(ppo(policy, bandit, config))
    list(ppo(policy, bandit, config))  # and without a checkpoint: it goes on from where the policy is
    assert policy.probs()[0, 1] > 0.5


def test_trpo_interrupted_in_its_line_search_takes_no_untested_step() -> None:
    world = Bandit(torch.tensor([0.0, 1.0]), batch_size=16)
    policy = Interrupting(1, 2)
    before = policy.logits.detach().clone()
    policy.moment = 2  # the second forward is the first trial step
    with pytest.raises(KeyboardInterrupt):
        list(trpo(policy, world))
    assert torch.equal(policy.logits, before)


# what is no checkpoint of this run


def saved(tmp_path: Path, updates: int = 2) -> Path:
    path = tmp_path / "run.safetensors"
    list(build("bandit", path, updates)[0])
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoint .*none.safetensors does not exist"):
        load_tree(tmp_path / "none.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    for use in (lambda: load_tree(tmp_path), lambda: next(build("bandit", tmp_path)[0])):
        with pytest.raises(ValueError, match="is a folder, not a file"):
            use()


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_truncated_file(keep: float, tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole) if isinstance(keep, float) else keep)])
    with pytest.raises(ValueError, match="checkpoint .* is torn or no safetensors file"):
        next(build("bandit", path)[0])


def test_settings_that_only_one_side_knows(tmp_path: Path) -> None:
    path, layer = tmp_path / "run.safetensors", torch.nn.Linear(1, 1)
    Checkpoint(path, (layer,), config={"a": 1, "gone": 2}).save({"update": 1})
    for config, sentence in (
        ({"a": 1}, "gone=2, now it is None"),
        ({"a": 1, "gone": 2, "new": 3}, "new=None, now"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Checkpoint(path, (layer,), config=config).restore({})


def test_flipped_bits(tmp_path: Path) -> None:
    """safetensors notices none that falls into a number; a run must not go on from it."""
    path = saved(tmp_path)
    whole = path.read_bytes()
    begin = 8 + int.from_bytes(
        whole[:8], "little"
    )  # the tensors follow the length of the header and the header
    for place in [*range(9, len(whole), len(whole) // 40), begin, len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="checkpoint .* is (torn|damaged|a safetensors file, but not)"):
            load_tree(path)
    path.write_bytes(whole)
    assert load_tree(path)["counters"]["update"] == 2


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    list(build("bandit", Path("~/run.safetensors"), 1)[0])
    assert (tmp_path / "run.safetensors").is_file()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_are_refused_and_never_run(protocol: int, tmp_path: Path) -> None:
    import pickle

    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trap),)

    path = tmp_path / "run.safetensors"
    path.write_bytes(pickle.dumps(Trap(), protocol=protocol))
    with pytest.raises(ValueError, match="torn or no safetensors file"):
        next(build("bandit", path)[0])
    torch.save({"policy": Trap()}, path)
    with pytest.raises(ValueError, match="torn or no safetensors file"):
        load_tree(path)
    assert not trap.exists()


def test_nothing_in_the_package_can_unpickle() -> None:
    package = Path(__file__).parents[2] / "rlbase"
    for source in package.rglob("*.py"):
        text = source.read_text()
        for word in (
            "import pickle",
            "torch.load",
            "joblib",
            "dill",
            "shelve",
            "allow_pickle=True",
            "marshal",
        ):
            assert word not in text, f"{source.name} mentions {word}"


def test_foreign_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "run.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is a safetensors file, but not a checkpoint of rlbase"):
        next(build("bandit", path)[0])
    save_file({"weight": torch.ones(2)}, path, metadata={"format": "rlbase-checkpoint-1", "tree": "{"})
    with pytest.raises(ValueError, match="is damaged and cannot be read"):
        load_tree(path)
    save_file({"weight": torch.ones(2)}, path, metadata={"format": "rlbase-checkpoint-1"})
    with pytest.raises(ValueError, match="is damaged"):
        load_tree(path)
    save_file({}, path, metadata={"format": "rlbase-checkpoint-1", "tree": '{"tensor": "5"}'})
    with pytest.raises(ValueError, match="is damaged"):
        load_tree(path)
    save_tree(path, {"progress": 3})
    with pytest.raises(ValueError, match="was written by rlbase, but holds no run"):
        next(build("bandit", path)[0])


def test_other_runs(tmp_path: Path) -> None:
    path = saved(tmp_path)
    bandit = Bandit(torch.zeros(2, 3), batch_size=16)
    policy, critic = for_env(bandit)
    config = PPOConfig(updates=4, learning_rate=0.05, beta=0.2, kl_target=0.1, kl_horizon=500, anneal=False)
    reference = TabularPolicy(2, 3)

    def go(policy: Any, env: Any, **options: Any) -> Any:
        return next(ppo(policy, env, checkpoint=path, reference=reference, **options))

    with pytest.raises(
        ValueError, match="was begun with beta=0.2, now it is 0.3; use the same configuration"
    ):
        go(policy, bandit, config=PPOConfig(**{**vars(config), "beta": 0.3}), critic=critic)
    larger, larger_critic = for_env(Bandit(torch.zeros(2, 5)))
    with pytest.raises(
        ValueError, match=r"does not fit this 0 TabularPolicy: logits has shape \[2, 3\] in the file"
    ):
        go(larger, Bandit(torch.zeros(2, 5)), config=config, critic=larger_critic)
    with pytest.raises(ValueError, match="holds .*TabularCritic.*this run has"):
        go(
            policy,
            bandit,
            config=PPOConfig(**{**vars(config), "advantage": "gae"}),
            critic=object_with_value(),
        )
    world = chain(4)
    with pytest.raises(ValueError, match="holds .*Bandit.*this run has .*TabularMDP"):
        go(policy, world, config=config, critic=critic)
    with pytest.raises(ValueError, match="was begun with|holds"):
        next(reinforce(policy, bandit, ReinforceConfig(), checkpoint=path))
    assert torch.equal(policy.logits, torch.zeros(2, 3))  # refused before anything was loaded


def object_with_value() -> Any:
    from rlbase.policies import MLPCritic

    return MLPCritic(2)


def test_a_world_that_does_not_fit_leaves_the_policy_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    policy, config = TabularPolicy(5, 2), ReinforceConfig(updates=2)
    steps = {"config": ReinforceConfig(updates=2, steps=4)}
    list(reinforce(policy, chain(5, batch_size=4), checkpoint=path, **steps))
    fresh = TabularPolicy(5, 2)
    with pytest.raises(ValueError, match=r"TabularMDP.load_state: states must have shape \[8\], got \[4\]"):
        next(reinforce(fresh, chain(5, batch_size=8), checkpoint=path, **steps))
    assert not fresh.logits.any() and config.updates == 2


def text_of(prompts: list[str], **sizes: Any) -> TextEnv:
    settings: dict[str, Any] = {"max_new_tokens": 2, "batch_size": 4, **sizes}
    return TextEnv(prompts, CharTokenizer("ab"), lambda p, r: [0.0] * len(r), **settings)


@pytest.mark.parametrize(
    ("begun", "resumed", "sentence"),
    [
        (
            lambda: Bandit(torch.zeros(2)),
            lambda: Bandit(torch.ones(2)),
            "Bandit: .* its rewards are not these",
        ),
        (
            lambda: Bandit(torch.zeros(2)),
            lambda: Bandit(torch.zeros(2), noise=1.0),
            "noise was 0.0 and is 1.0",
        ),
        (lambda: chain(5), lambda: chain(5, slip=0.1), "TabularMDP: .* its transitions are not these"),
        (lambda: chain(5), lambda: chain(5, time_limit=3), "its time_limit was None and is 3 here"),
        (
            lambda: GymEnv("Pendulum-v1", batch_size=1),
            lambda: GymEnv("Pendulum-v1", batch_size=1, options={"g": 5.0}),
            "GymEnv: .* its options was '{}' and is ",
        ),
        (lambda: text_of(["a"]), lambda: text_of(["b"]), "TextEnv: .* its checksum of prompts was"),
        (lambda: text_of(["a"]), lambda: text_of(["a"], group_size=2), "its group_size was 1 and is 2 here"),
    ],
)
def test_a_world_of_the_same_shape_but_other_rules(
    begun: Any, resumed: Any, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "world.safetensors"
    Checkpoint(path, (begun(),), config={}).save({})
    Checkpoint(path, (begun(),), config={}).restore({})  # the same rules in a new object are welcome
    with pytest.raises(ValueError, match=sentence):
        Checkpoint(path, (resumed(),), config={}).restore({})


@pytest.mark.parametrize("name", sorted({*NAMES} - {"a2c"}))
def test_updates_may_not_shrink_below_what_is_done(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    list(build(name, path, 3)[0])
    with pytest.raises(ValueError, match="has done 3 updates, more than updates=2 asks for; ask for more or"):
        list(build(name, path, 2)[0])
    assert list(build(name, path, 3)[0]) == []  # the very same call is not an error: it is done


def test_updates_may_grow(tmp_path: Path) -> None:
    path = saved(tmp_path, updates=2)
    run, parts = build("bandit", path, 5)
    assert [r["update"] for r in run] == [3, 4, 5]
    whole, expected = build("bandit", None, 5)
    list(whole)
    assert equal(fingerprint(parts), fingerprint(expected))


def test_checkpoints_may_be_rare(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=8)
    config = PPOConfig(updates=5, advantage="returns", checkpoint_every=2)
    seen = []
    for _ in ppo(TabularPolicy(1, 2), bandit, config, checkpoint=path):
        seen.append(load_tree(path)["counters"]["update"] if path.exists() else 0)
    assert seen == [0, 2, 2, 4, 5]  # the last one always


def test_trees_survive(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    tree = {
        "numbers": [1, 2.5, -0.0, float("inf"), True, None, "text ü \n"],
        "keys": {1: "whole", "1": "text"},
        "tensors": [shared, shared.t(), shared[0], torch.tensor(3), torch.zeros(0, 2)],
        "kinds": [torch.ones(2, dtype=d) for d in (torch.bool, torch.int64, torch.uint8, torch.bfloat16)],
        "empty": [{}, [], ""],
    }
    save_tree(tmp_path / "deep" / "er" / "tree", tree)
    found = load_tree(tmp_path / "deep" / "er" / "tree")
    assert (
        found["numbers"] == tree["numbers"]
        and found["keys"] == tree["keys"]
        and found["empty"] == tree["empty"]
    )
    for name in ("tensors", "kinds"):
        for a, b in zip(tree[name], found[name], strict=True):
            assert torch.equal(a, b) and a.dtype == b.dtype
    for bad, sentence in (({"x": object()}, "cannot store a object"), ({(1, 2): 3}, "keys must be strings")):
        with pytest.raises(TypeError, match=sentence):
            save_tree(tmp_path / "bad", bad)
    assert not (tmp_path / "bad").exists()


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(OSError, match="could not be written"):
            save_tree(path, {"step": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
