"""What people read of the simulator's events. No I/O."""

from __future__ import annotations

from datetime import datetime, tzinfo

from richmond.simulator.ledger import Totals
from richmond.simulator.wire import Line, Message, Status


def message(got: Message) -> str:
    """An SMS, binary SMS, WAP push or MMS on a telephone."""
    if got.kind == "text":
        return f"[SMS] {lines(got.text)}"
    parts = (got.text, got.name, got.url, f"pid {got.pid} coding {got.coding}" if got.pid else "", got.hex)
    return lines(" ".join([f"[{got.kind}]", *filter(None, parts)]))


def line(passed: Line, zone: tzinfo | None = None) -> str:
    """`zone`: None for that of this host."""
    time = datetime.fromtimestamp(passed.at, zone).strftime("%H:%M:%S.%f")[:-3]
    return f"{time} #{passed.connection} {passed.account or '-'} {passed.direction} {one_line(passed.text)}"


def lines(text: str) -> str:
    """What a telephone shows: a worker's text may hold line breaks, and drives no terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """With everything escaped that would move the cursor, or that no terminal shows."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def status(now: Status) -> str:
    lines = [
        f"gateway simulator at {now.address}, for {', '.join(now.accounts)}; USSD as {111 if now.extended else 110}",
        f"{now.sessions} sessions, {now.telephones} telephones",
        *(
            f"client at {client.ip}, {f'logged in as {client.account}' if client.logged_in else 'not logged in'},"
            f" for {client.connected_s:.0f} s"
            for client in now.clients
        ),
    ]
    if not any(client.logged_in for client in now.clients):
        lines.append("no client is logged in")
    lines += [f"fault: {fault}" for fault in now.faults]
    lines += [f"delivery reports of {rule}" for rule in now.reports]
    if now.reports_waiting:
        lines.append(f"{now.reports_waiting} delivery reports wait for their time")
    width = max(map(len, now.counters), default=0)
    return "\n".join(lines + [f"  {name:{width}}  {count}" for name, count in sorted(now.counters.items())])


def ledger(totals: list[Totals]) -> str:
    """One row a kind, then why what was lost was lost."""
    rows = [["", "sent", "answered", "lost", "p50 ms", "p99 ms", "max ms"]]
    for kind in totals:
        times = ("-" if ms is None else f"{ms:.1f}" for ms in (kind.p50_ms, kind.p99_ms, kind.max_ms))
        rows.append([kind.kind, str(kind.sent), str(kind.answered), str(kind.lost), *times])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join(lines + [f"{count} {kind.kind} lost: {why}" for kind in totals for why, count in kind.why.items()])
