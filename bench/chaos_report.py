"""The end of a chaos run: what became of each message, whether the counters add up, and how it recovered."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from bench.chaos_world import RECOVERY_S, World, until

if TYPE_CHECKING:
    from bench.chaos import Run

LAST_INSTANT_S = 1.0  # before the kill of a master: what it had read and RabbitMQ had not confirmed
AFTER_S = 0.5  # until its link is known to be gone
COUNTERS = "received {received:,}, told {told:,} ({surplus:+,}), repeated {repeated:,}"
FORGOTTEN_S = 2.0  # of its counters, for each kill of a master: a sample-interval, on a busy machine


def close(world: World, run: Run) -> dict[str, Any]:
    """Come to rest, and account for everything."""
    gateway, richmond = world.gateway, world.richmond
    seconds = time.monotonic() - run.began
    try:
        ledger = gateway.finish(richmond)
        snapshot = richmond.wait("the counters to rest", lambda s: s.messages.waiting == 0, RECOVERY_S)
    except AssertionError as e:
        run.anomaly(f"it does not come to rest: {str(e)[:2000]}")
        return {"seconds": seconds}
    lost = defaultdict(list)
    handled = world.handled()
    for line in ledger.lost:
        only_the_master = line.number not in handled or _near(line.sent, world.node_kills)
        if only_the_master and _near(line.sent, world.kills):
            lost["master"].append(line)
        else:
            lost["lost"].append(line)
    for line in lost["lost"][:20]:
        at = line.sent - run.began
        step = next((s for s in reversed(run.steps) if s.began_s <= at), None)
        known = "handled by a worker, " if line.number in handled else ""
        during = f"step {step.number} ({' + '.join(step.faults)})" if step else "the warm-up"
        what = f"number {line.number} {line.wish or 'ussd'}, {known}sent {at:.2f} s after the begin"
        run.anomaly(f"LOST {what}, in {during}")
    if len(lost["master"]) > (most := len(world.kills) * gateway.rate * LAST_INSTANT_S):
        run.anomaly(f"{len(lost['master'])} lost with the master, more than {most:g}")
    if gateway.unexpected:
        run.anomaly(f"{len(gateway.unexpected)} replies that nobody asked for: {gateway.unexpected[:5]}")
    messages = snapshot.messages
    told = messages.answered + messages.unanswered + messages.dead_lettered + messages.refused
    surplus, forgotten = told - messages.received, int(len(world.kills) * gateway.rate * FORGOTTEN_S)
    if not -forgotten <= surplus <= messages.repeated + forgotten:
        run.anomaly(f"the counters do not add up: {messages}, {surplus} too many on the right")
    code = richmond.run("stop").returncode
    ended = richmond.wait_end()
    if code or ended:
        run.anomaly(f"the stop ended with {code}, the master with {ended}")
    try:
        until("all processes to end", lambda: not richmond.processes(), 30)
    except AssertionError:
        run.anomaly(f"left over: {richmond.processes()}")
    lines = ledger.lines.values()
    return {
        "seconds": seconds,
        "sent": len(lines),
        "sms": sum(line.wish == "sms" for line in lines),
        "answered": sum(line.answers > 0 for line in lines),
        "apologised": ledger.apologies,
        "dead": ledger.dead_only,
        "never": sum(line.wish == "never" and not line.answers + line.apologies for line in lines),
        "in_dead_links": gateway.late,
        "lost_with_master": len(lost["master"]),
        "lost": len(lost["lost"]),
        "twice": ledger.duplicates,
        "may_be_twice": sum(step.may_be_twice for step in run.steps),
        "reasons": ledger.reasons,
        "masters_killed": len(world.kills),
        "links_reset": world.resets,
        "counters": {"received": messages.received, "told": told, "surplus": surplus, "repeated": messages.repeated},
        "grown_mb": max(
            ((run.last[pid].memory_bytes - run.first[pid].memory_bytes) / 2**20 for pid in run.last), default=0.0
        ),
        "faults": _recoveries(run),
    }


def _near(sent: float, kills: list[float]) -> bool:
    return any(-LAST_INSTANT_S < sent - at < AFTER_S for at in kills)


def _recoveries(run: Run) -> dict[str, dict[str, float]]:
    alone: dict[str, list[float]] = defaultdict(list)
    times: Counter[str] = Counter()
    for step in run.steps:
        times.update(step.faults)
        alone[step.faults[0] if len(step.faults) == 1 else "two at once"].append(step.recovery_s)
    times["two at once"] = len(alone["two at once"])
    return {
        name: {
            "times": times[name],
            "alone": len(alone[name]),
            "p50_s": statistics.median(alone[name]) if alone[name] else 0.0,
            "max_s": max(alone[name], default=0.0),
        }
        for name in sorted(times)
    }


def text(report: dict[str, Any]) -> str:
    if "sent" not in report:
        return "\n".join(["No ledger.", *report["anomalies"]])
    rate = report["sent"] / report["seconds"]
    rows = [
        ("sent", f"{report['sent']:,} ({report['sms']:,} SMS), {rate:.0f}/s for {report['seconds'] / 60:.1f} minutes"),
        ("answered", f"{report['answered']:,}"),
        ("apologised", f"{report['apologised']:,}"),
        ("dead-lettered only", f"{report['dead']:,}"),
        ("unanswered, as asked", f"{report['never']:,}"),
        ("lost", f"{report['lost']:,}, at {report['links_reset']} resets of the link too"),
        ("lost with a killed master", f"{report['lost_with_master']:,} at {report['masters_killed']} kills"),
        ("answered twice", f"{report['twice']:,}, of {report['may_be_twice']:,} in flight"),
        ("dead letters", ", ".join(f"{n:,} {why}" for why, n in sorted(report["reasons"].items())) or "none"),
        ("counters", COUNTERS.format(**report["counters"])),
        ("growth of a master, at most", f"{report['grown_mb']:.1f} MB"),
    ]  # fmt: skip
    lines = [f"Seed {report['seed']}, {len(report['steps'])} steps", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "| fault | times | alone | recovery p50, s | max, s |", "|---|---|---|---|---|"]
    for name, found in report["faults"].items():
        figures = f"{found['p50_s']:.2f} | {found['max_s']:.2f}" if found["alone"] else "- | -"
        lines.append(f"| {name.replace('-', ' ')} | {found['times']} | {found['alone']} | {figures} |")
    return "\n".join([*lines, "", *(report["anomalies"] or ["No anomaly."])])
