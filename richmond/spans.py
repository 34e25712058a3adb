"""Spans of OpenTelemetry: made here, exported by a thread of its own, or a greenlet where gevent has patched threads.

Imported only where [otel] is on: its packages may not be installed. Nobody ever waits for the collector: what it does
not take in time is dropped and counted. The context is W3C's traceparent, so that any language can go on with it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import richmond
from richmond.settings import OtelSettings

log = logging.getLogger(__name__)

MOST_WAITING = 4096  # spans; more are dropped
BATCH = 128  # encoded at once: some 3 ms of the master's greenlets
GATHER_S = 1.0  # after the first of a batch, unless that is full
_TIMEOUT_S = 5.0  # for the collector's answer, tries again included

NOTHING = Context()  # as a parent: a new trace begins
_propagator = TraceContextTextMapPropagator()

__all__ = ["NOTHING", "Span", "SpanKind", "Spans", "fail", "headers_of", "parent_of", "within"]


class Spans:
    """Of one process. `exported` hears after each export how many the collector took and how many were dropped."""

    def __init__(
        self, settings: OtelSettings, process: str, exported: Callable[[int, int], None] | None = None
    ) -> None:
        facts = {"service.name": settings.service_name, "service.version": richmond.__version__}
        self._exporter = _Exporter(settings, exported)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            resource=Resource({**facts, "service.instance.id": process}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._exporter)
        self._tracer = self._provider.get_tracer("richmond", richmond.__version__)

    @property
    def counts(self) -> tuple[int, int]:
        """Exported and dropped."""
        return self._exporter.exported, self._exporter.dropped

    def share(self) -> None:
        """Let site code that makes spans have its own in ours."""
        trace.set_tracer_provider(self._provider)

    def begin(
        self, name: str, kind: SpanKind, parent: Context | None = None, *, start_ns: int | None = None, **facts: Any
    ) -> Span:
        """`parent` None: the current one, if there is one, else a new trace. `facts`: attributes, with _ for a dot."""
        span = self._tracer.start_span(name, parent, kind, start_time=start_ns)
        if span.is_recording():
            for key, value in facts.items():
                if value is not None:
                    span.set_attribute(key.replace("__", "."), value)
        return span

    def close(self, timeout_s: float) -> None:
        """Export what waits, at most so long."""
        self._exporter.end(timeout_s)


def parent_of(headers: Mapping[str, Any]) -> Context | None:
    """Of a message; None: it brings no context."""
    found = _propagator.extract(headers, NOTHING)
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def within(span: Span) -> Context:
    return trace.set_span_in_context(span, NOTHING)


def headers_of(span: Span) -> dict[str, str]:
    """For a message that goes on with it."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, within(span))
    return carrier


def fail(span: Span, why: str) -> None:
    span.set_status(Status(StatusCode.ERROR, why))


class _Exporter(SpanProcessor):
    """The SDK's own BatchSpanProcessor does not tell how many it drops, and wakes up although nothing waits."""

    def __init__(self, settings: OtelSettings, exported: Callable[[int, int], None] | None) -> None:
        self.exported = 0
        self.dropped = 0
        self._endpoint = settings.endpoint
        self._tell = exported or (lambda exported, dropped: None)
        pairs = (part.partition("=") for part in settings.headers.split(",") if part.strip())
        self._collector = OTLPSpanExporter(
            endpoint=f"{settings.endpoint}/v1/traces",
            headers={name.strip().lower(): value.strip() for name, _, value in pairs},
            timeout=_TIMEOUT_S,
        )
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # we say it once, it would for each batch
        self._failing = False
        self._waiting: deque[ReadableSpan] = deque()
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._waiting) >= MOST_WAITING or self._ending:
            self.dropped += 1
            return
        self._waiting.append(span)
        waiting = len(self._waiting)
        if waiting >= BATCH and not self._hurry.is_set():
            self._hurry.set()
        elif not self._some.is_set():
            self._some.set()

    def end(self, timeout_s: float) -> None:
        self._ending = True
        self._hurry.set()
        self._some.set()
        self._thread.join(timeout_s)
        self._collector.shutdown()  # type: ignore[no-untyped-call]

    def _run(self) -> None:
        while not self._ending:
            self._some.wait()
            self._hurry.wait(GATHER_S)
            self._some.clear()
            if not self._ending:
                self._hurry.clear()
            while self._waiting:
                self._export([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _export(self, spans: list[ReadableSpan]) -> None:
        try:
            taken = self._collector.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # broad on purpose: whatever the library stumbles over costs these spans only
            taken = False
            log.debug("spans could not be exported", exc_info=True)
        if taken:
            self.exported += len(spans)
        else:
            self.dropped += len(spans)
        if taken is self._failing:
            self._failing = not taken
            if taken:
                log.info("the collector %s takes spans again; %d were dropped so far", self._endpoint, self.dropped)
            else:
                log.warning("the collector %s takes no spans: they are dropped; is it up, are endpoint and headers in"
                            " [otel] right?", self._endpoint)  # fmt: skip
        self._tell(self.exported, self.dropped)
