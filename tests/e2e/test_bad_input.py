"""What makes no sense - from the gateway, from workers, on the queues - costs itself and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gateway import RawGateway
from installation import until
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

NOBODY = "[worker:Shop]\nclass = richmond.workers.ussd.USSDWorker\nworkers = 0\nmin = 0\n"
CLUMSY = """
[worker:Clumsy]
class = clumsy.Clumsy
apology = Kom môre terug, asseblief
"""
CLUMSY_SOURCE = """
import sys

from richmond.workers.ussd import SessionType, USSDWorker


class Clumsy(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        self.reply(msisdn, "go on")

    def existing_ussd_session(self, msisdn, message):
        getattr(self, message)(msisdn)

    def end_ussd_session(self, msisdn, message):
        self.reply(msisdn, "are you there?")

    def carriage_return(self, msisdn):
        self.reply(msisdn, "one\\rSSMI,99\\r\\ntwo\\r")

    def odd_letters(self, msisdn):
        self.reply(msisdn, "\\u201cŁódź\\u201d \\u2192 môre \\u20ac5 \\U0001f600")

    def lone_surrogate(self, msisdn):
        self.reply(msisdn, "half \\ud83d")

    def no_keys(self, msisdn):
        self.publish({"msisdn": msisdn})

    def type_one(self, msisdn):
        self.reply(msisdn, "hello", "1")

    def type_nine(self, msisdn):
        self.reply(msisdn, "hello", "9")

    def int_type(self, msisdn):
        self.reply(msisdn, "hello", 2)

    def int_msisdn(self, msisdn):
        self.reply(int(msisdn), "hello")

    def comma(self, msisdn):
        self.reply(msisdn + ",2", "hello", "6")

    def injection(self, msisdn):
        self.reply(msisdn + "\\rSSMI,99\\r", "hello", "6")

    def twice(self, msisdn):
        self.reply(msisdn, "bye", SessionType.end)
        self.reply(msisdn, "one thing more", SessionType.end)

    def raises(self, msisdn):
        raise ZeroDivisionError("no cake for " + msisdn)

    def exits(self, msisdn):
        sys.exit(1)
"""


@pytest.fixture
def gateway():
    with RawGateway() as gateway:
        yield gateway


@pytest.fixture
def clumsy(gateway, install):
    richmond = install(workers=CLUMSY, ssmi=gateway.section)
    (richmond.site / "clumsy.py").write_text(CLUMSY_SOURCE)
    return richmond.start()


@pytest.fixture
def nobody(gateway, install):
    """A class without processes: the test itself is the worker, in another language."""
    return install(workers=NOBODY, ssmi=gateway.section).start()


def counters(richmond):
    return richmond.status().counters


def counted(richmond, **wanted):
    """Wait for these counters; `__` stands for `:` and `_` for `-`."""
    names = {name.replace("__", ":").replace("_", "-"): count for name, count in wanted.items()}
    richmond.wait(f"{names}", lambda s: all(s.counters.get(name, 0) == count for name, count in names.items()))


def opens(gateway, msisdn):
    reply = f"SSMI,110,{msisdn},2,go on"
    before = gateway.lines.count(reply)  # of an earlier session
    gateway.send(f"SSMI,110,{msisdn},1,0,*120*1#")
    until("the reply to what was dialled", lambda: gateway.lines.count(reply) > before)


# From the gateway.


def test_garbage_half_lines_and_floods_are_counted_and_cost_no_link_and_no_memory(clumsy, gateway):
    opens(gateway, "27830000001")
    before = high_water(clumsy.process.pid)
    gateway.send(
        "Garbage", "", "SSMI", "SSMI,", "SSMI,x,y", "SSMI,110", "SSMI,110,27830000001,2", "SSMI,101,7", "ssmi,99"
    )
    gateway.send_raw(b"\0\xff\r\n\r\nSSMI,110,27830000001,1,0")  # the last is a half line
    gateway.send_raw(b"\r" + 5_000_000 * b"x" + b"\r")
    gateway.send_raw(100_000 * b"Garbage 27831234567\r" + b"SSMI,110,278300")
    gateway.send_raw(b"00001,2,0,carriage_return\r")
    gateway.got("SSMI,110,27830000001,2,one")
    counted(clumsy, ignored__no_header=100_003, ignored__line_too_long=1, ignored__too_few_fields=3)
    seen = counters(clumsy)
    assert seen["ignored"] == sum(count for name, count in seen.items() if name.startswith("ignored:"))
    assert high_water(clumsy.process.pid) - before < 30_000_000
    assert len(gateway.logins) == 1, "the link was kept"
    log = clumsy.log_text()
    assert 1 <= log.count("Garbage") <= 3, "once a burst, not once a line"
    assert "27831234567" not in log


def high_water(pid):
    """Bytes that the process ever had in memory at once."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_sms_reports_and_unknown_lines_are_heard_as_events(nobody, gateway):
    with Rabbit(nobody) as rabbit:
        queue, reports = rabbit.events(), rabbit.events("ssmi.delivery-report")
        lines = {
            "SSMI,103,27830000001,17,Hello, you": {"kind": "sms", "message": "Hello, you", "sequence": "17"},
            "SSMI,104,27830000001,12345,0": {"kind": "delivery-report", "ret_code": "0", "status": "delivered"},
            "SSMI,107,27830000001,17,31022,WIN, car": {"kind": "premium-sms", "destination": "31022"},
            "SSMI,100,27830000001,12345": {"kind": "sequence", "sequence": "12345"},
            "SSMI,105,free, text": {"kind": "free-form", "text": "free, text"},
            "SSMI,113,27830000001,17,foo": {
                "kind": "unknown",
                "command": "113",
                "fields": ["27830000001", "17", "foo"],
            },
            "SSMI,110,27830000001,9,0,hm": {"kind": "unknown", "command": "110"},
            "SSMI,600,2,27830000001,655019999,65501": {"kind": "imsi-reply", "imsi": "655019999", "spid": "65501"},
        }
        for line, facts in lines.items():
            gateway.send(line)
            event = json.loads(rabbit.take(queue)[1])
            assert facts.items() <= event.items(), line
        assert json.loads(rabbit.take(reports)[1])["kind"] == "delivery-report"
    counted(nobody, published__sms=1, published__unknown=2)
    gateway.send("SSMI,103,27830000001,18,nobody listens")
    gateway.send("SSMI,105,nobody listens")
    counted(nobody, dead_lettered=1, unbound=1)
    assert nobody.run("status").returncode == 0


# From workers.


def test_a_workers_reply_is_cleaned_before_it_is_sent(clumsy, gateway):
    opens(gateway, "27830000001")
    gateway.send("SSMI,110,27830000001,2,0,carriage_return", "SSMI,110,27830000001,2,0,odd_letters")
    assert gateway.got("SSMI,110,27830000001,2,one") == "SSMI,110,27830000001,2,one\nSSMI,99\ntwo\n"
    gateway.got('SSMI,110,27830000001,2,"Lódz" ? môre EUR5 ?')
    counted(clumsy, replaced_characters=7)
    assert not [line for line in gateway.lines if line.startswith("SSMI,99")]


@pytest.mark.parametrize("utf8", [False, True], ids=["latin-1", "utf-8"])
def test_what_a_worker_gets_wrong_goes_to_the_dead_letters_and_not_to_the_wire(gateway, install, utf8):
    encoding = "encoding = utf-8\n" if utf8 else ""
    clumsy = install(workers=CLUMSY, ssmi=gateway.section + encoding)
    (clumsy.site / "clumsy.py").write_text(CLUMSY_SOURCE)
    clumsy.start()
    pid = clumsy.slot("Clumsy:0").pid
    apology = "Kom môre terug, asseblief".encode("utf-8" if utf8 else "latin-1").decode("latin-1")
    wrong = {  # what the handler does -> words of the exception
        "no_keys": "missing required field `message`",
        "int_type": "Expected `str`, got `int` - at `$.ussd_type`",
        "int_msisdn": "Expected `str`, got `int` - at `$.msisdn`",
        "lone_surrogate": "surrogate",
        "raises": "ZeroDivisionError: no cake",
        "exits": "SystemExit",
    }
    refused = {"type_one": "bad-ussd-type", "type_nine": "bad-ussd-type", "comma": "comma", "injection": "line-break"}
    with Rabbit(clumsy) as rabbit:
        for number, (does, words) in enumerate(wrong.items()):
            msisdn = f"2783000000{number}"
            opens(gateway, msisdn)
            gateway.send(f"SSMI,110,{msisdn},2,0,{does}")
            gateway.got(f"SSMI,110,{msisdn},3,{apology}")
            headers, body = rabbit.dead()
            assert words in headers["x-richmond-exception"], does
            assert headers["x-richmond-reason"] == "handler-failed"
            assert json.loads(body)["message"] == does
        for number, (does, reason) in enumerate(refused.items()):
            msisdn = f"2783000010{number}"
            opens(gateway, msisdn)
            gateway.send(f"SSMI,110,{msisdn},2,0,{does}")
            headers, body = rabbit.dead()
            assert headers["x-richmond-reason"] == reason, does
            assert json.loads(body)["message"] == "hello"
    assert not [line for line in gateway.lines if "hello" in line or line.startswith("SSMI,99")]
    counted(clumsy, refused__bad_ussd_type=2, refused__comma=1, refused__line_break=1, refused=4)
    assert clumsy.slot("Clumsy:0").pid == pid, "the worker lives"
    assert clumsy.slot("Clumsy:0").failed == len(wrong)
    assert len(gateway.logins) == 1


def test_a_handler_that_raises_costs_one_message_and_says_all_about_it(clumsy, gateway):
    opens(gateway, "27830000001")
    gateway.send("SSMI,110,27830000001,2,0,raises")
    gateway.got("SSMI,110,27830000001,3,Kom môre terug, asseblief")
    with Rabbit(clumsy) as rabbit:
        headers, body = rabbit.dead()
    assert headers["x-richmond-worker"] == "Clumsy"
    assert headers["x-richmond-queue"] == clumsy.settings.amqp.receive_queue
    assert headers["x-richmond-exception"].startswith("ZeroDivisionError: no cake")
    assert datetime.now(UTC) - datetime.fromisoformat(headers["x-richmond-time"]) < timedelta(minutes=5)
    assert {"msisdn": "27830000001", "message": "raises", "ussd_type": "2"}.items() <= json.loads(body).items()
    log = clumsy.log_text()
    assert "Traceback" in log
    assert "in raises" in log
    slot = clumsy.slot("Clumsy:0")
    assert (slot.state, slot.failed) == ("RUNNING", 1)
    assert "ZeroDivisionError" in slot.traceback + slot.last_error
    opens(gateway, "27830000001")


def test_a_reply_too_late_or_too_often_never_reaches_the_next_session(clumsy, gateway):
    with Rabbit(clumsy) as rabbit:
        opens(gateway, "27830000001")
        gateway.send("SSMI,110,27830000001,2,0,twice")
        gateway.got("SSMI,110,27830000001,3,bye")
        headers, body = rabbit.dead()
        assert (headers["x-richmond-reason"], json.loads(body)["message"]) == ("session-over", "one thing more")
        opens(gateway, "27830000001")
        gateway.send("SSMI,110,27830000001,3,0,hangs up")
        headers, body = rabbit.dead()
        assert (headers["x-richmond-reason"], json.loads(body)["message"]) == ("session-over", "are you there?")
    counted(clumsy, refused__session_over=2)
    assert not [line for line in gateway.lines if "one thing more" in line or "are you there" in line]


# On the queues.


def test_a_plain_amqp_client_is_a_worker_in_another_language(nobody, gateway):
    with Rabbit(nobody) as rabbit:
        queue = nobody.settings.amqp.receive_queue
        gateway.send("SSMI,110,27830000001,1,2,*120*1#")
        message = json.loads(rabbit.take(queue)[1])
        assert {"msisdn": "27830000001", "ussd_type": "1", "ussd_phase": "2", "message": "*120*1#"}.items() <= (
            message.items()
        )
        assert all(isinstance(message[key], str) for key in ("msisdn", "ussd_type", "ussd_phase", "message"))
        reply = {"msisdn": "27830000001", "message": "Café?", "ussd_type": "2"}
        rabbit.send(reply)  # as in 2010: without a token it goes to the open session
        gateway.got("SSMI,110,27830000001,2,Café?")
        rabbit.send(reply | {"message": "with token", "session": message["session"], "an": ["extra", "key"]})
        gateway.got("SSMI,110,27830000001,2,with token")
        rabbit.send({"msisdn": "27830000001", "message": "bye", "ussd_type": "3"})
        gateway.got("SSMI,110,27830000001,3,bye")
        rabbit.send(reply | {"message": "late"})
        headers, body = rabbit.dead()
        assert (headers["x-richmond-reason"], json.loads(body)["message"]) == ("no-session", "late")
        rabbit.send(reply | {"message": "later", "session": message["session"]})
        assert rabbit.dead()[0]["x-richmond-reason"] == "session-over"


def test_nonsense_on_the_send_queue_is_dead_lettered_with_its_reason(nobody, gateway):
    bodies = [
        (b"", "invalid-json"),
        (b"{not json", "invalid-json"),
        (b'{"msisdn": "27830000001", "message": "\xff\xfe", "ussd_type": "2"}', "invalid-json"),
        (b'{"msisdn": "27830000001", "message": "\\ud83d", "ussd_type": "2"}', "invalid-json"),
        (b"[]", "invalid-message"),
        (b"null", "invalid-message"),
        (b'{"msisdn": "27830000001"}', "invalid-message"),
        (b'{"msisdn": 27830000001, "message": "x", "ussd_type": "2"}', "invalid-message"),
        (b'{"msisdn": "27830000001", "message": null, "ussd_type": "2"}', "invalid-message"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": 2}', "invalid-message"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "1"}', "bad-ussd-type"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "4"}', "bad-ussd-type"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "9"}', "bad-ussd-type"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": ""}', "bad-ussd-type"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "2,x\\rSSMI,99\\r"}', "bad-ussd-type"),
        (b'{"msisdn": "", "message": "x", "ussd_type": "6"}', "no-msisdn"),
        (b'{"msisdn": "2783,1", "message": "x", "ussd_type": "6"}', "comma"),
        (b'{"msisdn": "2783\\rSSMI,99\\r", "message": "x", "ussd_type": "6"}', "line-break"),
        (b'{"msisdn": "2783\\n", "message": "x", "ussd_type": "6"}', "line-break"),
        (b'{"msisdn": "2783\\u20ac", "message": "x", "ussd_type": "6"}', "not-encodable"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "2", "genfields": ["a:b"]}', "colon"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "2", "genfields": ["\\r"]}', "line-break"),
        (20_000 * b"[", "invalid-message"),
        (b'{"msisdn": "27830000001", "message": "x", "ussd_type": "2", "deep": ' + 20_000 * b"[", "invalid-json"),
    ]
    gateway.send("SSMI,110,27830000001,1,2,*120*1#")
    with Rabbit(nobody) as rabbit:
        rabbit.take(nobody.settings.amqp.receive_queue)
        for body, _ in bodies:
            rabbit.send(body)
        for body, reason in bodies:
            headers, dead = rabbit.dead()
            assert dead == body
            assert headers["x-richmond-reason"] == reason, body
            assert headers["x-richmond-queue"] == nobody.settings.amqp.send_queue
            assert headers["x-richmond-time"]
        rabbit.send({"msisdn": "27830000001", "message": "still here", "ussd_type": "2"})
    gateway.got("SSMI,110,27830000001,2,still here")
    assert gateway.lines == ["SSMI,110,27830000001,2,still here"]
    counted(nobody, refused=len(bodies), refused__bad_ussd_type=5, sent=1)


def test_nonsense_on_a_receive_queue_is_dead_lettered_with_its_reason(clumsy, gateway):
    pid = clumsy.slot("Clumsy:0").pid
    good = {"msisdn": "27830000001", "ussd_type": "1", "ussd_phase": "0", "message": "*1#"}
    bodies = [
        (b"\xff{", "invalid-json"),
        (b'{"deep": ' + 20_000 * b"[", "invalid-json"),
        (b"[]", "invalid-message"),
        (b"{}", "invalid-message"),
        (json.dumps(good | {"msisdn": 1}).encode(), "invalid-message"),
        (json.dumps(good | {"ussd_type": "9"}).encode(), "unknown-ussd-type"),
    ]
    with Rabbit(clumsy) as rabbit:
        for body, reason in bodies:
            rabbit.publish(rabbit.amqp.receive_routing_key, body)
            headers, dead = rabbit.dead()
            assert dead == body
            assert headers["x-richmond-reason"] == reason
            assert headers["x-richmond-worker"] == "Clumsy"
    opens(gateway, "27830000001")
    assert clumsy.slot("Clumsy:0").pid == pid


# Privacy.

SECRETS = ("gateway-secret", "amqp-secret", "phone-secret")


def test_no_number_no_text_and_no_password_gets_into_the_log_or_elsewhere(gateway, install):
    gateway.password = "gateway-secret"
    richmond = install(workers=CLUMSY, ssmi=gateway.section, simulator="password = phone-secret\n")
    (richmond.site / "clumsy.py").write_text(CLUMSY_SOURCE)
    richmond.start()
    talk(richmond, gateway)
    secrets = ("gateway-secret", "phone-secret", richmond.node.password)
    status = richmond.run("status", "--json").stdout + richmond.run("status").stdout
    check = richmond.run("check")
    assert check.returncode == 0
    for secret in secrets:
        assert secret not in check.stdout
        assert secret not in status
        assert secret not in richmond.output()
        for pid in richmond.processes():
            for file in ("cmdline", "environ", "comm"):
                assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
    for private in ("27831112222", "a secret answer", "27835556666"):
        assert private not in richmond.output()
        assert private not in status


def test_log_messages_shows_numbers_and_texts_to_a_developer(gateway, install):
    richmond = install(workers=CLUMSY, ssmi=gateway.section, richmond="log-messages = yes\n")
    (richmond.site / "clumsy.py").write_text(CLUMSY_SOURCE)
    richmond.start()
    talk(richmond, gateway)
    log = richmond.log_text()
    assert "27831112222" in log
    assert "a secret answer" in log


def talk(richmond, gateway):
    """All that may tempt somebody to log: a session, failures, refusals, nonsense."""
    opens(gateway, "27831112222")
    with Rabbit(richmond) as rabbit:
        gateway.send("SSMI,110,27831112222,2,0,twice")
        rabbit.dead()
        opens(gateway, "27831112222")
        gateway.send("SSMI,110,27831112222,2,0,a secret answer")  # Clumsy has no such method: it raises
        rabbit.dead()
        rabbit.send({"msisdn": "27835556666,", "message": "a secret answer", "ussd_type": "6"})
        rabbit.dead()
        rabbit.publish(rabbit.amqp.receive_routing_key, b'{"msisdn": 27835556666, "message": "a secret answer"}')
        rabbit.dead()
    gateway.send("SSMI,110,27831112222,a secret answer", "27831112222 is no line")
    counted(richmond, ignored=2)
    until("the end of it in the log", lambda: "no-header" in richmond.log_text())
