"""Two accounts at the simulator: each has its own link and queues, and is answered by what came by it."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

ANN = "27831112222"
WORKERS = """
[ssmi:second]
apology = The second is sorry
sms-rate = 50
[worker:EchoWorker]
[worker:FooBarWorker]
codes = *120*666#
accounts = second
[worker:SMSEchoWorker]
sms = yes
"""


@pytest.fixture
def richmond(install):
    return install(workers=WORKERS).start()


def dial(richmond, *args):
    return richmond.run("dial", *args)


def test_each_account_has_its_link_and_its_answers(richmond):
    snapshot = richmond.status()
    assert [(link.name, link.state) for link in snapshot.links] == [
        ("gateway default", "up"), ("gateway second", "up"), ("rabbitmq", "up"),
    ]  # fmt: skip
    assert [queue.purpose for queue in snapshot.queues[3:]] == [
        "replies of default", "SMS to send of default", "replies of second", "SMS to send of second", "dead letters",
    ]  # fmt: skip
    first = dial(richmond, "*120*666#", "hello", "0")
    assert "> hello\nhello\n" in first.stdout, "the class of *120*666# wants the second account only"
    second = dial(richmond, "--account", "second", "*120*666#", "bar")
    assert "foo?" in second.stdout
    assert "Clever. Bye!" in second.stdout
    assert dial(richmond, "--account", "second", "*120*663#", "hello", "0").returncode == 0


def test_an_sms_is_answered_by_the_account_that_it_came_by(richmond):
    for account in ("richmond", "second"):
        done = richmond.run("gateway", "sms", ANN, f"by {account}", "--account", account)
        assert done.returncode == 0, done.stderr
    richmond.wait("both answers", lambda s: s.counters.get("sent:sms", 0) == 2)
    log = richmond.run("gateway", "log").stdout.splitlines()
    sent = [line.split("SSMI,2,") for line in log if "SSMI,2," in line]
    assert len(sent) == 2
    assert all(text.endswith("by second") == ("second" in where) for where, text in sent)


def test_one_link_may_break_and_the_other_goes_on(richmond):
    assert richmond.run("gateway", "fault", "no-login", "--account", "second").returncode == 0
    assert richmond.run("gateway", "fault", "drop", "--account", "second").returncode == 0
    snapshot = richmond.wait("the loss", lambda s: s.links[1].state != "up")
    assert any("gateway second" in problem for problem in snapshot.problems)
    assert dial(richmond, "*120*663#", "hello", "0").returncode == 0
    assert richmond.status().links[0].state == "up"
    assert richmond.run("gateway", "fault", "calm").returncode == 0


def test_a_reload_adds_an_account_and_takes_one_away(richmond):
    richmond.workers = WORKERS.replace("[ssmi:second]", "[ssmi:third]").replace("accounts = second", "accounts = third")
    richmond.write()
    done = richmond.run("reload")
    assert done.returncode == 0, done.stderr
    assert "[ssmi:third]: new" in done.stdout
    richmond.wait("the new link", lambda s: [(x.name, x.state) for x in s.links[:2]] == [
        ("gateway default", "up"), ("gateway third", "up"),
    ])  # fmt: skip
    richmond.wait_up()
    call = dial(richmond, "--account", "third", "*120*666#", "bar")
    assert "Clever. Bye!" in call.stdout, call.stderr
