"""A run that fails says, for each host, what it had changed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ansible import context
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult

DOCUMENTATION = """
name: what_changed
type: aggregate
short_description: what a run that failed had changed
description:
  - At the end of a run that failed it names, for each host, the tasks that changed something, in
    their order. Whoever goes on by hand knows where to look.
  - It says nothing of a run that ended well, or of one in check mode.
"""


class CallbackModule(CallbackBase):
    """Collects the tasks that changed something, and names them where the run has failed."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "what_changed"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, list[str]] = {}

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Remember a task that changed something."""
        if result.is_changed():
            self._tasks.setdefault(result.host.get_name(), []).append(result.task.get_name())

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Remember a task that failed when a part of it was done."""
        del ignore_errors
        self.v2_runner_on_ok(result)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Name them, unless all went well."""
        if context.CLIARGS["check"] or not (stats.failures or stats.dark):
            return
        lines = ["The run failed. What it had changed by then:"]
        for host in sorted(stats.processed):
            # The same task runs for each of two services.
            tasks = "; ".join(dict.fromkeys(self._tasks.get(host, []))) or "nothing"
            lines += textwrap.wrap(f"  {host}: {tasks}.", 100, subsequent_indent="    ")
        self._display.display("\n".join(["", *lines]), color="yellow")
