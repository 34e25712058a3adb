"""A collector of OpenTelemetry spans: OTLP over HTTP, decoded with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    name: str
    trace: str
    span: str
    parent: str
    kind: int
    failed: bool
    facts: dict[str, object]  # attributes
    process: dict[str, str]  # attributes of its resource
    start: int  # nanoseconds
    end: int


class Collector:
    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.headers: list[dict[str, str]] = []
        self.refuse = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.refuse:
                    self.send_response(400)
                else:
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.spans += decode(body)
                    self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def named(self, name: str) -> list[Seen]:
        return [span for span in list(self.spans) if span.name == name]

    def trace(self, trace: str) -> dict[str, Seen]:
        """Its spans by name."""
        return {span.name: span for span in list(self.spans) if span.trace == trace}


def decode(body: bytes) -> list[Seen]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        Seen(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.code == 2,
            {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
            {a.key: a.value.string_value for a in resource.resource.attributes},
            span.start_time_unix_nano,
            span.end_time_unix_nano,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
