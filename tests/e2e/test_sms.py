"""SMS both ways through a whole Richmond: the simulator's telephones, a class of the site's own, and RabbitMQ."""

from __future__ import annotations

import json
import signal

import pytest
from broker_host import Proxy
from installation import until
from nodes import Through

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

ANN, BOB = "27831112222", "27831113333"
SITE = '''
import json
import pathlib

from richmond.messages import PremiumSms, Sms
from richmond.workers.sms import SMSWorker


class Shop(SMSWorker):
    """Does what an SMS says, and writes down all that it is told."""

    def note(self, **facts):
        with pathlib.Path(__file__).with_name("shop.log").open("a") as log:
            log.write(json.dumps(facts) + "\\n")

    def received_sms(self, sms):
        if not isinstance(sms, (Sms, PremiumSms)):
            id = self.send_binary_sms(sms.msisdn, sms.hex_msg)
            self.note(kind="binary", hex=sms.hex_msg, coding=sms.coding, id=id)
            return
        word, _, rest = sms.message.partition(" ")
        id = None
        if word == "echo":
            id = self.send_sms(sms.msisdn, rest)
        elif word == "long":
            id = self.send_sms(sms.msisdn, rest * 60)
        elif word == "to":
            id = self.send_sms(rest, "as asked")
        elif word == "many":
            for number in range(int(rest)):
                self.send_sms(sms.msisdn, str(number))
        elif word == "wap":
            id = self.send_wap_push(sms.msisdn, "look", rest)
        elif word == "mms":
            id = self.send_mms(sms.msisdn, "look", "a.gif", rest.encode())
        elif word == "imsi":
            id = self.look_up_imsi(sms.msisdn)
        self.note(kind="sms", message=sms.message, to=getattr(sms, "destination", ""), id=id)

    def sms_accepted(self, sequence):
        self.note(kind="sequence", id=sequence.sms_id)

    def delivery_report(self, report):
        self.note(kind="report", id=report.sms_id, status=report.status, part=report.part, parts=report.parts)

    def imsi_found(self, reply):
        self.note(kind="imsi", id=reply.lookup_id, imsi=reply.imsi)
'''
INI = """
[worker:EchoWorker]
[worker:Shop]
class = shop.Shop
sms = yes
"""


class Shop:
    """An installation with the class above."""

    def __init__(self, richmond):
        self.richmond = richmond
        (richmond.site / "shop.py").write_text(SITE)

    def sms(self, text, *options, msisdn=ANN):
        done = self.richmond.run("gateway", "sms", msisdn, text, *options)
        assert done.returncode == 0, done.stderr

    def gateway(self, *args):
        done = self.richmond.run("gateway", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def noted(self, number, **facts):
        """The first `number` notes with these facts."""
        log = self.richmond.site / "shop.log"

        def look():
            notes = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            found = [note for note in notes if facts.items() <= note.items()]
            return found if len(found) >= number else None

        return until(f"{number} notes of {facts}", look)

    def inbox(self, number, msisdn=ANN):
        def look():
            lines = self.gateway("inbox", msisdn).splitlines()
            return lines if len(lines) >= number else None

        return until(f"{number} SMS for {msisdn}", look)


@pytest.fixture
def shop(install):
    def make(**options):
        return Shop(install(**{"workers": INI} | options))

    return make


def test_an_sms_is_answered_and_its_delivery_report_comes_back_with_its_id(shop):
    shop = shop()
    shop.richmond.start()
    shop.sms("echo Hello, you")
    (sms,) = shop.noted(1, kind="sms")
    assert shop.noted(1, kind="sequence", id=sms["id"])
    assert shop.noted(1, kind="report", id=sms["id"], status="delivered")
    assert "Hello, you" in shop.inbox(1)[0]
    snapshot = shop.richmond.wait("all to be counted", lambda s: s.messages.received == 3 and not s.messages.waiting)
    m = snapshot.messages
    assert (m.answered, m.unanswered) == (1, 2), "the SMS; its sequence and its report"
    assert (snapshot.sms.received, snapshot.sms.published, snapshot.sms.taken, snapshot.sms.sent) == (1, 1, 1, 1)
    table = shop.richmond.run("status").stdout
    assert "SMS in  published" in table
    assert ANN not in shop.richmond.log_text()


@pytest.mark.parametrize(
    ("code", "status"), [("1", "expired"), ("2", "sim-full"), ("5", "blacklisted"), ("77", "unknown")]
)
def test_each_return_code_has_its_status(shop, code, status):
    shop = shop()
    shop.richmond.start()
    shop.gateway("report", code)
    shop.sms("echo x")
    (sms,) = shop.noted(1, kind="sms")
    assert shop.noted(1, kind="report", id=sms["id"], status=status)


def test_a_long_sms_comes_in_parts_each_with_its_report(shop):
    shop = shop()
    shop.richmond.start()
    shop.sms("long all work and no play ")
    (sms,) = shop.noted(1, kind="sms")
    count = shop.noted(1, kind="report", id=sms["id"])[0]["parts"]
    reports = shop.noted(count, kind="report", id=sms["id"], status="delivered")
    assert sorted(report["part"] for report in reports) == list(range(1, count + 1))
    assert f"(1/{count}) all work and no play" in shop.inbox(count)[0]


def test_premium_and_binary_sms_wap_push_mms_and_imsi(shop):
    shop = shop()
    shop.richmond.start()
    shop.sms("echo premium", "--to", "31022")
    assert shop.noted(1, kind="sms", to="31022", message="echo premium")
    shop.sms("", "--binary", "68656c6c6f", "--coding", "246")
    shop.sms("wap http://x.example/a,b")
    shop.sms("mms gif")
    inbox = "\n".join(shop.inbox(4))
    for expected in ("premium", "68656c6c6f", "http://x.example/a,b", b"gif".hex()):
        assert expected in inbox
    (binary,) = shop.noted(1, kind="binary", hex="68656c6c6f", coding="246")
    assert shop.noted(1, kind="report", id=binary["id"], status="delivered")
    shop.sms("imsi")
    (asked,) = shop.noted(1, kind="sms", message="imsi")
    (found,) = shop.noted(1, kind="imsi", id=asked["id"])
    assert found["imsi"].isdigit()


def test_who_says_stop_gets_no_more_and_the_dead_letter_says_why(shop):
    shop = shop(ssmi="opt-out = yes\n")
    shop.richmond.start()
    shop.sms("Stop!")
    shop.richmond.wait("the opt-out", lambda s: s.opt_outs == 1)
    shop.sms(f"to {ANN}", msisdn=BOB)
    snapshot = shop.richmond.wait("the refusal", lambda s: s.sms.refused == 1)
    assert snapshot.counters["sms-refused:opted-out"] == 1
    dead = json.loads(shop.richmond.run("dead", "list", "--json").stdout)
    assert [(letter["reason"], letter["kind"], letter["worker"]) for letter in dead] == [("opted-out", "sms", "Shop")]
    shop.sms("start")
    shop.richmond.wait("the opt-in", lambda s: s.opt_outs == 0)
    shop.sms(f"to {ANN}", msisdn=BOB)
    assert "as asked" in shop.inbox(1)[0]
    assert "opt-outs" not in shop.richmond.run("status").stdout


def test_a_throttle_that_bites_is_seen_in_status_and_holds_no_ussd_up(shop):
    shop = shop(ssmi="sms-rate = 0.5\nsms-burst = 2\n")
    shop.richmond.start()
    shop.sms("many 20")
    snapshot = shop.richmond.wait("the throttle", lambda s: s.links[0].throttled)
    assert snapshot.links[0].throttled[0].per_second == 0.5
    assert snapshot.problems == ()
    assert "SMS wait: no more than 0.5 a second" in shop.richmond.run("status").stdout
    call = shop.richmond.run("dial", "*120*663#", "hello", "0")
    assert call.returncode == 0, call.stdout + call.stderr
    shop.richmond.sections["ssmi"] = ""
    shop.richmond.write()
    assert shop.richmond.run("reload").returncode == 0
    texts = [line.split()[-1] for line in shop.inbox(20)]
    assert texts == [str(number) for number in range(20)], "in order"


@pytest.fixture
def proxied(node):
    """The suite's node, behind a proxy."""
    with Proxy(node.host, node.port) as proxy:
        yield Through(node, proxy)


@pytest.mark.parametrize("end", ["", "kill -9 of the master"])
def test_sms_of_a_time_without_rabbitmq_are_handled_in_order_afterwards(proxied, shop, end):
    proxy = proxied.proxy
    shop = shop(node=proxied)
    shop.richmond.start()
    proxy.refuse()
    shop.richmond.wait("it to be away", lambda s: s.links[1].state == "down")
    for number in range(5):
        shop.sms(f"number {number}")
    snapshot = shop.richmond.wait("the journal", lambda s: s.journal.entries == 5)
    assert snapshot.sms.waiting == 5
    assert "journal: 5 messages wait for RabbitMQ, the oldest for" in shop.richmond.run("status").stdout
    if end:
        shop.richmond.signal(signal.SIGKILL)
        shop.richmond.wait_end()
        until("the workers to end", lambda: not shop.richmond.processes())
    proxy.accept()
    if end:
        shop.richmond.start()
    shop.sms("number 5")
    notes = shop.noted(6, kind="sms")
    assert [note["message"] for note in notes] == [f"number {number}" for number in range(6)]
    shop.richmond.wait("an empty journal", lambda s: not s.journal.entries and s.sms.published == 6)


def test_other_keywords_reach_the_running_workers(shop):
    shop = shop(workers=INI.replace("sms = yes", "keywords = ECHO"))
    shop.richmond.start()
    shop.sms("echo one")
    assert shop.noted(1, kind="sms", message="echo one")
    shop.sms("number 7")
    shop.richmond.wait("a dead letter", lambda s: s.sms.dead_lettered == 1)
    pids = {slot.pid for cls in shop.richmond.status().classes for slot in cls.slots}
    shop.richmond.workers = INI.replace("sms = yes", "keywords = ECHO, NUMBER")
    shop.richmond.write()
    assert shop.richmond.run("reload").returncode == 0
    shop.sms("number 8")
    assert shop.noted(1, kind="sms", message="number 8")
    snapshot = shop.richmond.status()
    assert {slot.pid for cls in snapshot.classes for slot in cls.slots} == pids
    assert "SMS ECHO, NUMBER" in shop.richmond.run("status").stdout
