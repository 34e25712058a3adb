"""What keeps the count of workers from following the load blindly."""

from dataclasses import replace

import pytest

from richmond.supervisor.policy import Sample, ScalingSpec, decide

SPEC = ScalingSpec(min=1, max=40, drain_target_s=5, scale_down_s=10, interval_s=2, target_utilisation=0.85)


def history(*intervals, workers=4, start=0.0, **more):
    """Samples 2 s apart, from (arrivals, handled, busy seconds, workers) of each interval. The queue takes the rest."""
    found = [Sample(start, 0, 0, 0, 0.0, workers, **more)]
    for arrived, handled, busy_s, count in intervals:
        last = found[-1]
        ready = last.ready + arrived - handled
        found.append(Sample(last.at + 2, ready, count, last.handled + handled, last.busy_s + busy_s, count, **more))
    return found


def steady(count=60, workers=4, per_s=30, **more):
    return history(*[(2 * per_s, 2 * per_s, 0.2 * per_s, workers)] * count, workers=workers, **more)


def asked(samples, current, spec=SPEC):
    return decide(spec, samples, current, samples[-1].at)


OVERLOAD = [*[(60, 60, 6.0, 4)] * 20, (400, 80, 8.0, 4)]


def test_a_gap_in_the_figures_is_no_evidence_that_fewer_would_do():
    idle = steady(per_s=1, workers=8)
    assert asked(idle, 8).target < 8
    assert asked([*idle[:-4], idle[-1]], 8).target == 8
    assert asked(steady(per_s=1, workers=2)[-4:], 2).target == 2  # one too many is to be seen for ten seconds


def test_a_full_cpu_stops_growing_where_it_is_the_workers_own():
    found = history(*OVERLOAD)
    assert asked(found, 4).target > 20
    full = [*found[:-1], replace(found[-1], cpu=0.99, workers_cpu=0.8)]
    assert asked(full, 4).target == 4
    assert "CPU" in asked(full, 4).reason
    assert asked([*found[:-1], replace(found[-1], cpu=0.99, workers_cpu=0.1)], 4).target > 20
    assert asked([*found[:-1], replace(found[-1], cpu=0.99)], 4).target == 4


def test_memory_for_three_more_is_three_more_and_those_that_start_are_not_in_it_yet():
    found = history(*OVERLOAD)
    short = replace(found[-1], memory_free=3_500_000, worker_bytes=1_000_000)
    assert asked([*found[:-1], short], 4).target == 7
    assert asked([*found[:-1], short], 4).figures.limits == ("memory for 3 more",)
    assert asked([*found[:-1], replace(short, starting=2)], 4).target == 5
    assert asked([*found[:-1], replace(short, memory_free=0)], 4).target == 4


def test_no_memory_takes_nobody_away():
    assert asked(steady(memory_free=0, worker_bytes=1_000_000), 4).target == 4


def test_growing_that_did_not_help_twice_is_not_tried_a_third_time():
    found = history(*[(60, 60, 6.0, 4)] * 20, (100, 40, 8, 4), (60, 40, 16, 8), (60, 40, 32, 16), workers=4)
    decision = asked(found, 16)
    assert decision.target == 16
    assert "the bottleneck is elsewhere" in decision.reason
    helped = history(*[(60, 60, 6.0, 4)] * 20, (100, 8, 8, 4), (60, 16, 16, 8), (60, 32, 32, 16), workers=4)
    assert asked(helped, 16).target > 16


def test_handlers_that_have_become_slower_make_it_grow_by_steps():
    found = history(*[(60, 60, 6.0, 4)] * 20, (60, 8, 8.0, 4))
    decision = asked(found, 4)
    assert decision.target == 8
    assert decision.figures.limits == ("8 at first",)


def test_a_load_that_flaps_makes_the_window_longer():
    calm = steady(workers=5)
    flapping = [replace(s, workers=4 if n % 20 in (0, 1) else 5) for n, s in enumerate(calm)]
    assert asked(calm, 5).figures.window_s == 10
    assert asked(flapping, 5).figures.window_s > 30


def test_backlog_that_workers_on_their_way_will_take_asks_for_no_more_of_them():
    found = history(*OVERLOAD)
    first = asked(found, 4).target
    last = found[-1]
    later = replace(last, at=last.at + 2, starting=first - 4, workers=first, handled=last.handled + 60)
    assert asked([*found, replace(later, busy_s=last.busy_s + 6)], first).target <= first


def test_a_backlog_that_is_gone_in_a_moment_is_no_reason_to_grow():
    assert asked(history(*[(60, 60, 6.0, 4)] * 20, (66, 60, 6.0, 4)), 4).target == 4


@pytest.mark.parametrize(("consumers", "part"), [(4, 1), (8, 0.5), (40, 0.1), (None, 1), (0, 1)])
def test_of_a_queue_that_hosts_share_each_answers_its_part(consumers, part):
    found = [replace(s, running=4, consumers=consumers) for s in history(*OVERLOAD)]
    decision = asked(found, 4)
    assert decision.figures.share == part
    alone = asked(history(*OVERLOAD), 4).target
    assert 4 <= decision.target <= 4 + (alone - 4) * part + 2


def test_a_class_without_a_minimum_goes_to_nothing_when_nothing_came_for_a_while():
    spec = replace(SPEC, min=0)
    found = history(*[(2, 2, 0.2, 1)], *[(0, 0, 0.0, 1)] * 16, workers=1)
    found = [replace(s, unacked=0) for s in found]
    assert asked(found[:-2], 1, spec).target == 1
    assert asked(found, 1, spec).target == 0
    assert asked(found, 1).target == 1


def test_a_sleeping_class_leaves_a_queue_that_others_serve_to_them():
    spec = replace(SPEC, min=0)
    found = [Sample(0.0, 0, 0, 0, 0.0, 0, running=0), Sample(2.0, 5, 0, 0, 0.0, 0, running=0, consumers=3)]
    assert asked(found, 0, spec).target == 0
    assert asked([found[0], replace(found[1], consumers=0)], 0, spec).target == 1


def test_slow_handlers_get_company_so_that_few_messages_are_late():
    """Two workers of 5 s would be 75 % busy, and every third message would wait for more than 5 s."""
    found = history(*[(1, 1, 3.0, 2), (0, 0, 3.0, 2)] * 40, workers=2)
    assert asked(found, 2).target > 2
    assert asked(found, 2, replace(SPEC, drain_target_s=60)).target == 2
