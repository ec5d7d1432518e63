"""A plugin that tells what tests cost: `pytest -p tests.cpu_times` prints the files that took most seconds of CPU.

Seconds of CPU, of the tests' process and of those that they started and waited for, are about the same on a busy and on
a quiet machine; `--durations` prints seconds on the clock.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

SHOWN = 40
_own: Counter[str] = Counter()
_children: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure one test with its fixtures."""
    before = os.times()
    result = yield
    after, file = os.times(), item.nodeid.partition("::")[0]
    _own[file] += after.user + after.system - before.user - before.system
    _children[file] += after.children_user + after.children_system - before.children_user - before.children_system
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums, largest first."""
    total = _own + _children
    terminalreporter.section("seconds of CPU: in all = in pytest + in processes of tests")
    for file, seconds in [("all files", total.total()), *total.most_common(SHOWN)]:
        own, children = (_own.total(), _children.total()) if file == "all files" else (_own[file], _children[file])
        terminalreporter.write_line(f"{seconds:8.1f} = {own:7.1f} + {children:7.1f}  {file}")
