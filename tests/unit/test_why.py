"""`richmond scale --why`: the figures behind a target, and what limits it, in plain words."""

import pytest
from fleet_play import INI, Play, load_in

from richmond import cli_scale
from richmond.supervisor import fleet as f
from richmond.supervisor import policy, why


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


def busy(play, seconds, ready=0, rate=10, message_s=0.2):
    """So many seconds of a load that lets nobody rest."""
    for _ in range(seconds // 2):
        play.now += 2
        cls = play.fleet.classes["EchoWorker"]
        last = cls.samples[-1] if cls.samples else policy.Sample(0, 0, 0, 0, 0.0)
        handled = last.handled + 2 * rate
        sample = policy.Sample(
            play.now, ready, 2, handled, last.busy_s + 2 * rate * message_s, cls.target, running=cls.target, consumers=9
        )
        play.send(f.Sampled({"EchoWorker": sample}))
        play.up()


def said(play, name="EchoWorker"):
    return "\n".join(cli_scale.lines(why.explain(play.fleet, play.fleet.classes[name], play.now)))


def test_what_limits_it_is_said(load):
    play = Play(load())
    assert "load      no fresh figures" in said(play)
    play.up()
    busy(play, 10, ready=500)
    play.send(f.Scale(1, "EchoWorker", 3, False))
    assert "limit     pinned to 3 by the operator, until richmond scale EchoWorker auto" in said(play)
    play.send(f.Scale(2, "EchoWorker", None, False))
    busy(play, 10, ready=500)
    assert "8 workers, because" in said(play)
    play.send(f.Reloaded(load(INI.replace("max-workers = 20", "max-workers = 4")), {}))
    busy(play, 4, ready=500)
    assert "limit     max-workers = 4: " in said(play)
    for slot in play.slots("EchoWorker"):
        play.crash(slot, code=3)
    assert "are FATAL" in said(play)
    play.now += 60
    play.send(f.Sampled({}))
    assert "limit     no fresh figures" in said(play)


def test_a_class_that_is_not_there_is_said_with_those_that_are(load):
    answer = why.answer(Play(load()).fleet, "Nobody", 0.0)
    assert (answer["ok"], answer["usage"]) == (False, True)
    assert "EchoWorker, FooBarWorker" in answer["error"]


def test_the_figures_behind_the_target_are_said(load):
    play = Play(load())
    play.up()
    busy(play, 30)
    text = said(play)
    target = play.fleet.classes["EchoWorker"].target
    assert text.startswith(f"EchoWorker: {target} workers, because: {play.fleet.classes['EchoWorker'].reason}\n")
    for words in (
        f"{target} run; the queue has 9 consumers in all",
        " messages/s, 200.0 ms in the handler for each",
        "2 in hand",
        f"(target-utilisation = {play.fleet.classes['EchoWorker'].spec.target_utilisation:g})",
        "drain-target = 5 s",
        f"wanted    {target}, within min = 1 and max = 8",
        f"all       {target + 1} of max-workers = 20; weight = 1",
        " s old",
    ):
        assert words in text, text
