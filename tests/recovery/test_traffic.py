"""The traffic that the other tests rely on sees a failure, and sends what it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.lab.site import Figure, must
from tests.lab.traffic import RATE, Traffic


@pytest.mark.alone
def test_traffic_keeps_its_rate_and_sees_an_outage(
    at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    with at_work() as quiet:
        before, start = quiet.asked.total(), time.monotonic()
        time.sleep(4)
        rate = (quiet.asked.total() - before) / (time.monotonic() - start)
    figure("traffic of the recovery tests", f"{rate:.0f} requests/s, {quiet.summary}")
    assert rate > 0.9 * RATE
    quiet.judge()

    with at_work() as outage:
        must("backend", "systemctl", "stop", "nginx")
        time.sleep(1)
        must("backend", "systemctl", "start", "nginx")
    assert outage.failures
    with pytest.raises(AssertionError, match="backend me"):
        outage.judge()
