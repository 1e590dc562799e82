"""The SLM server had the name of AutoBot's own unit: it gets another one, and nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.lab.site import Figure, Site, must, on
from tests.lab.traffic import Traffic
from tests.releases.releases import assert_serves, left_as_found, make, run

# As an earlier release has left it.
FORMER = """
set -eu
cd /etc/systemd/system
for kind in socket service; do
    sed 's,/run/autobot-slm-users/,/run/autobot-slm/,; s/autobot-slm-users/autobot-slm-backend/g' \
        autobot-slm-users.$kind > autobot-slm-backend.$kind
done
systemctl daemon-reload
systemctl enable --quiet --now autobot-slm-backend.socket autobot-slm-backend.service
sed -i 's,/run/autobot-slm-users/,/run/autobot-slm/,' /etc/nginx/conf.d/autobot-slm.conf
nginx -t -q
systemctl reload nginx
sleep 1
systemctl disable --quiet --now autobot-slm-users.socket autobot-slm-users.service
rm autobot-slm-users.socket autobot-slm-users.service
systemctl daemon-reload
"""


@pytest.fixture(autouse=True)
def lab_left_as_found() -> Iterator[None]:
    with left_as_found():
        yield


@pytest.mark.full
def test_the_unit_is_renamed_and_no_request_fails(
    site: Site, at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    must("slm", "sh", "-c", FORMER)
    release = make()
    with at_work() as traffic:
        deployed = run("playbooks/deploy.yml", release)
        assert deployed.status == 0, deployed.tail()
        assert_serves(site, release)
    figure("renaming of the SLM server's unit", traffic.summary)
    traffic.judge()
    listed = on("slm", "systemctl", "list-unit-files", "--no-legend", "autobot-slm-*").stdout
    assert "autobot-slm-backend" not in listed
    for kind in ("socket", "service"):
        assert must("slm", "systemctl", "is-enabled", f"autobot-slm-users.{kind}") == "enabled"
    # AutoBot's own of that name would be left alone: what it runs is not ours.
    must("slm", "test", "!", "-e", "/etc/systemd/system/autobot-slm-backend.service")
