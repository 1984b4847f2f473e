"""``python -m rlbase``: see `rlbase.cli`."""

import sys

from rlbase.cli import main

sys.exit(main())
