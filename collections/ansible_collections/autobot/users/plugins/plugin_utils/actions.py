"""What the collection's action plugins have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase


class HostAction(ActionBase):
    """An action that asks the host of its task."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    # As the argument_spec of a module.
    OPTIONS: ClassVar[Mapping[str, Any]]

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        self.variables = task_vars or {}
        _, arguments = self.validate_argument_spec(self.OPTIONS)
        return self.act(arguments)

    @abstractmethod
    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The result of the task; `variables` are those of its host."""


class ControllerAction(HostAction):
    """An action that works on the controller alone."""

    _requires_connection = False
