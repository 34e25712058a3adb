"""What workers, spawner and hooks print and log, read by greenlets of the master and put into its log.

Floods share one budget: above it the pipes fill up, and whoever floods them waits a little, and then loses lines
(`log_pipe` says how). So no worker's chatter takes the processor from the broker.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence

import gevent
import msgspec
from gevent.socket import wait_read

from richmond import log
from richmond.config_describe import MASK
from richmond.log_files import LogFiles, file_of
from richmond.log_lines import OUTPUT, Entry
from richmond.log_pipe import Splitter, open_pipe
from richmond.settings import Settings
from richmond.supervisor import fleet as f
from richmond.supervisor import jobs

READ_BYTES = 64 << 10
BYTES_PER_S = 1 << 20  # over all pipes: some 20,000 lines, a tenth of a core
BURST_BYTES = 4 << 20  # after a quiet time
_NUMBER = re.compile(r"(?<!\d)\+?\d{9,15}(?!\d)")
_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_SHORTEST_SECRET = 6


class Capture:
    """Its own log goes to the same files: `configure` sets that up, too."""

    def __init__(self, logs: LogFiles, settings: Settings) -> None:
        self._logs = logs
        self._readers: set[gevent.Greenlet] = set()
        self._debt_bytes = 0.0
        self._paid = time.monotonic()
        self._secrets: Sequence[str] = ()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """OSError if the log cannot be opened: then it stays as it is."""
        self._logs.configure(settings.richmond)
        log.setup(self._logs, settings.richmond.log_level, settings.richmond.log_messages)
        self._secrets = sorted(_secrets(settings), key=len, reverse=True)

    def open(self, process: str, marked: bool = False) -> tuple[int | None, str]:
        """The writing end for one process, which the caller closes, and the mark of its log.

        None where there is no descriptor left: then the process has to do with the output of its parent.
        """
        try:
            read, write = open_pipe()
        except OSError:
            return None, ""
        mark = secrets.token_hex(6) if marked else ""
        reader = gevent.spawn(self._read, read, Splitter(process, mark))
        self._readers.add(reader)
        reader.rawlink(self._readers.discard)
        return write, mark

    def order(self, action: f.Spawn, settings: Settings) -> tuple[jobs.WorkerJob, int | None]:
        """What the spawner is told of a worker, and its pipe, which `Spawner.spawn` closes."""
        output, mark = self.open(action.slot, marked=True)
        places = settings.richmond
        job = jobs.WorkerJob(
            slot=action.slot,
            generation=action.generation,
            row=action.row,
            worker=action.spec,
            amqp=settings.amqp,
            workers_path=places.workers_path,
            orphan_timeout_s=places.orphan_timeout_s,
            accounts=tuple(account.name for account in settings.accounts),
            log=file_of(places, action.spec.name),
            log_mark=mark,
            log_level=places.log_level,
            log_messages=places.log_messages,
            log_format=places.log_format,
            otel=settings.otel if settings.otel.enabled else None,
        )
        return job, output

    def close(self, timeout_s: float) -> None:
        """Read what is left of processes that have ended. Those that live on are not heard any more."""
        gevent.joinall(list(self._readers), timeout=timeout_s)
        gevent.killall(list(self._readers))

    def _read(self, fd: int, splitter: Splitter) -> None:
        try:
            while True:
                wait_read(fd)
                self._pay()
                with contextlib.suppress(BlockingIOError):
                    data = os.read(fd, READ_BYTES)
                    if not data:
                        break
                    self._debt_bytes += len(data)
                    self._log(splitter.feed(data, time.time()), splitter)
        finally:
            self._log(splitter.end(time.time()), splitter)
            os.close(fd)

    def _pay(self) -> None:
        """Wait until the budget allows another read."""
        while True:
            now = time.monotonic()
            self._debt_bytes = max(0.0, self._debt_bytes - BYTES_PER_S * (now - self._paid))
            self._paid = now
            if self._debt_bytes < BURST_BYTES:
                return
            gevent.sleep((self._debt_bytes - BURST_BYTES + READ_BYTES) / BYTES_PER_S)

    def _log(self, entries: Iterable[Entry], splitter: Splitter) -> None:
        for entry in entries:
            self._logs.put(msgspec.structs.replace(entry, text=self._concealed(entry)))
        if splitter.lost:
            self._logs.lose(splitter.lost)
            splitter.lost = 0

    def _concealed(self, entry: Entry) -> str:
        """No password ever; no number that a class prints, unless the ini wants to see them."""
        text = entry.text
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        if entry.level == OUTPUT:
            text = _NUMBER.sub(lambda number: log.mask(number[0]), text)
        return text


def _secrets(settings: Settings) -> set[str]:
    """The passwords of the ini, and what its workers' environments and options call a secret.

    A password that is also a user's name is no secret, and would hide that word everywhere.
    """
    found = set(_of_workers(settings)) | {settings.amqp.password, settings.simulator.password}
    found |= {account.password for account in settings.accounts}
    found |= {header.partition("=")[2].strip() for header in settings.otel.headers.split(",")}
    names = {settings.amqp.username, settings.simulator.username, *(account.username for account in settings.accounts)}
    return {secret for secret in found - names if len(secret) >= _SHORTEST_SECRET}


def _of_workers(settings: Settings) -> Iterator[str]:
    for worker in settings.workers:
        file = worker.environment_file
        for values in (worker.environment, worker.options, file.variables if file is not None else {}):
            yield from (value for key, value in values.items() if _SECRET.search(key))
