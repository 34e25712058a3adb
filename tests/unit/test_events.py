"""What is worth an event: recorded histories of the fleet, of links and of counters."""

from dataclasses import replace

import pytest
from fleet_play import INI, Play, load_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from richmond.supervisor import events, jobs, plan
from richmond.supervisor import fleet as f
from richmond.supervisor.events import Bursts, LinkLook, links
from richmond.supervisor.lifecycle import State
from richmond.supervisor.liveness import Look


class Watched(Play):
    """Notes the events of every step."""

    def __init__(self, settings):
        self.watch = events.FleetWatch()
        self.events = []
        super().__init__(settings)

    def send(self, event):
        before = self.fleet
        actions = super().send(event)
        self.events += self.watch.changes(before, self.fleet)
        return actions

    def told(self):
        """(kind, text) since the last call."""
        found, self.events = self.events, []
        return [(event.kind, event.text) for event in found]


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Watched(load())
    play.up()
    play.told()
    return play


def test_a_worker_that_starts_is_told_with_each_state(load):
    play = Watched(load())
    assert play.told() == [
        ("slot", f"{slot} STOPPED -> STARTING") for slot in ("EchoWorker:0", "EchoWorker:1", "FooBarWorker:0")
    ]
    play.up()
    assert play.told()[0] == ("slot", "EchoWorker:0 (pid 1000) STARTING -> RUNNING")


def test_a_crash_is_told_with_its_reason_and_what_follows(play):
    play.crash(play.slots()[0], code=1)
    (event,) = play.events
    assert events.to_dict(event) == {
        "kind": "crash", "level": "warning", "class": "EchoWorker", "slot": "EchoWorker:0", "pid": 1000,
        "from": "RUNNING", "to": "STARTING", "reason": "exited with code 1",
        "text": "EchoWorker:0 (pid 1000) RUNNING -> STARTING: exited with code 1",
    }  # fmt: skip
    assert events.from_dict(events.to_dict(event)) == event


def test_a_planned_end_is_no_crash(play):
    play.send(f.Scale(1, "EchoWorker", 1, False))
    play.obey()
    assert play.told() == [
        ("scale", "EchoWorker: 2 -> 1 worker: pinned by the operator"),
        ("slot", "EchoWorker:1 (pid 1001) RUNNING -> STOPPING"),
        ("slot", "EchoWorker:1 (pid 1001) STOPPING -> STOPPED"),
    ]


def test_a_class_that_fails_is_called_fatal_once_and_not_again_at_each_probe(play):
    def fail():
        (slot,) = play.slots("FooBarWorker")
        while play.slots("FooBarWorker")[0].state is not State.FATAL:
            slot = play.slots("FooBarWorker")[0]
            if slot.state is State.BACKOFF:
                play.now = slot.due
                play.send(f.Tick())
            play.fork_all()
            play.crash(play.slots("FooBarWorker")[0])

    fail()
    fatal = [event for event in play.events if event.kind == "fatal"]
    assert [(e.level, e.worker, e.count, e.reason) for e in fatal] == [
        ("error", "FooBarWorker", 0, "exited with code 1")
    ]
    assert fatal[0].text == "FooBarWorker: 1 of 1 workers is FATAL, no worker runs: exited with code 1"
    play.told()
    for _ in range(3):  # probes that fail
        play.now = play.fleet.classes["FooBarWorker"].probe_due
        play.send(f.Tick())
        fail()
    kinds = [kind for kind, _ in play.told()]
    assert "fatal" not in kinds
    assert "recovered" not in kinds
    assert "crash" in kinds
    play.now = play.fleet.classes["FooBarWorker"].probe_due  # and one that works
    play.send(f.Tick())
    play.up()
    assert "recovered" not in [kind for kind, _ in play.told()]
    play.now = play.slots("FooBarWorker")[0].due
    play.send(f.Tick())
    assert play.told() == [("recovered", "FooBarWorker: it works again")]
    fail()
    assert "fatal" in [kind for kind, _ in play.told()]


def test_partly_fatal_and_wholly_fatal_are_two_things(load):
    play = Watched(load())
    play.up()
    play.now = 500.0
    play.send(f.Tick())  # all are stable
    first, second = play.slots("EchoWorker")
    play.told()
    for slot in (first, second):
        cls = play.fleet.classes["EchoWorker"]
        broken = replace(slot, state=State.FATAL, last_error="boom", crashes=5, pid=None)
        before = play.fleet
        play.fleet = before.put(replace(cls, slots=tuple(broken if s.name == slot.name else s for s in cls.slots)))
        play.events += play.watch.changes(before, play.fleet)
    assert [text for kind, text in play.told() if kind == "fatal"] == [
        "EchoWorker: 1 of 2 workers is FATAL, 1 still run: boom",
        "EchoWorker: 2 of 2 workers are FATAL, no worker runs: boom",
    ]


def told_of(play, name="EchoWorker", **changes):
    """What is told when a class, or its first slot (`slot=`), changes like this; then the play goes on from there."""
    before = play.fleet
    cls = before.classes[name]
    if slot := changes.pop("slot", None):
        changes["slots"] = (replace(cls.slots[0], **slot), *cls.slots[1:])
    play.fleet = before.put(replace(cls, **changes))
    return [(event.kind, event.text) for event in play.watch.changes(before, play.fleet)]


def test_a_class_that_is_still_partly_fatal_has_not_recovered_and_is_not_called_fatal_anew(play):
    broken = {"state": State.FATAL, "last_error": "boom", "crashes": 5, "pid": None}
    first, second = play.slots("EchoWorker")
    told = told_of(play, slots=(replace(first, **broken), replace(second, **broken)))
    assert [kind for kind, _ in told] == ["crash", "crash", "fatal"]
    told = told_of(play, slots=(first, replace(second, **broken)))  # one works, the other does not
    assert [kind for kind, _ in told] == ["slot"]
    told = told_of(play, slots=(replace(first, **broken), replace(second, **broken)))
    assert [kind for kind, _ in told] == ["crash"]
    told = told_of(play, slots=(first, second))
    assert [kind for kind, _ in told] == ["slot", "slot", "recovered"]


def test_one_who_takes_the_place_of_another_in_the_same_moment_is_not_taken_for_it(play):
    told_of(play, slot={"state": State.STOPPING})
    told = told_of(play, slot={"state": State.STARTING, "pid": None, "row": 99})
    assert told == [
        ("slot", "EchoWorker:0 (pid 1000) STOPPING -> STOPPED"), ("slot", "EchoWorker:0 STOPPED -> STARTING"),
    ]  # fmt: skip


def test_what_a_worker_or_a_class_has_come_to_is_told_once(play):
    for changes, told in (
        ({"slot": {"doomed": "no progress for 30 s"}}, "hung"),
        ({"slot": {"leaving": "max-age"}}, "recycled"),
        ({"rolled_back": "the new ones did not come up", "generation": 7}, "rollback"),
        ({"removed": True}, "class"),
    ):
        (found,) = told_of(play, **changes)
        assert found[0] == told
        assert found[1].startswith("EchoWorker")
        assert told_of(play, reason="something else") == []
        assert told_of(play, slot={"since": 1.0}) == []


def test_a_rollout_is_told_with_its_reason_and_each_worker(play):
    play.send(f.Restart(1, "EchoWorker", False))
    play.up()
    told = play.told()
    assert told[0] == ("rollout", "EchoWorker: its workers are replaced one by one: restarted")
    assert [text.split(" ")[0] for kind, text in told if text.endswith("STOPPING -> STOPPED")] == [
        "EchoWorker:0", "EchoWorker:1",
    ]  # fmt: skip


def test_a_reload_that_adds_and_removes_classes_says_so(play, load):
    new = load(INI.replace("FooBarWorker", "Other").replace("[worker:Other]", "[worker:Other]\nclass = o.Other"))
    play.send(f.Reloaded(new, {}))
    told = play.told()
    assert ("class", "Other: a new class") in told
    assert ("class", "FooBarWorker: no longer in the ini") in told


def test_a_worker_that_hangs_is_told_before_its_end(play):
    slot = play.slots()[0]
    cls = play.fleet.classes["EchoWorker"]
    before = play.fleet
    hung = replace(slot, doomed="no progress for 30 s")
    after = before.put(replace(cls, slots=tuple(hung if s is slot else s for s in cls.slots)))
    (event,) = play.watch.changes(before, after)
    assert (event.kind, event.level, event.text) == (
        "hung", "warning", "EchoWorker:0 (pid 1000): no progress for 30 s; it is ended",
    )  # fmt: skip


def test_a_spawners_death_is_no_crash_of_its_workers(play):
    play.send(jobs.SpawnerDied(-9))
    assert {kind for kind, _ in play.told()} == {"slot"}


MOVES = st.lists(
    st.tuples(st.sampled_from(["crash", "up", "scale", "restart", "tick", "spawner", "obey"]), st.integers(0, 7)),
    max_size=25,
)


@given(MOVES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_events_of_a_slot_are_a_chain_without_gaps(tmp_path, moves):
    play = Watched(load_in(tmp_path)())
    for move, number in moves:
        slots = [s for s in play.slots() if s.pid is not None]
        match move:
            case "crash" if slots:
                play.crash(slots[number % len(slots)])
            case "up":
                play.up()
            case "scale":
                play.send(f.Scale(1, "EchoWorker", number, False))
            case "restart":
                play.send(f.Restart(1, None, False))
            case "tick" if (due := plan.deadline(play.fleet)) is not None:
                play.now = max(play.now, due)
                play.send(f.Tick())
            case "spawner":
                play.send(jobs.SpawnerDied(-9))
            case "obey":
                play.obey()
    states = {}
    for event in play.events:
        assert event.kind in events.KINDS
        if event.before is not None and event.slot is not None:
            assert event.before == states.get(event.slot, "STOPPED"), event
            states[event.slot] = event.after
    assert {name: state for name, state in states.items() if state != "STOPPED"} == {
        slot.name: str(slot.state) for slot in play.slots()
    }


# Links and counters.


def looks(**states):
    return {
        name: LinkLook(*state) if isinstance(state, tuple) else LinkLook(state, 1.0) for name, state in states.items()
    }


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"gateway": "up"}, [("info", "gateway: starting -> up")]),
        ({"gateway": "up"}, {"gateway": "up"}, []),
        ({"gateway": "up"}, {"gateway": ("backoff", 5.0, "refused")}, [("warning", "gateway: up -> backoff: refused")]),
        (
            {"gateway": ("backoff", 5.0, "refused")}, {"gateway": ("up", 6.0, "refused")},
            [("info", "gateway: backoff -> up")],
        ),
        (
            {"gateway": "up"}, {"gateway": ("up", 3.0, "reset by peer")},
            [("warning", "gateway: up -> up, after it was away: reset by peer")],
        ),
        ({"gateway": "up"}, {"gateway": ("up", 1.2)}, []),  # clocks are not that exact
        ({"gateway a": "up"}, {}, [("info", "gateway a: up -> gone")]),
        ({"rabbitmq": "up"}, {"rabbitmq": ("closed", 2.0)}, [("info", "rabbitmq: up -> closed")]),
    ],
)  # fmt: skip
def test_links_are_told_as_they_change(before, after, told):
    assert [(event.level, event.text) for event in links(looks(**before), looks(**after))] == told


def test_what_goes_on_and_on_is_told_at_once_and_then_in_bursts():
    bursts = Bursts()
    key = ("replies", "session-over")
    assert list(bursts.grown({key: 5}, 0.0)) == [], "counted under an earlier master"
    assert list(bursts.grown({key: 6}, 1.0)) == [(*key, 1)]
    assert list(bursts.grown({key: 16}, 2.0)) == []
    assert list(bursts.grown({key: 26, ("replies", "comma"): 1}, 9.0)) == [("replies", "comma", 1)]
    assert list(bursts.grown({key: 26, ("replies", "comma"): 1}, 11.5)) == [(*key, 20)]
    assert list(bursts.grown({key: 26}, 30.0)) == []
    assert list(bursts.grown({key: 27}, 40.0)) == [(*key, 1)]
    assert list(bursts.grown({key: 2}, 60.0)) == [], "it counts anew"
    assert list(bursts.grown({key: 3}, 61.0)) == [(*key, 1)]


def test_an_event_has_one_line_of_text():
    event = events.happened("reload", "not reloaded: a\nb", "error")
    line = events.to_text(event)
    assert line.endswith(" ERROR   reload       not reloaded: a; b")
    assert "\n" not in line


def test_one_that_grows_to_the_hard_limit_while_it_drains_is_told(load):
    play = Watched(load(INI.replace("max = 8", "max = 8\nmax-memory-hard = 1M")))
    play.up()
    slot = play.slots("EchoWorker")[1]
    play.send(f.Scale(1, "EchoWorker", 1, False))
    play.told()
    play.send(f.Looked({slot.name: Look(slot.pid, 0.0, None, 0, False, 2 << 20)}))
    text = "is killed while it drains: 2 MB of memory (max-memory-hard = 1M)"
    assert play.told() == [("recycled", f"EchoWorker:1 (pid {slot.pid}) {text}")]
