"""Add up the reports that the parts of ``make test`` wrote, and print one closing line.

In CI a part of which everything was skipped (a browser test without a browser) counts as failed.
"""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

REPORTS = Path(__file__).parent.parent / ".cache" / "tests"


def main() -> int:
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    idle = []
    for report in sorted(REPORTS.glob("*.xml")):
        for suite in ET.parse(report).iter("testsuite"):
            counts = {name: int(suite.get(name, 0)) for name in total}
            total = {name: total[name] + counts[name] for name in total}
            seconds += float(suite.get("time", 0))
            print(f"{report.stem:10} {counts['tests']:5} tests {float(suite.get('time', 0)):7.1f} s")
            if counts["tests"] == counts["skipped"]:
                idle.append(report.stem)
    failed = total["failures"] + total["errors"]
    if idle:
        print(f"nothing was run in: {', '.join(idle)}")
        failed += len(idle) if os.environ.get("CI") else 0
    passed = total["tests"] - total["failures"] - total["errors"] - total["skipped"]
    print(f"{passed} passed, {failed} failed, {total['skipped']} skipped in {seconds:.0f} s")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
