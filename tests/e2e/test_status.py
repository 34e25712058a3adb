"""`richmond status`: the table and the JSON, the exit codes, and an answer in every state that there is."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from installation import until
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

BROKEN = """
[worker:Broken]
class = broken.Broken
codes = *120*1#
workers = 2
"""


def as_json(installation) -> tuple[int, dict]:
    run = installation.run("status", "--json")
    assert not run.stderr
    return run.returncode, json.loads(run.stdout)


def rows(text: str, header: str) -> dict[str, list[str]]:
    """First cell -> cells of the table whose header begins like this."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    found = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        found[cells[0]] = cells
    return found


def test_table_and_json_have_the_same_facts(install):
    richmond = install().start()
    assert richmond.run("dial", "*120*663#", "hello", "0").returncode == 0
    quiet = (0, None)
    richmond.wait(
        "two samples of nothing",
        lambda s: (
            s.queues[0].in_rate == 0
            and s.classes[0].handled == 3
            and all(queue.in_rate in quiet and queue.out_rate in quiet for queue in s.queues)
        ),
    )
    code, facts = as_json(richmond)
    table = richmond.run("status")
    assert (code, table.returncode) == (0, 0)
    assert (facts["phase"], facts["problems"], facts["warnings"]) == ("running", [], [])
    assert f"pid {facts['pid']}, running, up " in table.stdout
    assert "all is well" in table.stdout

    links = rows(table.stdout, "link ")
    for link in facts["links"]:
        since = time.strftime("%H:%M:%S", time.localtime(link["since"]))
        assert links[link["name"]] == [link["name"], link["address"], "up", since]
        assert link["last_error"] == ""
    assert facts["links"][0]["address"] == facts["simulator"]

    workers = rows(table.stdout, "worker ")
    slots = {slot["name"]: slot for cls in facts["classes"] for slot in cls["slots"]}
    assert list(workers) == list(slots) == ["EchoWorker:0", "EchoWorker:1", "FooBarWorker:0"]
    for name, slot in slots.items():
        shown = workers[name]
        assert shown[:3] == [name, "RUNNING", str(slot["pid"])]
        assert shown[3].endswith(" s")
        assert slot["uptime_s"] < 60
        assert shown[4].endswith(" %")
        assert slot["cpu_percent"] >= 0
        assert shown[5] == f"{slot['memory_bytes'] / 2**20:.0f} MB"
        assert shown[6:8] == [str(slot["handled"]), "0"]
    assert sum(slot["handled"] for slot in slots.values()) == 3

    classes = rows(table.stdout, "class ")
    for cls in facts["classes"]:
        assert classes[cls["name"]][1] == f"{cls['running']} of {cls['target']}"
        # its figures are those of two moments
        assert re.sub(r"[0-9.]+", "#", classes[cls["name"]][-1]) == re.sub(r"[0-9.]+", "#", cls["reason"])

    queues = rows(table.stdout, "queue ")
    assert [queue["purpose"] for queue in facts["queues"]] == [
        "EchoWorker", "FooBarWorker", "replies", "SMS to send", "dead letters",
    ]  # fmt: skip
    for queue in facts["queues"]:
        shown = queues[queue["name"]]
        assert shown[1] == str(queue["ready"]) == "0"
        assert shown[2] == ("-" if queue["unacked"] is None else str(queue["unacked"]))
        assert shown[5] == str(queue["consumers"])
        assert shown[6] == queue["purpose"]
    assert [queue["consumers"] for queue in facts["queues"]] == [2, 1, 1, 1, 0]
    assert [queue["out_rate"] for queue in facts["queues"]] == [0, 0, 0, 0, None]


def test_a_fatal_class_is_seen_at_one_look_with_its_cause(install):
    richmond = install()
    richmond.workers += BROKEN
    (richmond.site / "broken.py").write_text("import pizza_that_nobody_has\n")
    richmond.write()
    richmond.start(wait=False)
    richmond.wait("FATAL", lambda s: [slot.state for slot in s.classes[2].slots] == ["FATAL", "FATAL"])
    richmond.wait("the others", lambda s: s.classes[0].running == 2 and s.phase == "running")
    code, facts = as_json(richmond)
    assert code == 150
    why = "ModuleNotFoundError: No module named 'pizza_that_nobody_has' (exited with code 3)"
    assert f"Broken: 2 of 2 workers are FATAL: {why}" in facts["problems"]
    assert "Broken: no worker runs: who dials *120*1# gets no answer" in facts["problems"]
    slot = facts["classes"][2]["slots"][0]
    assert slot["last_error"] == why
    assert "import pizza_that_nobody_has" in slot["traceback"]
    # on a terminal of 80 columns and 24 lines, as on a telephone at night
    with Terminal(richmond.command("status"), richmond.directory, richmond.environ, columns=80, lines=24) as terminal:
        assert terminal.end() == 150
        seen = "\n".join(terminal.text.splitlines()[-24:])
    assert all(f"! {problem}" in seen for problem in facts["problems"])
    assert "import pizza_that_nobody_has" in seen


def test_a_wrong_gateway_is_said_and_is_not_healthy(install):
    richmond = install(ssmi="host = 127.0.0.1\nport = 1\nusername = u\npassword = p\n", simulator="enabled = no\n")
    richmond.start(wait=False)
    richmond.wait("the refusal", lambda s: any("nobody listens on 127.0.0.1:1" in p for p in s.problems))
    code, facts = as_json(richmond)
    assert code == 150
    assert facts["links"][0]["state"] in ("connecting", "backoff")
    assert "nobody listens on 127.0.0.1:1" in facts["links"][0]["last_error"]


def test_nobody_there_is_3_and_a_dead_master_is_1(install):
    richmond = install()
    stopped = richmond.run("status")
    assert (stopped.returncode, stopped.stdout) == (3, "richmond is not running; start it with: richmond start\n")
    assert as_json(richmond) == (3, {"phase": "stopped", "problems": ["richmond is not running"], "warnings": []})
    richmond.start()
    richmond.process.kill()
    richmond.process.wait()
    richmond.process = None
    dead = richmond.run("status")
    assert dead.returncode == 1
    assert dead.stdout.startswith(f"richmond is dead, and left {richmond.settings.richmond.pid_file} behind; ")
    code, facts = as_json(richmond)
    assert (code, facts["phase"]) == (1, "dead")
    until("the workers to end", lambda: not richmond.processes())


def test_a_broken_ini_on_disk_hides_nothing(richmond):
    before = as_json(richmond)[1]
    text = richmond.ini.read_text()
    richmond.ini.write_text(text + "\n[worker:EchoWorker\nworkers = many\n")
    code, after = as_json(richmond)
    assert (code, after["pid"]) == (0, before["pid"])
    assert richmond.run("reload").returncode == 2
    code, after = as_json(richmond)
    assert code == 150
    assert "the ini was not taken over" in after["problems"][0]
    richmond.ini.write_text(text)
    assert richmond.run("reload").returncode == 0
    assert as_json(richmond)[0] == 0


def test_status_answers_beside_a_frozen_rabbitmq_and_says_so(install, node):
    richmond = install().start()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        # within the time that a person at night has, although RabbitMQ's own time-outs are far longer
        run = subprocess.run(
            richmond.command("status", "--json"), capture_output=True, text=True, timeout=5, check=False,
            env=richmond.environ,
        )  # fmt: skip
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert run.returncode == 150, run
    facts = json.loads(run.stdout)
    assert "does it hang?" in facts["problems"][0]
    assert all(queue["ready"] is None for queue in facts["queues"])
    richmond.wait("it to be well again", lambda s: not s.problems)


def test_a_master_that_does_not_answer_is_neither_dead_nor_well(richmond):
    richmond.signal(signal.SIGSTOP)
    try:
        code, facts = as_json(richmond)
    finally:
        richmond.signal(signal.SIGCONT)
    assert (code, facts["phase"]) == (150, "silent")
    assert "did not answer within" in facts["problems"][0]
    assert as_json(richmond)[0] == 0
