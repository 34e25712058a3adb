"""/metrics: the Snapshot as Prometheus reads it. docs/metrics.md has a table of all of it.

Nothing is counted here: what workers, broker and events have counted is put into Prometheus' words when somebody asks.
No label is a number, a token or a text: there are as many series as the ini has classes, links and queues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from richmond.durations import BOUNDS, Durations
from richmond.supervisor.lifecycle import State
from richmond.supervisor.status import Snapshot, WorkerClass
from richmond.web.happened import DIRECTIONS, RESTARTS, Happened

Values = Iterable[tuple[tuple[str, ...], float]]

_EDGES = [*(str(bound) for bound in BOUNDS), "+Inf"]


def families(snapshot: Snapshot, happened: Happened) -> Iterator[Metric]:
    """All that docs/metrics.md lists, but for the master's own process."""
    counters = Counter(snapshot.counters)
    return chain(
        _installation(snapshot, happened),
        _links(snapshot, happened),
        _messages(snapshot, counters),
        _dead_letters(snapshot, counters),
        _queues(snapshot),
        _workers(snapshot.classes, happened),
        _durations(snapshot),
        _spans(snapshot),
    )


def _installation(snapshot: Snapshot, happened: Happened) -> Iterator[Metric]:
    yield InfoMetricFamily("richmond_build", "Which Richmond this is.", {"version": snapshot.version})
    yield _gauge("start_time_seconds", "When the master started, Unix seconds.", snapshot.started)
    yield _gauge("problems", "Things that are wrong, as richmond status lists them.", len(snapshot.problems))
    yield _counter("log_lines_dropped", "Lines of the log that could not be written.", snapshot.log_lines_dropped)
    yield _counter("hook_events_dropped", "Events that no hook was told of.", snapshot.hook_events_dropped)
    yield _counters(
        "reloads",
        "Reloads, by whether the ini was taken over.",
        ("outcome",),
        ((("taken-over" if fine else "refused",), happened.reloads[fine]) for fine in (True, False)),
    )
    yield _counter("spawner_deaths", "Spawners that ended and were replaced.", happened.spawners_lost)
    yield _counter("node_deaths", "Deaths of the private RabbitMQ node.", happened.nodes_lost)


def _links(snapshot: Snapshot, happened: Happened) -> Iterator[Metric]:
    links = [link for link in snapshot.links if link.state != "off"]
    yield _gauges(
        "link_up",
        "1 while the link to a gateway or to RabbitMQ is up.",
        ("link",),
        (((link.name,), link.state == "up") for link in links),
    )
    yield _gauges(
        "link_state",
        "1 for the state in which a link is.",
        ("link", "state"),
        (((link.name, link.state), 1) for link in snapshot.links),
    )
    yield _counters(
        "link_losses",
        "How often a link was lost, refused or blocked.",
        ("link",),
        (((link.name,), happened.links_lost[link.name]) for link in links),
    )
    throttled = {(link.name, t.kind): t.waiting for link in links for t in link.throttled}
    yield _gauges(
        "throttled_messages",
        "Messages that wait because their account's rate is used up.",
        ("link", "kind"),
        (
            ((link.name, kind), throttled.get((link.name, kind), 0))
            for link in links
            if link.name != "rabbitmq"
            for kind in ("ussd", "sms")
        ),
    )


def _messages(snapshot: Snapshot, counters: Counter[str]) -> Iterator[Metric]:
    yield _counter("ssmi_lines", "Lines that gateways sent.", counters["received"])
    yield _counters(
        "ssmi_lines_ignored", "Lines of gateways that make no sense.", ("reason",), _by(counters, "ignored")
    )
    found = {
        ("in", "ussd", "published"): counters["published:ussd"],
        ("in", "ussd", "paged"): counters["paged"],
        ("in", "ussd", "refused"): counters["ussd-refused"],
        ("in", "sms", "dead-lettered"): counters["dead-lettered"],
        ("in", "sms", "dropped"): counters["sms-dropped"],
        ("in", "event", "unbound"): counters["unbound"],
        ("out", "ussd", "sent"): counters["sent"],
        ("out", "ussd", "refused"): counters["refused"],
        ("out", "sms", "refused"): counters["sms-refused"],
    }
    found |= {("in", kind, "published"): count for (kind,), count in _by(counters, "published")}
    found |= {("out", kind, "sent"): count for (kind,), count in _by(counters, "sent")}
    yield _counters(
        "messages",
        "Messages from (in) and to (out) gateways, once it is known what became of them.",
        ("direction", "kind", "outcome"),
        found.items(),
    )
    refused = [((what, *reason), n) for what in ("apologised", "dropped") for reason, n in _by(counters, what)]
    yield _counters(
        "messages_refused",
        "Messages from gateways that no worker gets: the subscriber was told so (apologised), or not (dropped).",
        ("action", "reason"),
        refused,
    )
    repeated = snapshot.messages.repeated
    yield _counter("messages_repeated", "Messages that may have been handled or published twice.", repeated)
    waiting = snapshot.journal
    yield _gauges(
        "journal_messages",
        "Messages of gateways that wait for RabbitMQ on disk, or in memory because the disk takes nothing.",
        ("place",),
        ((("disk",), waiting.entries), (("memory",), waiting.kept)),
    )
    yield _gauge("opt_outs", "Subscribers who have asked for no more SMS.", snapshot.opt_outs)


def _dead_letters(snapshot: Snapshot, counters: Counter[str]) -> Iterator[Metric]:
    found = [(("gateway", "", "no-route"), counters["dead-lettered"])]
    found += [(("reply", "", *reason), n) for reason, n in _by(counters, "refused")]
    found += [(("sms", "", *reason), n) for reason, n in _by(counters, "sms-refused")]
    found += [(("worker", cls.name, reason), n) for cls in snapshot.classes for reason, n in cls.dead_by_reason.items()]
    yield _counters(
        "dead_letters",
        "Dead letters, by what became one: a message in a worker's hands, a USSD reply, an SMS to be sent, or an SMS"
        " from the gateway that no class takes.",
        ("source", "class", "reason"),
        found,
    )


def _queues(snapshot: Snapshot) -> Iterator[Metric]:
    labels = "queue", "purpose"

    def of(name: str, text: str) -> Metric:
        values = ((q.name, q.purpose, getattr(q, name)) for q in snapshot.queues)
        known = (((queue, purpose), value) for queue, purpose, value in values if value is not None)
        return _gauges(f"queue_{name}" + ("" if name == "consumers" else "_messages"), text, labels, known)

    yield of("ready", "Messages that wait in a queue. Absent while RabbitMQ does not answer.")
    yield of("unacked", "Messages out of a queue that our workers or broker hold.")
    yield of("consumers", "Consumers of a queue.")


def _workers(classes: Iterable[WorkerClass], happened: Happened) -> Iterator[Metric]:
    classes = list(classes)

    def of(name: str, text: str, value: Callable[[WorkerClass], float]) -> Metric:
        return _gauges(name, text, ("class",), (((cls.name,), value(cls)) for cls in classes))

    states = {cls.name: Counter(slot.state for slot in cls.slots) for cls in classes}
    yield _gauges(
        "workers",
        "Workers, by state.",
        ("class", "state"),
        (((cls.name, str(state)), states[cls.name][str(state)]) for cls in classes for state in State),
    )
    yield of("workers_target", "Workers that a class should have now.", lambda cls: cls.target)
    yield of("workers_min", "Least workers that a class may have.", lambda cls: cls.min)
    yield of("workers_max", "Most workers that a class may have.", lambda cls: cls.max)
    yield of("workers_pinned", "1 while an operator has set the target.", lambda cls: cls.pinned)
    memory = "Resident memory of a class's workers; what they share counts for each."
    yield of("workers_resident_memory_bytes", memory, lambda cls: sum(s.memory_bytes or 0 for s in cls.slots))
    yield _counters(
        "worker_restarts",
        "Workers that ended and were, or will be, replaced.",
        ("class", "reason"),
        (((cls.name, why), happened.restarts[cls.name, why]) for cls in classes for why in RESTARTS),
    )
    yield _counters(
        "scaling_decisions",
        "Changes of a class's target.",
        ("class", "direction"),
        (((cls.name, way), happened.scaled[cls.name, way]) for cls in classes for way in DIRECTIONS),
    )
    for name, text, count in (
        ("class_failures", "How often a class became FATAL, in part or as a whole.", happened.fatal),
        (
            "rollbacks",
            "Reloads whose new workers did not come up, so that the old ones serve on.",
            happened.rolled_back,
        ),
    ):
        yield _counters(name, text, ("class",), (((cls.name,), count[cls.name]) for cls in classes))
    yield _counters(
        "worker_messages",
        "Messages that workers acknowledged, since the installation's first start.",
        ("class", "outcome"),
        (
            ((cls.name, outcome), count)
            for cls in classes
            for outcome, count in (
                ("answered", cls.answered),
                ("unanswered", cls.unanswered),
                ("dead-lettered", cls.dead_lettered),
            )
        ),
    )
    failed = (((cls.name,), cls.failed) for cls in classes)
    yield _counters("handler_failures", "Handlers that raised, and messages that had none.", ("class",), failed)


def _durations(snapshot: Snapshot) -> Iterator[Metric]:
    yield _histogram(
        "waiting_duration_seconds",
        "From the gateway's socket to the begin of the handler.",
        ("class",),
        (((cls.name,), cls.waited) for cls in snapshot.classes),
    )
    yield _histogram(
        "handler_duration_seconds",
        "What handlers take.",
        ("class",),
        (((cls.name,), cls.took) for cls in snapshot.classes),
    )
    text = "USSD: from the gateway's socket to the reply there. What a subscriber waits for us."
    yield _histogram("end_to_end_duration_seconds", text, (), [((), snapshot.end_to_end)])


def _spans(snapshot: Snapshot) -> Iterator[Metric]:
    spans = [(("master", ""), snapshot.spans, snapshot.spans_dropped)]
    spans += [(("worker", cls.name), cls.spans, cls.spans_dropped) for cls in snapshot.classes]
    for name, text, at in (
        ("spans_exported", "Spans that the collector of [otel] took.", 1),
        ("spans_dropped", "Spans that it did not take, or that were too many.", 2),
    ):
        values = ((labels, (exported, dropped)[at - 1]) for labels, exported, dropped in spans)
        yield _counters(name, text, ("process", "class"), values)


def _by(counters: Counter[str], what: str) -> list[tuple[tuple[str], int]]:
    """Those called `what:…`."""
    return [
        ((name[len(what) + 1 :],), count) for name, count in sorted(counters.items()) if name.startswith(f"{what}:")
    ]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"richmond_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"richmond_{name}", text, value)


def _gauges(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(f"richmond_{name}", text, labels=labels)
    for own, value in values:
        family.add_metric(own, float(value))
    return family


def _counters(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(f"richmond_{name}", text, labels=labels)
    for own, value in values:
        family.add_metric(own, value)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], Durations]]
) -> Metric:
    family = HistogramMetricFamily(f"richmond_{name}", text, labels=labels)
    for own, durations in values:
        buckets = list(zip(_EDGES, map(float, accumulate(durations.counts)), strict=True))
        family.add_metric(own, buckets, durations.sum_s)
    return family


class _Ours(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        """Nothing has to be known of it before it is asked."""
        return ()


def registry(snapshot: Callable[[], Snapshot], happened: Happened) -> CollectorRegistry:
    """`snapshot` is asked for each scrape."""
    found = CollectorRegistry()
    found.register(_Ours(lambda: families(snapshot(), happened)))
    ProcessCollector(registry=found)
    return found


def encoded(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """And its content type, as the HTTP header `accept` wants it."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
