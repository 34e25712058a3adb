"""The scaling policy keeps its promises on traces of load, and the simulator measures what it says."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from richmond.cli import cli
from richmond.cli_simulate import command
from richmond.errors import UsageError
from richmond.settings import WorkerSettings
from richmond.sim import hosts, measure
from richmond.sim.rule import Limits, View
from richmond.sim.rules.celery import Celery
from richmond.sim.rules.clairvoyant import Clairvoyant
from richmond.sim.rules.fixed import Fixed
from richmond.sim.rules.keda import Keda
from richmond.sim.rules.ours import Ours
from richmond.sim.rules.uwsgi_backlog import UwsgiBacklog
from richmond.sim.rules.uwsgi_busyness import UwsgiBusyness
from richmond.sim.study import study
from richmond.sim.traces import Downstream, Load, Trace, builtin, recorded
from richmond.sim.world import START_S, run
from richmond.supervisor.policy import ScalingSpec

SPEC = ScalingSpec(1, 40, 5.0, 10.0, 2.0, 0.85)
LIMITS = Limits(1, 40, 40)
STEADY, SPIKES, STEP = (builtin(name, 1) for name in ("steady", "spikes", "step"))
SOUND = Downstream()


def trace(*arrivals, handler_s=1.0, seconds=60.0, downstream=SOUND):
    return Trace("test", "", seconds, (Load(arrivals, (handler_s,) * len(arrivals)),), 1, downstream=downstream)


def view(now=100.0, waiting=0, busy=0, target=1, busy_s=0.0):
    return View(now, waiting, busy, target, 0, 0, busy_s, target, target)


def ours(name, seed=1, spec=SPEC):
    load = builtin(name, seed)
    limits = Limits(1, load.max_workers, load.max_workers)
    return measure.measure(run(load, Ours(spec, limits, len(load.loads)), 1))


def test_one_worker_takes_one_message_after_the_other():
    found = run(trace(1, 1, 1), Fixed([1]), 1)
    assert found.waits == ((0, 1, 2),)
    assert found.worker_seconds == 60


def test_a_worker_takes_a_while_to_start_and_finishes_what_it_has_before_it_leaves():
    class Rule:
        interval_s, at_messages = 2.0, False

        def targets(self, views):
            return [2 if views[0].now < 4 else 1]

    found = run(trace(1, 1, handler_s=10.0), Rule(), 1)
    assert found.waits[0] == (0, pytest.approx(1 + START_S))
    assert found.worker_seconds == 69  # who has finished first leaves
    assert found.targets == (((2.0, 2), (4.0, 1)),)


def test_who_is_never_served_has_waited_until_the_end():
    assert run(trace(10, 20), Fixed([0]), 0).waits == ((50, 40),)


def test_a_downstream_that_carries_two_makes_four_twice_as_slow():
    found = run(trace(1, 1, 1, 1, 1, downstream=Downstream(0, 100, 1.0, 2)), Fixed([4]), 4)
    assert found.waits[0][-1] == 1  # the first had it for itself
    assert Downstream(0, 100, 5.0, 2).slowed(50, 4) == 10
    assert Downstream(0, 100, 5.0, 2).slowed(100, 4) == 1


def test_reversals_are_counted_and_waits_have_quantiles():
    load = trace(*range(1, 50), handler_s=0.1)
    targets = iter([2, 3, 2, 2, 4, 1, 1])

    class Rule:
        interval_s, at_messages = 2.0, False

        def targets(self, views):
            return [next(targets, 1)]

    found = measure.measure(run(load, Rule(), 1))
    assert (found.actions, found.reversals) == (5, 3)
    assert measure.quantile(list(range(1, 101)), 0.99) == 99


def test_the_same_seed_gives_the_same_run():
    assert run(SPIKES, Ours(SPEC, LIMITS, 1), 1) == run(builtin("spikes", 1), Ours(SPEC, LIMITS, 1), 1)
    assert builtin("spikes", 2).loads != SPIKES.loads


def test_celery_has_a_process_for_each_message_and_keeps_it_for_thirty_seconds():
    rule = Celery(LIMITS, 1)
    assert rule.targets([view(100, waiting=5, busy=2, target=2)]) == [7]
    assert rule.targets([view(130, target=7)]) == [7]
    assert rule.targets([view(130.1, busy=3, target=7)]) == [3]


def test_keda_asks_for_a_pod_for_twenty_messages_and_the_hpa_doubles_or_adds_four():
    rule = Keda(LIMITS, 1)
    assert rule.targets([view(0, waiting=21)]) == [1]  # within the tolerance of a tenth
    assert rule.targets([view(15, waiting=600)]) == [5]
    assert rule.targets([view(30, waiting=600, target=5)]) == [10]
    assert rule.targets([view(330, waiting=0, target=30)]) == [30]
    assert rule.targets([view(331, waiting=0, target=30)]) == [1]


def test_uwsgi_adds_and_takes_away_one_at_a_time():
    rule = UwsgiBacklog(LIMITS, 1)
    assert [rule.targets([view(waiting=n, target=5)]) for n in (4, 3, 2)] == [[6], [5], [4]]
    rule = UwsgiBusyness(LIMITS, 1)
    assert rule.targets([view(3, busy_s=2, target=1)]) == [2]
    assert rule.targets([view(4, waiting=40, busy_s=2, target=2)]) == [3]
    assert rule.targets([view(6, busy_s=2, target=3)]) == [3]
    assert rule.targets([view(14, busy_s=2, target=3)]) == [2]


def test_the_clairvoyant_meets_the_drain_target_with_hardly_more_than_the_work():
    load = SPIKES
    found = measure.measure(run(load, Clairvoyant(load, LIMITS, 2.0, 4.0), 1))
    assert found.wait_p99 <= 5
    assert found.worker_seconds < 1.25 * sum(load.loads[0].handler_s)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["steady", "step", "ramp", "noise", "spikes"])
def test_the_policy_keeps_its_promises(name, seed):
    found, load = ours(name, seed), builtin(name, seed)
    work_s = sum(load.loads[0].handler_s)
    assert found.wait_p99 < SPEC.drain_target_s / 2
    assert found.worker_seconds < work_s * (2.5 if name == "spikes" else 1.4)
    assert found.reversals <= max(4, measure.REVERSALS * load.changes)


def test_where_the_bottleneck_is_elsewhere_it_stops_growing():
    load = builtin("bottleneck", 1)
    found = run(load, Ours(SPEC, LIMITS, 1), 1)
    assert max(look.workers for look in found.looks if look.at < 420) < 40


def test_it_is_better_than_others_on_a_step():
    found = study(STEP, SPEC).measured
    for other in ("keda + hpa", "uwsgi busyness", "fixed, as dear"):
        assert measure.compare(found[measure.OURS], found[other]).text == "better on both", other
    assert found[measure.OURS].worker_seconds < 0.7 * found["celery"].worker_seconds


def test_where_it_may_keep_workers_as_idle_as_celery_does_it_is_no_slower_for_less():
    idle, load = ours("steady", spec=replace(SPEC, target_utilisation=0.5)), STEADY
    celery = measure.measure(run(load, Celery(LIMITS, 1), 1))
    assert idle.worker_seconds < celery.worker_seconds
    assert idle.wait_p95 <= 0.01


def test_hosts_that_share_a_queue_do_not_each_answer_all_of_it():
    alone, many = hosts.shared(2, replace(SPEC, max=200), 1), hosts.shared(20, replace(SPEC, max=200), 1)
    assert many.most <= alone.most + 20
    assert many.measured.wait_p99 < 5


def test_a_recorded_trace_is_second_and_arrivals():
    found = recorded("a.csv", ["second,arrivals", "0,2", "", "60,4", "61,0"], 0.5, 1)
    (load,) = found.loads
    assert [int(at) for at in load.arrivals] == [0, 0, 60, 60, 60, 60]
    assert found.seconds == 181
    assert found.changes == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["0,1", "x,2"], "line 2: 'x,2' is not second,arrivals"),
        (["5,1", "4,2"], "line 2"),
        (["0"], "line 1"),
        (["0,nan"], "line 1"),
        (["0,0"], "no messages in it"),
        ([], "no messages in it"),
    ],
)
def test_a_trace_that_is_none_is_a_clear_error(lines, said):
    with pytest.raises(UsageError, match=said):
        recorded("a.csv", lines, 0.5, 1)


def test_the_command_simulates_a_file_as_text_and_as_json(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("".join(f"{second},{20 if second < 60 else 2}\n" for second in range(90)))
    said = CliRunner().invoke(cli, ["simulate", "--file", str(file)])
    assert said.exit_code == 0, said.output
    assert "a.csv: as it was recorded" in said.output
    facts = json.loads(CliRunner().invoke(cli, ["simulate", "--file", str(file), "--json"]).output)
    assert facts["rules"]["richmond"]["messages"] == 60 * 20 + 30 * 2
    assert set(facts["compared"]) >= {"celery", "keda + hpa"}


def test_what_the_command_cannot_do_is_said(tmp_path):
    said = CliRunner().invoke(cli, ["simulate", "stepp"]).output
    assert "no trace stepp; there are: steady, step, " in said
    assert "cannot be read" in CliRunner().invoke(cli, ["simulate", "--file", str(tmp_path / "no.csv")]).output


def test_the_defaults_of_the_command_are_those_of_the_ini():
    told = {option.name: option.default for option in command.params}
    fields = WorkerSettings.__dataclass_fields__
    assert (told["down_s"], told["utilisation"]) == (
        fields["scale_down_s"].default,
        fields["target_utilisation"].default,
    )
