"""Print what each page of the last build took, beside the book's budget.

`python benchmarks/book_times.py --check` fails where the budget is exceeded. The seconds are those
of a clock while as many pages were executed at once as there are cores, so they are worth comparing
only where nothing else ran on the machine.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from armsrace.publishing.layout import Layout
from armsrace.publishing.times import AVERAGE_SECONDS, BOOK_SECONDS, excesses, times

CONSOLE = Console(width=None if sys.stdout.isatty() else 160)


def main() -> None:
    """Print the table and, asked to, judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="reader", choices=["reader", "paper", "smoke"])
    parser.add_argument("--slowest", type=int, default=3, help="cells to show of each page")
    parser.add_argument("--check", action="store_true", help="fail where the budget is exceeded")
    arguments = parser.parse_args()
    found, absent = times(Layout(arguments.profile))
    share = f"of {BOOK_SECONDS:.0f} s"
    table = Table("page", "seconds", share, "start-up", "slowest cells: seconds, first line")
    for time in found:
        cells = "\n".join(f"{took:6.1f}  {line}" for took, line in time.slowest(arguments.slowest))
        seconds = time.record.seconds
        table.add_row(
            time.page.label, f"{seconds:.1f}", f"{seconds / BOOK_SECONDS:.1%}",
            f"{time.startup:.1f}", cells,
        )  # fmt: skip
    CONSOLE.print(table, markup=False)
    total = sum(time.record.seconds for time in found)
    startup = sum(time.startup for time in found)
    CONSOLE.print(
        f"{len(found)} pages in {total:.0f} s of {BOOK_SECONDS:.0f} s, {startup:.0f} s of it "
        f"start-up; {total / max(1, len(found)):.0f} s a page of {AVERAGE_SECONDS:.0f} s",
        highlight=False,
    )
    for device in sorted({f"{time.record.processor}, {time.record.device}" for time in found}):
        CONSOLE.print(device, highlight=False)
    problems = excesses(found, absent)
    for problem in problems:
        CONSOLE.print(problem, style="red", highlight=False)
    if arguments.check and problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
