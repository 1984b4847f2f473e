"""The commands of ``python -m rlbase``: each is one function, and bad input is one sentence and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    >>> main(["train-reviews-lm", "--out", "/tmp/unused", "--texts", "0"])
    2
    """
    parser = argparse.ArgumentParser(
        prog="rlbase", description="Reinforcement learning from human feedback, by hand."
    )
    commands = parser.add_subparsers(title="commands", metavar="command", dest="command", required=True)

    download = commands.add_parser("download", help="fetch a pretrained model once, for load_policy")
    download.add_argument("model", choices=["smollm2-135m"])
    download.set_defaults(run=_download)

    train = commands.add_parser("train-reviews-lm", help="train the small embedded language model anew")
    train.add_argument(
        "--out", type=Path, required=True, help="folder to write, for example assets/reviews-lm"
    )
    train.add_argument(
        "--texts", type=int, default=80_000, help="how many reviews to read (default %(default)s)"
    )
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train_reviews_lm)

    chain = commands.add_parser(
        "train-reviews-chain", help="train its fine-tuned version and the reward model anew"
    )
    chain.add_argument("--out", type=Path, required=True, help="folder to write both to, for example assets")
    chain.add_argument("--seed", type=int, default=0)
    chain.set_defaults(run=_train_reviews_chain)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print(_sentence(options.command, error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _sentence(command: str, error: Exception) -> str:
    """One line that begins with the command's name; the operating system's own errors name neither."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"cannot use {str(error.filename)!r}: "
        said = f"{place}{error.strerror}."
    return said if said.startswith(f"{command}: ") else f"{command}: {said}"


def _download(options: argparse.Namespace) -> None:
    from rlbase.policies.load import download_smollm2

    print(f"{options.model} lies in {download_smollm2()}; load it with load_policy({options.model!r}).")


def _train_reviews_lm(options: argparse.Namespace) -> None:
    import torch

    from rlbase.train.reviews_lm import train_reviews_lm

    if options.texts < 1000:
        raise ValueError(f"train-reviews-lm: --texts must be at least 1000, got {options.texts}.")
    torch.set_num_threads(1)  # the same sums in the same order on every run
    _show(train_reviews_lm(options.out, texts=options.texts, seed=options.seed))


def _train_reviews_chain(options: argparse.Namespace) -> None:
    import torch

    from rlbase.train.reviews_chain import train_reviews_chain

    torch.set_num_threads(1)
    _show(train_reviews_chain(options.out, seed=options.seed))


def _show(records: Iterable[dict[str, Any]]) -> None:
    """A line for every hundredth update, and what was measured in the end."""
    for record in records:
        if "update" not in record:
            print(*(f"{name} {value:.4g}" for name, value in record.items()), sep="\n")
        elif record["update"] % 100 == 0:
            tokens = f"  tokens {record['tokens']:,}" if "tokens" in record else ""
            print(f"update {record['update']}  loss {record['loss']:.3f}{tokens}", flush=True)
