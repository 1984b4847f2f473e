"""Add up the reports that the parts of ``make test`` wrote, and print one closing line."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

REPORTS = Path(__file__).parent.parent / ".cache" / "tests"


def main() -> int:
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for report in sorted(REPORTS.glob("*.xml")):
        for suite in ET.parse(report).iter("testsuite"):
            for name in counts:
                counts[name] += int(suite.get(name, 0))
            seconds += float(suite.get("time", 0))
            print(f"{report.stem:12} {suite.get('tests'):>5} tests {float(suite.get('time', 0)):7.1f} s")
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    print(f"{passed} passed, {failed} failed, {counts['skipped']} skipped in {seconds:.0f} s")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
