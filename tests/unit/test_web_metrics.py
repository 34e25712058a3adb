"""/metrics as Prometheus reads it: names, types, labels and values, and what the documentation says of them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from test_snapshot import slot, snapshot, worker_class

from richmond.durations import Histogram
from richmond.supervisor.events import Event
from richmond.supervisor.status import Journal, Link, Messages, Throttled
from richmond.web.happened import Happened
from richmond.web.metrics import families, registry

DOCS = Path(__file__).parent.parent.parent / "docs"
PROMTOOL = shutil.which("promtool")


def took(*seconds):
    histogram = Histogram()
    for s in seconds:
        histogram.add(s)
    return histogram.read()


ECHO = worker_class(
    "Echo", slot("Echo:0"), slot("Echo:1", "STARTING"), target=3, waited=took(0.004, 0.25), took=took(0.0001, 70.0),
    answered=5, unanswered=2, dead_lettered=1, failed=1, dead_by_reason={"handler-failed": 1, "poison": 0}, spans=9,
)  # fmt: skip
COUNTERS = {
    "received": 30, "ignored": 2, "ignored:not-ssmi": 2, "published:ussd": 20, "published:sms": 3, "paged": 1,
    "ussd-refused": 4, "apologised:no-route": 3, "dropped:no-route": 1, "dead-lettered": 6, "unbound": 7, "sent": 18,
    "sent:sms": 5, "refused": 2, "refused:session-over": 2, "sms-refused": 1, "sms-refused:expired": 1,
}  # fmt: skip
FULL = snapshot(
    ECHO,
    ready=8,
    counters=COUNTERS,
    end_to_end=took(0.015),
    log_lines_dropped=2,
    hook_events_dropped=3,
    spans=7,
    spans_dropped=6,
    journal=Journal(3, 1.0, 4),
    messages=Messages(repeated=1),
    links=("up", "down"),
)
EVENTS = [
    Event(kind="crash", level="warning", text="", worker="Echo", slot="Echo:0", pid=1, before="RUNNING"),
    Event(kind="crash", level="warning", text="", worker="Echo", slot="Echo:0", pid=2, before="STARTING"),
    Event(kind="hung", level="warning", text="", worker="Echo", slot="Echo:0", pid=3),
    Event(kind="crash", level="warning", text="", worker="Echo", slot="Echo:0", pid=3, before="RUNNING"),
    Event(kind="crash", level="warning", text="", worker="Echo", slot="Echo:0", pid=4, before="RUNNING"),
    Event(kind="recycled", level="info", text="", worker="Echo"),
    Event(kind="rollout", level="info", text="", worker="Echo", count=4),
    Event(kind="scale", level="info", text="", worker="Echo", before=1, after=3),
    Event(kind="scale", level="info", text="", worker="Echo", before=3, after=0),
    Event(kind="fatal", level="error", text="", worker="Echo"),
    Event(kind="rollback", level="error", text="", worker="Echo"),
    Event(kind="reload", level="info", text=""),
    Event(kind="reload", level="error", text=""),
    Event(kind="link", level="warning", text="", name="rabbitmq"),
    Event(kind="link", level="info", text="", name="rabbitmq"),
    Event(kind="spawner", level="error", text=""),
    Event(kind="node", level="error", text=""),
    Event(kind="node", level="info", text=""),
    Event(kind="slot", level="info", text=""),
]


@pytest.fixture
def happened():
    found = Happened()
    for event in EVENTS:
        found.on_event(event)
    return found


@pytest.fixture
def exposition(happened):
    return generate_latest(registry(lambda: FULL, happened)).decode()


@pytest.fixture
def samples(exposition):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("build_info", ["1.0"], 1),
        ("problems", [], len(FULL.problems)),
        ("log_lines_dropped_total", [], 2),
        ("hook_events_dropped_total", [], 3),
        ("reloads_total", ["taken-over"], 1),
        ("reloads_total", ["refused"], 1),
        ("spawner_deaths_total", [], 1),
        ("node_deaths_total", [], 1),
        ("link_up", ["gateway"], 1),
        ("link_up", ["rabbitmq"], 0),
        ("link_state", ["rabbitmq", "down"], 1),
        ("link_losses_total", ["rabbitmq"], 1),
        ("throttled_messages", ["gateway", "ussd"], 0),
        ("ssmi_lines_total", [], 30),
        ("ssmi_lines_ignored_total", ["not-ssmi"], 2),
        ("messages_total", ["in", "ussd", "published"], 20),
        ("messages_total", ["in", "sms", "published"], 3),
        ("messages_total", ["in", "ussd", "refused"], 4),
        ("messages_total", ["out", "ussd", "sent"], 18),
        ("messages_total", ["out", "sms", "sent"], 5),
        ("messages_refused_total", ["apologised", "no-route"], 3),
        ("messages_refused_total", ["dropped", "no-route"], 1),
        ("messages_repeated_total", [], 1),
        ("journal_messages", ["disk"], 3),
        ("journal_messages", ["memory"], 4),
        ("dead_letters_total", ["gateway", "", "no-route"], 6),
        ("dead_letters_total", ["reply", "", "session-over"], 2),
        ("dead_letters_total", ["sms", "", "expired"], 1),
        ("dead_letters_total", ["worker", "Echo", "handler-failed"], 1),
        ("queue_ready_messages", ["richmond.receive.Echo", "Echo"], 8),
        ("queue_consumers", ["richmond.receive.Echo", "Echo"], 1),
        ("workers", ["Echo", "RUNNING"], 1),
        ("workers", ["Echo", "STARTING"], 1),
        ("workers", ["Echo", "FATAL"], 0),
        ("workers_target", ["Echo"], 3),
        ("workers_resident_memory_bytes", ["Echo"], 40 << 20),
        ("worker_restarts_total", ["Echo", "crash"], 2),
        ("worker_restarts_total", ["Echo", "failed-start"], 1),
        ("worker_restarts_total", ["Echo", "hung"], 1),
        ("worker_restarts_total", ["Echo", "recycled"], 1),
        ("worker_restarts_total", ["Echo", "rollout"], 4),
        ("scaling_decisions_total", ["Echo", "up"], 1),
        ("scaling_decisions_total", ["Echo", "down"], 1),
        ("class_failures_total", ["Echo"], 1),
        ("rollbacks_total", ["Echo"], 1),
        ("worker_messages_total", ["Echo", "answered"], 5),
        ("handler_failures_total", ["Echo"], 1),
        ("waiting_duration_seconds_bucket", ["Echo", "0.003"], 0),
        ("waiting_duration_seconds_bucket", ["Echo", "0.005"], 1),
        ("waiting_duration_seconds_bucket", ["Echo", "+Inf"], 2),
        ("waiting_duration_seconds_count", ["Echo"], 2),
        ("waiting_duration_seconds_sum", ["Echo"], 0.254),
        ("handler_duration_seconds_bucket", ["Echo", "60.0"], 1),
        ("end_to_end_duration_seconds_bucket", ["0.02"], 1),
        ("spans_exported_total", ["worker", "Echo"], 9),
        ("spans_exported_total", ["master", ""], 7),
        ("spans_dropped_total", ["master", ""], 6),
    ],
)
def test_what_was_counted_is_there_in_prometheus_words(samples, name, labels, value):
    assert samples[(f"richmond_{name}", *sorted(labels))] == value


def test_the_masters_own_process_is_there(samples):
    assert samples[("process_resident_memory_bytes",)] > 1 << 20
    assert ("process_cpu_seconds_total",) in samples


def test_what_rabbitmq_does_not_say_is_absent_and_not_zero(happened):
    found = generate_latest(registry(lambda: snapshot(ECHO, ready=None, dead=None), happened)).decode()
    assert "richmond_queue_ready_messages{" not in found


def test_a_link_that_is_off_by_choice_is_not_down(happened):
    link = Link("gateway", "", "off", 1.0, "broker = no", (Throttled("sms", 3, 1.0, 1.0),))
    off = msgspec.structs.replace(FULL, links=(link,))
    text = generate_latest(registry(lambda: off, happened)).decode()
    assert "richmond_link_up{" not in text
    assert 'richmond_link_state{link="gateway",state="off"} 1.0' in text


# Conventions.

UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)")


def test_names_follow_prometheus_conventions(exposition, happened):
    """What `promtool check metrics` looks for, and promtool itself where it is there (Debian's package prometheus).

    It is not installed for the tests: that would be 19 MB for these few rules.
    """
    for family in families(FULL, happened):
        name, counter = family.name, family.type == "counter"
        assert re.fullmatch(r"richmond_[a-z]+(_[a-z]+)*", name)
        assert family.documentation.endswith(".")
        assert not UNITS.search(name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_counter", "_gauge", "_histogram"))
        assert family.type != "histogram" or name.endswith("_seconds")
        for sample in family.samples:
            assert sample.name.endswith("_total") == counter
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)
    assert len({family.name for family in families(FULL, happened)}) == len(list(families(FULL, happened)))
    if PROMTOOL:
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=exposition, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# Documentation.


def known(happened):
    """Every name that may stand in a query."""
    for family in families(FULL, happened):
        if family.type == "histogram":
            yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
        else:
            yield family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def test_the_table_in_docs_metrics_md_is_what_the_code_exports(happened):
    text = (DOCS / "metrics.md").read_text()
    told = re.findall(r"^\| `(richmond_\w+)` \| (\w+) \| (.*?) \|", text, re.MULTILINE)
    found = []
    for family in families(FULL, happened):
        labels = dict.fromkeys(label for s in family.samples for label in s.labels if label != "le")
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        found.append((name, "gauge" if family.type == "info" else family.type, ", ".join(f"`{la}`" for la in labels)))
    assert sorted(told) == sorted(found)


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(happened):
    names = set(known(happened))
    dashboard, alerts = (DOCS / "grafana.json").read_text(), (DOCS / "alerts.yml").read_text()
    for text in (dashboard, alerts):
        asked = set(re.findall(r"\brichmond_[a-z_]+", text))
        assert asked
        assert asked <= names
    panels = json.loads(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 8


def test_each_alert_says_what_it_means_and_what_to_do():
    text = (DOCS / "alerts.yml").read_text()
    rules = text.split("- alert: ")[1:]
    assert len(rules) == 5
    for rule in rules:
        assert "severity: page" in rule
        assert "summary:" in rule
        assert "What it means:" in rule
        assert "What to do:" in rule
        assert rule.splitlines()[0] in (DOCS / "metrics.md").read_text()
    if PROMTOOL:
        done = subprocess.run([PROMTOOL, "check", "rules", DOCS / "alerts.yml"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
