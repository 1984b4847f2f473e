"""``python -m rlbase.lab header NAME`` prints an exercise's header; without a name, all of them."""

from __future__ import annotations

import sys

from rlbase.lab import EXERCISES, header


def main(arguments: list[str]) -> int:
    """Print headers; exit status 2 and one sentence on bad input."""
    if not arguments or arguments[0] != "header":
        print("Use: python -m rlbase.lab header [NAME ...]", file=sys.stderr)
        return 2
    try:
        print("\n\n".join(header(name) for name in arguments[1:] or [e.name for e in EXERCISES]))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
