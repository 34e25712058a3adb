"""The broker's decisions: what becomes of an event and of a reply."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from test_link import SETTINGS as SSMI
from test_routing import AMQP, worker

from richmond import messages
from richmond.broker_inbound import KINDS, USSD_TYPES, Apologise, Drop, Inbound, Post, Publish, Turn
from richmond.broker_refusal import Refused, dead_letter_headers
from richmond.broker_replies import Line, Replies
from richmond.settings import RabbitmqSettings, Settings
from richmond.sms_store import Lookup, Sent
from richmond.ssmi import codec
from richmond.ssmi.codec import (
    DeliveryReport,
    ExtendedUssd,
    ImsiReply,
    MoSms,
    PremiumBinaryMo,
    PremiumMo,
    Seq,
    Unknown,
    Ussd,
)
from richmond.ssmi.sessions import SessionTable

ANN = "27831112222"
SORRY = Apologise("", b"SSMI,110,27831112222,3,Sorry\r")


def settings(*workers, trace=False) -> Settings:
    return Settings(
        path=None,
        richmond=SimpleNamespace(trace=trace),
        accounts=(SSMI,),
        amqp=AMQP,
        rabbitmq=RabbitmqSettings(False, 0, 1.0),
        simulator=None,
        workers=workers,
    )


class Broker:
    def __init__(self, *workers):
        numbers = count(1)
        self.sessions = SessionTable(120.0, lambda: f"t{next(numbers)}")
        self.replies = Replies(settings(*workers), SSMI, self.sessions)
        self.inbound = Inbound(settings(*workers), SSMI, self.sessions, lambda: f"m{next(numbers)}")

    def event(self, event, *, away=False, full=False, match=None):
        if isinstance(event, Ussd | ExtendedUssd) and event.ussd_type in USSD_TYPES:
            return self.inbound.ussd(event, 10.0, 1700000000.5, away=away, full=full)
        return self.inbound.post(event, 1700000000.5, match)

    def reply(self, **keys):
        body = json.dumps({"msisdn": ANN, "message": "x", "ussd_type": "2", **keys}).encode()
        return self.replies.decide(body, 10.0)


@pytest.fixture
def broker():
    return Broker(worker("Echo"))


def new(msisdn=ANN):
    return Ussd(msisdn, "1", "0", "*156#")


def test_a_new_session_is_published_with_token_code_and_id(broker):
    outcome = broker.event(new())
    assert isinstance(outcome, Publish)
    assert outcome.routing_key == "ssmi.receive"
    facts = json.loads(outcome.body)
    assert facts["session"] == outcome.token == "t1"
    assert (facts["code"], facts["id"], facts["received"]) == ("*156#", outcome.id, 1700000000.5)
    assert facts["account"] == "default"
    assert "genfields" not in facts
    assert "rest" not in facts


def test_an_extended_message_carries_its_genfields(broker):
    outcome = broker.event(ExtendedUssd(ANN, "1", "0", ("imsi", "", "", "", ""), "*156#"))
    assert json.loads(outcome.body)["genfields"] == ["imsi", "", "", "", ""]


def test_the_end_of_a_session_that_nobody_knows_is_still_published(broker):
    outcome = broker.event(Ussd(ANN, "4", "0", "Timeout"))
    assert isinstance(outcome, Publish)
    assert "session" not in json.loads(outcome.body)


@pytest.mark.parametrize(
    ("ussd_type", "away", "full", "expected"),
    [
        ("1", False, False, Publish),
        ("2", False, False, Publish),
        ("1", True, False, "rabbitmq-away"),
        ("2", True, False, Publish),
        ("3", True, False, Publish),
        ("1", True, True, "buffer-full"),
        ("2", True, True, "buffer-full"),
        ("3", True, True, Drop("buffer-full")),
        ("4", True, True, Drop("buffer-full")),
    ],
)
def test_what_rabbitmqs_absence_means_for_each_type(broker, ussd_type, away, full, expected):
    outcome = broker.event(Ussd(ANN, ussd_type, "0", "*156#"), away=away, full=full)
    if isinstance(expected, str):
        assert outcome == Apologise(expected, SORRY.line)
        assert len(broker.sessions) == 0
    elif expected is Publish:
        assert isinstance(outcome, Publish)
    else:
        assert outcome == expected


@pytest.mark.parametrize(("ussd_type", "expected"), [("1", Apologise), ("2", Apologise), ("3", Drop), ("4", Drop)])
def test_where_no_class_takes_a_code_who_waits_gets_the_apology(ussd_type, expected):
    outcome = Broker(worker("Foo", "*1#")).event(Ussd(ANN, ussd_type, "0", "*156#"))
    assert isinstance(outcome, expected)
    assert outcome.reason == "no-route"


def test_a_number_that_no_line_can_carry_back_gets_no_apology(broker):
    assert broker.event(new("278\n3"), away=True) == Drop("rabbitmq-away")


def test_an_unroutable_message_gets_the_apology_while_its_session_is_open(broker):
    message = broker.event(new())
    assert broker.inbound.give_up(message, "unroutable", 10.0) == Apologise("unroutable", SORRY.line)
    assert broker.inbound.give_up(message, "unroutable", 10.0) == Drop("unroutable")


def test_an_unroutable_end_is_only_counted(broker):
    broker.event(new())
    message = broker.event(Ussd(ANN, "3", "0", "Done"))
    assert broker.inbound.give_up(message, "unroutable", 10.0) == Drop("unroutable")


@pytest.mark.parametrize("cls", KINDS)
def test_every_other_event_is_published_under_its_kind(broker, cls):
    values = {name: ("a", "b") if name == "fields" else f"the {name}" for name in getattr(cls, "__struct_fields__", ())}
    post = broker.event(cls(**values))
    facts = json.loads(post.body)
    messages.decode_inbound(post.body)
    assert (post.exchange, post.routing_key) == ("richmond.events", f"ssmi.{KINDS[cls]}")
    assert facts.pop("kind") == post.kind == KINDS[cls]
    assert facts.pop("id") == post.id == "m1"
    assert facts.pop("received") == 1700000000.5
    assert facts.pop("account") == "default"
    if cls is Unknown:
        assert facts == {"command": "the id", "fields": ["a", "b"]}
    else:
        assert facts.pop("status", "unknown") == "unknown"
        assert facts == values


WIN, JOIN, REST = worker("Win", keywords=("WIN",)), worker("Join", short_codes=("31022",)), worker("Rest", sms=True)


@pytest.mark.parametrize(
    ("event", "workers", "queue"),
    [
        (MoSms(ANN, "1", "win a car"), (WIN, JOIN, REST), "ssmi.receive.Win"),
        (PremiumMo(ANN, "1", "31022", "hello"), (WIN, JOIN, REST), "ssmi.receive.Join"),
        (PremiumBinaryMo(ANN, "1", "0", "0", "31022", "00"), (WIN, JOIN, REST), "ssmi.receive.Join"),
        (MoSms(ANN, "1", "hello"), (WIN, JOIN, REST), "ssmi.receive.Rest"),
        (MoSms(ANN, "1", "hello"), (WIN, JOIN), None),
        (DeliveryReport(ANN, "1", "0"), (WIN, JOIN, REST), "ssmi.receive.Rest"),
        (DeliveryReport(ANN, "1", "0"), (WIN, JOIN), None),
        (Seq(ANN, "1"), (WIN, JOIN, REST), None),
    ],
)
def test_what_a_class_wants_goes_to_its_queue_and_the_rest_to_the_events(event, workers, queue):
    post = Broker(*workers).event(event)
    exchange, key = ("richmond", queue) if queue else ("richmond.events", f"ssmi.{KINDS[type(event)]}")
    assert (post.exchange, post.routing_key) == (exchange, key)


REPORT = DeliveryReport(ANN, "501", "2")
LOOKUP = Lookup("one", "default", ANN, "ssmi.receive.Shop", 0.0)
ONE = Sent("one", 1, 1, "default", ANN, "ssmi.receive.Shop", 0.0, "501")


@pytest.mark.parametrize(
    ("event", "match", "facts"),
    [
        (REPORT, ONE, {"sms_id": "one", "status": "sim-full"}),
        (REPORT, replace(ONE, part=2, parts=3), {"sms_id": "one", "part": 2, "parts": 3}),
        (Seq(ANN, "501"), replace(ONE, part=2, parts=3), {"sms_id": "one"}),
        (
            ImsiReply("7", ANN, "655", "6"),
            Lookup("one", "default", ANN, "ssmi.receive.Shop", 0.0),
            {"lookup_id": "one"},
        ),
    ],
)
def test_what_the_gateway_says_of_something_names_it_and_goes_to_who_sent_it(event, match, facts):
    post = Broker(REST).event(event, match=match)
    assert (post.exchange, post.routing_key) == ("richmond", "ssmi.receive.Shop")
    said = json.loads(post.body)
    assert {key: said[key] for key in facts} == facts
    assert said.keys() & {"part", "parts"} <= facts.keys()
    messages.decode_inbound(post.body)
    anonymous = Broker(REST).event(event, match=replace(match, report_to=None))
    assert anonymous.routing_key == ("ssmi.receive.Rest" if event is REPORT else f"ssmi.{anonymous.kind}")


@pytest.mark.parametrize("event", [new(), MoSms(ANN, "1", "hello")])
def test_where_messages_are_traced_a_worker_is_asked_for_its_times(event):
    broker = Broker(worker("Echo"), REST)
    assert "trace" not in json.loads(broker.event(event).body)
    broker.inbound.configure(settings(worker("Echo"), REST, trace=True), SSMI)
    said = json.loads(broker.event(event).body)
    assert said["trace"] is True
    assert said["account"] == "default"


def test_what_was_dialled_beyond_a_prefix_is_told_when_the_session_begins(broker):
    broker = Broker(worker("Foo", "*120*663*"))
    outcome = broker.event(Ussd(ANN, "1", "0", "*120*663*1*4#"))
    assert (outcome.routing_key, json.loads(outcome.body)["rest"]) == ("ssmi.receive.Foo", "1*4")
    outcome = broker.event(Ussd(ANN, "2", "0", "5"))
    assert outcome.routing_key == "ssmi.receive.Foo"
    assert "rest" not in json.loads(outcome.body)


def test_every_event_of_the_codec_has_a_kind_or_a_handler():
    handled = {codec.Ussd, codec.ExtendedUssd, codec.Ack, codec.Nack, codec.RemoteLogout, codec.Ignored}
    assert set(codec.Event.__args__) == set(KINDS) | handled


def test_a_ussd_type_that_nobody_described_is_unknown(broker):
    outcome = broker.event(ExtendedUssd(ANN, "9", "0", ("",) * 5, "x"))
    assert isinstance(outcome, Post)
    assert json.loads(outcome.body)["command"] == "111"
    assert len(broker.sessions) == 0


def test_a_reply_becomes_a_line_and_ends_its_session(broker):
    broker.event(new())
    line = broker.reply(message="bye", ussd_type="3", session="t1")
    assert isinstance(line, Line)
    assert line.data == b"SSMI,110,27831112222,3,bye\r"
    assert line.ended is not None
    assert broker.reply(session="t1") == Refused("session-over", "the session that it answers is not open any more")


def test_a_reply_of_nothing_but_brackets_is_refused(broker):
    body = b'{"msisdn": "1", "message": "x", "ussd_type": "6", "z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refused = broker.replies.decide(body, 0.0)
    assert refused == Refused("invalid-json", "nested too deeply")


def test_a_refused_reply_leaves_its_session_open(broker):
    broker.event(new())
    assert broker.reply(ussd_type="4", session="t1").reason == "bad-ussd-type"
    assert broker.reply(session="t1").data == b"SSMI,110,27831112222,2,x\r"


@pytest.mark.parametrize(
    ("keys", "data"),
    [
        ({"ussd_type": "6"}, b"SSMI,110,27831112222,6,x\r"),
        ({"ussd_type": "1", "genfields": []}, b"SSMI,120,27831112222,1,::::,x\r"),
    ],
)
def test_what_begins_a_session_needs_none(broker, keys, data):
    assert broker.reply(**keys).data == data
    assert len(broker.sessions) == 1


@pytest.mark.parametrize("keys", [{"ussd_type": "6", "genfields": []}, {"ussd_type": "1"}, {"ussd_type": "2"}])
def test_what_begins_none_needs_one(broker, keys):
    assert broker.reply(**keys).reason == "no-session"


def test_long_and_strange_texts_are_noted(broker):
    broker.event(new())
    line = broker.reply(message="word " * 40)
    assert line.too_long
    assert line.data.endswith(b" word word...\r")
    assert len(line.data) <= len(b"SSMI,110,27831112222,2,\r") + 182
    assert broker.reply(message="x" * 183, long="refuse").reason == "too-long"
    assert broker.reply(message="\N{SNOWMAN}\N{SNOWMAN}").replaced == 2


LONG = "\n".join(f"{number}. a line of the menu" for number in range(1, 21))


def turned(broker, option="#"):
    outcome = broker.event(Ussd(ANN, "2", "0", option))
    return outcome.line.decode() if isinstance(outcome, Turn) else outcome


def test_a_long_text_in_pages_is_read_on_with_the_more_option(broker):
    broker.event(new())
    first = broker.reply(message=LONG, long="pages").data.decode()
    assert first.startswith("SSMI,110,27831112222,2,1. a line")
    assert first.endswith("\n# More\r")
    second = turned(broker)
    assert second.startswith("SSMI,110,27831112222,2,")
    third = turned(broker, " # ")
    assert third.endswith("20. a line of the menu\r")
    assert isinstance(turned(broker), Publish), "there is no more: the worker gets it"


def test_the_last_page_of_a_final_reply_ends_the_session(broker):
    broker.event(new())
    lines = [
        broker.reply(message=LONG, long="pages", ussd_type="3", session="t1").data.decode(),
        turned(broker),
        turned(broker),
    ]
    assert [line.split(",")[3] for line in lines] == ["2", "2", "3"]


def test_an_extended_reply_has_its_genfields_on_every_page(broker):
    broker.event(new())
    lines = [
        broker.reply(message=LONG, long="pages", genfields=["a", "b"]).data.decode(),
        turned(broker),
        turned(broker),
    ]
    assert {line[: line.index(":::,") + 4] for line in lines} == {"SSMI,120,27831112222,2,a:b:::,"}


def test_any_other_answer_goes_to_the_worker_and_drops_the_rest(broker):
    broker.event(new())
    broker.reply(message=LONG, long="pages")
    assert isinstance(turned(broker, "7"), Publish)
    assert isinstance(turned(broker), Publish)


def test_a_push_in_pages_begins_with_its_type_and_goes_on_as_a_dialogue(broker):
    first = broker.reply(message=LONG, long="pages", ussd_type="6").data.decode()
    assert [line.split(",")[3] for line in (first, turned(broker), turned(broker))] == ["6", "2", "2"]


def test_each_class_has_a_more_option_of_its_own():
    broker = Broker(worker("Foo", "*1#", more_option="M", more_text="M for more"), worker("Echo"))
    broker.event(Ussd(ANN, "1", "0", "*1#"))
    assert b"\nM for more\r" in broker.reply(message=LONG, long="pages").data
    assert isinstance(turned(broker, "#"), Publish)
    broker.reply(message=LONG, long="pages")
    assert turned(broker, "m").endswith("\nM for more\r")


def test_a_redirect_is_neither_cut_nor_paged(broker):
    broker.event(new())
    code = f"*120*{'1' * 200}#"
    assert code.encode() in broker.reply(message=code, ussd_type="5", long="pages").data


def test_the_headers_of_a_dead_letter_name_what_is_known():
    refused = Refused("comma", "a field other than the last holds a comma")
    headers = dead_letter_headers(refused, "richmond.send", {"x-richmond-worker": "EchoWorker", "other": 1}, 0.0)
    assert headers == {
        "x-richmond-reason": "comma",
        "x-richmond-exception": "a field other than the last holds a comma",
        "x-richmond-time": "1970-01-01T00:00:00+00:00",
        "x-richmond-queue": "richmond.send",
        "x-richmond-worker": "EchoWorker",
    }
    assert "x-richmond-worker" not in dead_letter_headers(refused, "q", {"x-richmond-worker": 7}, 0.0)
    assert dead_letter_headers(refused, "q", {}, 0.0, "Echo")["x-richmond-worker"] == "Echo"


@pytest.mark.parametrize(
    ("body", "worker"),
    [
        (b'{"worker": "Echo"}', "Echo"),
        (b"{}", ""),
        (b'{"worker": 7}', ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b"[" * 5000, ""),
    ],
)
def test_who_wrote_a_message_is_known_if_it_says_so(body, worker):
    assert messages.writer(body) == worker
