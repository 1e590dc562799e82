"""The rules and a connection that is older than they are: of the kernel, between two namespaces."""

from __future__ import annotations

import json

import yaml

from tests.lab.site import must
from tests.support.role_files import ROOT, render

HOST = "backend"
# The host waits for an answer of another one while the rules are loaded for the first time; then
# that one connects to a port that no rule opens.
SCRIPT = """
import json, os, socket, subprocess, sys

def ip(*lines):
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)

(told, tell), (heard, say) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.unshare(os.CLONE_NEWNET)
    os.write(say, b".")
    os.read(told, 1)
    ip("address add 10.9.0.2/24 dev there", "link set there up")
    server = socket.create_server(("10.9.0.2", 443))
    os.write(say, b".")
    connection, _ = server.accept()
    connection.recv(5)
    os.read(told, 1)
    connection.sendall(b"answer")
    os.read(told, 1)
    try:
        socket.create_connection(("10.9.0.1", 8000), timeout=2)
        os.write(say, b"1")
    except OSError:
        os.write(say, b"0")
    os._exit(0)
os.read(heard, 1)
ip(f"link add here type veth peer name there netns {child}", "address add 10.9.0.1/24 dev here",
   "link set here up", "link set lo up")
listener = socket.create_server(("", 8000))
os.write(tell, b".")
os.read(heard, 1)
waiting = socket.create_connection(("10.9.0.2", 443))
waiting.sendall(b"asked")
subprocess.run(["nft", "--file", "-"], input=sys.argv[1], text=True, check=True)
os.write(tell, b".")
waiting.settimeout(5)
try:
    answer = waiting.recv(6).decode()
except TimeoutError:
    answer = ""
os.write(tell, b".")
print(json.dumps({"answer": answer, "let in": os.read(heard, 1) == b"1"}))
"""


def test_an_answer_that_is_under_way_comes_in_and_nobody_else_does() -> None:
    defaults = yaml.safe_load((ROOT / "roles/firewall/defaults/main.yml").read_text())
    rules = render(
        "firewall",
        "etc/autobot-users/nftables.conf.j2",
        **defaults | {"firewall_mode": "own", "firewall_ssh_sources": [], "firewall_through": []},
    )
    said = json.loads(must(HOST, "unshare", "--net", "python3", "-c", SCRIPT, rules))
    assert said == {"answer": "answer", "let in": False}
