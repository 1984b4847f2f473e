"""``python -m rlbase.lab header [NAME ...]`` prints exercises' headers, ``... student --out DIR`` writes copies."""

from __future__ import annotations

import sys

from rlbase.lab import EXERCISES, header, student


def main(arguments: list[str]) -> int:
    """Run one command; exit status 2 and one sentence on bad input."""
    if arguments[:1] == ["student"]:
        return student.main(arguments[1:])
    if arguments[:1] != ["header"]:
        print("Use: python -m rlbase.lab header [NAME ...] | student --out DIR [--force]", file=sys.stderr)
        return 2
    try:
        print("\n\n".join(header(name) for name in arguments[1:] or [e.name for e in EXERCISES]))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
