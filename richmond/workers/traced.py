"""A worker whose messages are followed as spans. Imported only where [otel] is on.

handle KIND   the handler; what site code makes of spans meanwhile is in it
publish KEY     a reply, or whatever else it publishes; the broker's span follows
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import get_current_span, use_span

from richmond import log
from richmond.scoreboard import Row
from richmond.spans import SpanKind, Spans, fail, headers_of, parent_of
from richmond.supervisor.jobs import Failed, Ready, WorkerJob
from richmond.workers.base import RichmondWorker
from richmond.workers.runtime import Message, Runtime

_CLOSE_S = 1.0


class TracedRuntime(Runtime):
    def __init__(self, job: WorkerJob, tell: Callable[[Ready | Failed], None], row: Row) -> None:
        super().__init__(job, tell, row)
        assert job.otel is not None
        self._spans = Spans(job.otel, job.slot, row.exported)
        self._spans.share()

    def run(self, worker_class: type[RichmondWorker], files: dict[str, str], lifeline_fd: int | None) -> None:
        try:
            super().run(worker_class, files, lifeline_fd)
        finally:
            self._spans.close(_CLOSE_S)

    def _call(self, message: Message, data: dict[str, Any]) -> bool:
        kind = data.get("kind", "ussd")
        span = self._spans.begin(
            f"handle {kind}", SpanKind.CONSUMER, parent_of(message.delivery.headers),
            messaging__system="rabbitmq", messaging__destination__name=self._job.worker.queue,
            richmond__class=self._job.worker.name, richmond__slot=self._job.slot, richmond__kind=kind,
            richmond__message_id=data.get("id"), richmond__redelivered=message.delivery.redelivered or None,
        )  # fmt: skip
        if span.is_recording() and isinstance(message.subscriber, str):
            span.set_attribute("richmond.msisdn", log.mask(message.subscriber))
        with use_span(span, end_on_exit=True):
            return super()._call(message, data)

    def _handler_failed(self, message: Message, data: dict[str, Any], error: BaseException) -> None:
        fail(get_current_span(), type(error).__name__)  # what it says may quote the subscriber
        super()._handler_failed(message, data, error)

    def _send(self, key: str, body: bytes, message: Message | None, headers: dict[str, Any] | None = None) -> None:
        span = self._spans.begin(
            f"publish {key}", SpanKind.PRODUCER, messaging__system="rabbitmq", messaging__destination__name=key
        )
        with use_span(span, end_on_exit=True):
            super()._send(key, body, message, {**(headers or {}), **headers_of(span)})
