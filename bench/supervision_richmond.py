"""Richmond as `richmond start` runs it: broker, spawner and workers, at the gateway that the probe plays."""

from __future__ import annotations

import json
import sys

from bench import supervision_observer as observer
from bench.supervision_probes import GatewayProbe
from bench.supervision_program import Program

INI = """
[richmond]
directory = {directory}
workers-path = {directory}/site
socket = {directory}/control.sock
[ssmi]
host = 127.0.0.1
port = {gateway_port}
username = user
password = pass
[amqp]
host = {node.host}
port = {node.port}
username = {node.username}
password = {node.password}
vhost = {node.vhost}
[worker:Work]
class = work.Work
workers = {workers}
min = {workers}
max = {workers}
stable-seconds = {stable_s}
"""
STABLE_S = 0.2
LOOKS = 3  # missed turns of a worker's loop that make it hang


class Richmond(Program):
    name = "Richmond"
    config = "richmond.ini"
    misspelling = ("stop-timeuot", "stop-timeout")
    broken_line = "[worker:Work\nworkers = two"
    reloads_file = reloads_code = "richmond reload --wait"
    grows = "richmond scale --wait Work 3"

    probe: GatewayProbe

    def make_probe(self) -> GatewayProbe:
        return GatewayProbe()

    def config_text(self) -> str:
        setup = self.setup
        stable_s = STABLE_S if setup.mode == "well" else 60
        text = INI.format(
            directory=self.directory, gateway_port=self.probe.port, node=self.node, workers=setup.workers,
            stable_s=stable_s,
        )  # fmt: skip
        if setup.timeout_s is not None:
            text += f"task-timeout = {setup.timeout_s}\nliveness-interval = {setup.timeout_s / LOOKS:g}\n"
        if setup.misspelt:
            text += f"{self.misspelling[0]} = 10\n"
        return text

    def code(self) -> str:
        return "from richmond.workers.ussd import USSDWorker\n\n\nclass Work(USSDWorker):\n    pass\n"

    def command(self) -> list[str]:
        return self.verb("start")

    def verb(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "richmond", words[0], "-c", self.config, *words[1:]]

    def forker(self) -> int | None:
        """The spawner."""
        children = observer.children(self.process.pid) if self.process else set()
        return next((seen.pid for seen in children if "spawner" in seen.command), None)

    def verdict(self) -> str:
        status = json.loads(self.ask("status", "--json") or "{}")
        states = {slot["state"] for cls in status.get("classes", []) for slot in cls["slots"]}
        return "/".join(sorted(states)) or "no answer"
