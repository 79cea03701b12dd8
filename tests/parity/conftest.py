# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of the parity tests by family, below the summary."""

from collections import Counter
from pathlib import Path

OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_terminal_summary(terminalreporter):
    """One line for each module: its family, or the engine, where all families run in LAMMPS."""
    counts: dict[str, Counter] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            module = Path(report.nodeid.partition("::")[0])
            if module.parent.name == Path(__file__).parent.name:
                counts.setdefault(module.stem.removeprefix("test_"), Counter())[outcome] += 1
    for name, count in sorted(counts.items()):
        told = ", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES if count[outcome])
        terminalreporter.write_line(f"parity, {name}: {told}")
