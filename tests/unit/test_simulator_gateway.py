"""What the simulator answers to each line of an SSMI client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.simulator import wire
from richmond.simulator.gateway import Close, Gateway, Send
from richmond.simulator.subscribers import Refused, ToPhone
from richmond.simulator.wire import Begin, End, Menu, Message
from richmond.ssmi.codec import (
    Ack,
    BinaryMo,
    CommandDecoder,
    DeliveryReport,
    ExtendedUssd,
    ImsiReply,
    MoSms,
    Nack,
    PremiumBinaryMo,
    PremiumMo,
    RemoteLogout,
    Seq,
    Ussd,
    encode,
)

PHONE = "27831112222"
LOGIN = "SSMI,1,richmond,pa,ss"


class Client:
    """A connection to a gateway without sockets."""

    def __init__(self, gateway, number=1, ip="10.0.0.1"):
        self.gateway = gateway
        self.number = number
        self.decoder = CommandDecoder("iso-8859-1", 1000)
        gateway.connected(number, ip, 0.0)

    def says(self, *lines, now=0.0):
        done = []
        for line in lines:
            for command in self.decoder.feed(line.encode("iso-8859-1") + b"\r"):
                done += self.gateway.received(self.number, command, now)
        return done

    def gets(self, *lines, now=0.0):
        """The lines that come back, when nothing else happens."""
        done = self.says(*lines, now=now)
        assert all(isinstance(action, Send) and action.connection == self.number for action in done)
        return [action.line for action in done]


def make_gateway(accounts=None, *, extended=False, timeout_s=20.0):
    return Gateway(accounts or {"richmond": "pa,ss"}, session_timeout_s=timeout_s, extended=extended)


@pytest.fixture
def gateway():
    return make_gateway()


@pytest.fixture
def client(gateway):
    client = Client(gateway)
    assert client.gets(LOGIN) == [Ack("1")]
    return client


# ---- the account ----


@pytest.mark.parametrize("line", ["SSMI,1,richmond,wrong", "SSMI,1,other,pa,ss", "SSMI,1,,"])
def test_a_wrong_login_is_refused_and_the_connection_closed(gateway, line):
    assert Client(gateway).says(line) == [Send(1, Nack("1")), Close(1)]
    assert gateway.logged_in == {}


@pytest.mark.parametrize("line", ["SSMI,3", "SSMI,110,27831112222,2,hi", "SSMI,777", "SSMI,99"])
def test_nothing_but_a_login_is_accepted_first(gateway, line):
    assert Client(gateway).says(line, LOGIN) == [Send(1, Nack("1")), Close(1)]


def test_garbage_before_the_login_is_refused_and_the_login_still_taken(gateway):
    assert Client(gateway).gets("GET / HTTP/1.1", LOGIN) == [Nack("3"), Ack("1")]


def test_a_second_login_pushes_the_first_out_with_its_address(gateway, client):
    second = Client(gateway, 2, "10.0.0.2")
    assert second.says(LOGIN) == [Send(1, RemoteLogout("10.0.0.2")), Close(1), Send(2, Ack("1"))]
    assert client.says("SSMI,3") == []
    assert second.gets("SSMI,3") == [Ack("2")]
    gateway.disconnected(1)
    assert gateway.logged_in == {"richmond": 2}


def test_a_refused_second_login_leaves_the_first_alone(gateway, client):
    Client(gateway, 2).says("SSMI,1,richmond,wrong")
    assert client.gets("SSMI,3") == [Ack("2")]


def test_a_client_may_log_in_again_on_its_own_connection(client):
    assert client.gets(LOGIN, "SSMI,3") == [Ack("1"), Ack("2")]


def test_logout_closes_and_what_follows_is_not_heard(gateway, client):
    assert client.says("SSMI,3", "SSMI,99", "SSMI,3") == [Send(1, Ack("2")), Close(1)]
    assert gateway.logged_in == {}


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("SSMI,3", [Ack("2")]),
        ("SSMI,5", [Nack("2")]),
        ("SSMI,777,a,b", [Nack("2")]),
        ("", [Nack("3")]),
        ("Garbage", [Nack("3")]),
        ("ssmi,3", [Nack("3")]),
        ("SSMI,3,", [Nack("3")]),
        ("SSMI,110,27831112222,2", [Nack("3")]),
        ("SSMI,110,+27831112222,2,hi", [Nack("3")]),
        ("SSMI,110,27831112222,1,hi", [Nack("3")]),
        ("SSMI,110,27831112222,4,hi", [Nack("3")]),
        ("SSMI,110,27831112222,,hi", [Nack("3")]),
        ("SSMI,110,27831112222,23,hi", [Nack("3")]),
        ("SSMI,110,27831112222,5,no code", [Nack("3")]),
        ("SSMI,120,27831112222,5,:::,*1#", [Nack("3")]),
        ("SSMI,2,0,x,hi", [Nack("3")]),
        ("SSMI,2,soon,27831112222,hi", [Nack("3")]),
        ("SSMI,4,0,27831112222,0,0,6", [Nack("3")]),
        ("SSMI,4,0,27831112222,0,256,68", [Nack("3")]),
        ("SSMI,112,x,subject,http://foo/", [Nack("3")]),
        ("SSMI,600,1,27831112222,65,5", [Nack("3")]),
        ("SSMI,600,1\n,27831112222,", [Nack("3")]),
        ("SSMI,600,7,27831112222,", [ImsiReply("7", PHONE, "655017831112222", "65501")]),
        ("SSMI,600,7,27831112222,655019", [ImsiReply("7", PHONE, "655019", "65501")]),
        ("SSMI,110,27831112222,2,nobody dialled", []),
        ("SSMI,110,27831112222,3,nobody dialled", []),
        ("SSMI,110,27831112222,5,*1#", []),
        ("SSMI,120,27831112222,2,::::,nobody dialled", []),
    ],
)
def test_each_line_gets_its_answer_and_the_link_is_kept(client, line, answers):
    assert client.gets(line) == answers
    assert client.gets("SSMI,3") == [Ack("2")]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_a_client_sends_the_answers_can_be_encoded(chunks):
    client = Client(make_gateway())
    client.says(LOGIN)
    client.gateway.dial(PHONE, "*1#", 0.0)
    lines = [b"SSMI,", b"SSMI,110,27831112222,2,", b"SSMI,600,", b"SSMI,2,0,27831112222,", b"SSMI,4,0,27831112222,1,1,"]
    for number, chunk in enumerate(chunks):
        data = lines[number % len(lines)] + chunk + b"\r"
        for command in client.decoder.feed(data):
            for action in client.gateway.received(1, command, 0.0):
                if isinstance(action, Send):
                    assert encode(action.line, "iso-8859-1").endswith(b"\r")


# ---- sessions, seen by the client ----


def test_a_session_from_dialling_to_its_end(gateway, client):
    assert gateway.dial(PHONE, "*120*663#", 0.0) == [
        ToPhone(Begin(PHONE, "*120*663#")),
        Send(1, Ussd(PHONE, "1", "2", "*120*663#")),
    ]
    assert client.says("SSMI,110,27831112222,2,Hello, you\n1. more") == [
        ToPhone(Menu(PHONE, "Hello, you\n1. more", True))
    ]
    assert gateway.answer(PHONE, "1", 1.0) == [Send(1, Ussd(PHONE, "2", "2", "1"))]
    assert client.says("SSMI,110,27831112222,3,Bye") == [
        ToPhone(Menu(PHONE, "Bye", False)),
        ToPhone(End(PHONE, "application")),
    ]
    assert len(gateway.subscribers) == 0


def test_a_redirect_begins_a_new_session_with_the_new_code(gateway, client):
    gateway.dial(PHONE, "*1#", 0.0)
    assert client.says("SSMI,110,27831112222,5,*120*1#") == [
        ToPhone(End(PHONE, "redirect")),
        ToPhone(Begin(PHONE, "*120*1#")),
        Send(1, Ussd(PHONE, "1", "2", "*120*1#")),
    ]


@pytest.mark.parametrize("line", ["SSMI,110,27831112222,6,hello", "SSMI,120,27831112222,1,::::,hello"])
def test_a_push_opens_a_session_that_the_subscriber_can_answer(gateway, client, line):
    assert client.says(line) == [ToPhone(Begin(PHONE, "")), ToPhone(Menu(PHONE, "hello", True))]
    assert gateway.answer(PHONE, "1", 1.0) == [Send(1, Ussd(PHONE, "2", "2", "1"))]


def test_a_push_to_a_busy_subscriber_is_counted_and_dropped(gateway, client):
    gateway.dial(PHONE, "*1#", 0.0)
    assert client.says("SSMI,110,27831112222,6,hello") == []
    assert gateway.counters["pushes_while_busy"] == 1


def test_a_reply_without_a_session_is_counted_and_dropped(gateway, client):
    assert client.says("SSMI,110,27831112222,2,late") == []
    assert gateway.counters["replies_without_session"] == 1


def test_an_extended_account_gets_111_and_may_reply_with_120():
    gateway = make_gateway(extended=True)
    client = Client(gateway)
    client.says(LOGIN)
    genfields = ("655017831112222", "1", "1", "1", "")
    assert gateway.dial(PHONE, "*1#", 0.0)[1] == Send(1, ExtendedUssd(PHONE, "1", "2", genfields, "*1#"))
    assert client.says("SSMI,120,27831112222,2,655017831112222:1:1:1:,hi") == [ToPhone(Menu(PHONE, "hi", True))]
    assert gateway.hangup(PHONE)[0] == Send(1, ExtendedUssd(PHONE, "3", "2", genfields, "Done"))


@pytest.mark.parametrize(
    ("text", "too_long"), [("x" * 182, 0), ("x" * 183, 1), ("€" * 92, 1), ("ж" * 80, 0), ("ж" * 81, 1)]
)
def test_a_text_that_is_too_long_is_shown_and_counted(text, too_long):
    gateway = make_gateway()
    client = Client(gateway)
    client.decoder = CommandDecoder("utf-8", 1000)
    client.says(LOGIN)
    gateway.dial(PHONE, "*1#", 0.0)
    (command,) = client.decoder.feed(f"SSMI,110,{PHONE},2,{text}\r".encode())
    assert gateway.received(1, command, 0.0) == [ToPhone(Menu(PHONE, text, True))]
    assert gateway.counters["menus_too_long"] == too_long


def test_no_client_no_session(gateway):
    with pytest.raises(Refused, match="the gateway has no client logged in"):
        gateway.dial(PHONE, "*1#", 0.0)


def test_a_session_outlives_a_client_that_comes_back(gateway, client):
    gateway.dial(PHONE, "*1#", 0.0)
    client.says("SSMI,110,27831112222,2,menu")
    gateway.disconnected(1)
    Client(gateway, 2).says(LOGIN)
    assert gateway.answer(PHONE, "1", 1.0) == [Send(2, Ussd(PHONE, "2", "2", "1"))]


def test_an_answer_that_can_go_nowhere_ends_the_session(gateway, client):
    gateway.dial(PHONE, "*1#", 0.0)
    client.says("SSMI,110,27831112222,2,menu")
    gateway.disconnected(1)
    assert gateway.answer(PHONE, "1", 1.0) == [ToPhone(End(PHONE, "no-client"))]
    assert len(gateway.subscribers) == 0


def test_a_hang_up_without_a_client_is_a_line_lost(gateway, client):
    gateway.dial(PHONE, "*1#", 0.0)
    gateway.disconnected(1)
    assert gateway.hangup(PHONE) == [ToPhone(End(PHONE, "subscriber"))]
    assert gateway.counters["lines_lost"] == 1


# ---- SMS and the rest ----


def test_an_sms_gets_a_sequence_a_report_and_its_place_in_the_inbox(gateway, client):
    message = Message(PHONE, "text", text="foo, bar")
    assert client.says("SSMI,2,0,27831112222,foo, bar") == [
        Send(1, Seq(PHONE, "1")),
        Send(1, DeliveryReport(PHONE, "1", "0")),
        ToPhone(message),
    ]
    assert client.says("SSMI,2,5,27831112222,x")[0] == Send(1, Seq(PHONE, "2"))
    assert [m.text for m in gateway.subscribers.inbox(PHONE)] == ["foo, bar", "x"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "SSMI,4,0,27831112222,15,246,68656c6c6f",
            Message(PHONE, "binary", hex="68656c6c6f", pid="15", coding="246"),
        ),
        (
            "SSMI,112,27831112222,foo,http://bar/baz.gif,1",
            Message(PHONE, "wap-push", text="foo", url="http://bar/baz.gif,1"),
        ),
        (
            "SSMI,111,27831112222,subject,name.gif,68656c6c6f",
            Message(PHONE, "mms", text="subject", name="name.gif", hex="68656c6c6f"),
        ),
    ],
)
def test_other_messages_reach_the_inbox(gateway, client, line, message):
    assert client.says(line)[-1] == ToPhone(message)
    assert list(gateway.subscribers.inbox(PHONE)) == [message]


@pytest.mark.parametrize(
    ("sms", "line"),
    [
        (wire.SendSms(text="hi, you"), MoSms(PHONE, "1", "hi, you")),
        (wire.SendSms(text="WIN", to="31022"), PremiumMo(PHONE, "1", "31022", "WIN")),
        (wire.SendSms(hex="68", pid="15", coding="246"), BinaryMo(PHONE, "1", "15", "246", "68")),
        (wire.SendSms(hex="68", to="31022"), PremiumBinaryMo(PHONE, "1", "0", "0", "31022", "68")),
    ],
)
def test_an_sms_from_a_telephone_reaches_the_client(gateway, client, sms, line):
    assert gateway.sms(PHONE, sms) == [Send(1, line)]


@pytest.mark.parametrize(
    "sms",
    [
        wire.SendSms(text="x", to="WIN"),
        wire.SendSms(hex="6"),
        wire.SendSms(hex="68 65"),
        wire.SendSms(hex="68", pid="x"),
        wire.SendSms(hex="68", coding="256"),
    ],
)
def test_an_sms_that_no_telephone_could_send_is_refused(gateway, client, sms):
    with pytest.raises(Refused):
        gateway.sms(PHONE, sms)


def test_an_sms_from_a_telephone_needs_a_client(gateway):
    with pytest.raises(Refused, match="no client"):
        gateway.sms(PHONE, wire.SendSms(text="hi"))


# ---- several accounts ----

BANK, SHOP = "SSMI,1,bank,one", "SSMI,1,shop,two"


@pytest.fixture
def two():
    return make_gateway({"bank": "one", "shop": "two"})


def test_accounts_are_logged_in_side_by_side_and_each_pushes_out_its_own(two):
    bank, shop, second = Client(two, 1), Client(two, 2), Client(two, 3, "10.0.0.3")
    assert bank.gets(BANK) == [Ack("1")]
    assert shop.gets(SHOP) == [Ack("1")]
    assert bank.gets("SSMI,3") == [Ack("2")]
    assert second.says(SHOP) == [Send(2, RemoteLogout("10.0.0.3")), Close(2), Send(3, Ack("1"))]
    assert two.logged_in == {"bank": 1, "shop": 3}


@pytest.mark.parametrize("line", ["SSMI,1,bank,two", "SSMI,1,shop,one", "SSMI,1,other,one"])
def test_each_account_has_its_own_password(two, line):
    assert Client(two).says(line) == [Send(1, Nack("1")), Close(1)]


def test_a_client_may_become_another_account(two):
    client = Client(two)
    assert client.gets(BANK, SHOP) == [Ack("1"), Ack("1")]
    assert two.logged_in == {"shop": 1}


@pytest.mark.parametrize(("account", "connection"), [("", 1), ("bank", 1), ("shop", 2)])
def test_a_telephone_reaches_the_first_account_or_the_one_it_names(two, account, connection):
    Client(two, 2).says(SHOP)
    Client(two, 1).says(BANK)
    assert two.dial(PHONE, "*1#", 0.0, account)[1] == Send(connection, Ussd(PHONE, "1", "2", "*1#"))
    (sms,) = two.sms(PHONE, wire.SendSms(text="hi", account=account))
    assert sms.connection == connection
    assert two.hangup(PHONE)[0].connection == connection


def test_who_is_not_there_is_said_by_name(two):
    Client(two, 2).says(SHOP)
    with pytest.raises(Refused, match="no client logged in as bank"):
        two.dial(PHONE, "*1#", 0.0)
    with pytest.raises(Refused, match="no account post: there is bank, shop"):
        two.dial(PHONE, "*1#", 0.0, "post")


def test_a_session_waits_for_its_own_account_only(two):
    shop = Client(two, 2)
    shop.says(SHOP)
    Client(two, 1).says(BANK)
    two.dial(PHONE, "*1#", 0.0, "bank")
    assert shop.says("SSMI,110,27831112222,3,not mine") == []
    two.disconnected(1)
    assert two.answer(PHONE, "1", 1.0) == [ToPhone(End(PHONE, "no-client"))]


# ---- delivery reports on request ----


def report(**given):
    return wire.SetReport(**given)


SUBMIT = "SSMI,2,0,27831112222,hi"
SEQ, INBOX = Send(1, Seq(PHONE, "1")), ToPhone(Message(PHONE, "text", text="hi"))


@pytest.mark.parametrize(
    ("rules", "actions"),
    [
        *(([report(code=code)], [SEQ, Send(1, DeliveryReport(PHONE, "1", code))]) for code in ("1", "5", "77", "odd")),
        ([report(msisdn=PHONE, code="2")], [SEQ, Send(1, DeliveryReport(PHONE, "1", "2"))]),
        ([report(msisdn="1", code="2")], [SEQ, Send(1, DeliveryReport(PHONE, "1", "0")), INBOX]),
        ([report(seq=False)], [Send(1, DeliveryReport(PHONE, "1", "0")), INBOX]),
        ([report(report=False)], [SEQ, INBOX]),
        ([report(seq=False, report=False)], [INBOX]),
        ([report(delay_s=1.5)], [SEQ, INBOX]),
        ([report(code="2", delay_s=1.5)], [SEQ]),
        ([report(code="2"), report(reset=True)], [SEQ, Send(1, DeliveryReport(PHONE, "1", "0")), INBOX]),
    ],
)
def test_an_sms_gets_the_sequence_and_the_report_that_were_asked_for(gateway, client, rules, actions):
    for rule in rules:
        gateway.set_report(rule)
    assert client.says(SUBMIT) == actions


def test_a_delayed_report_comes_at_its_time(gateway, client):
    gateway.set_report(report(code="5", delay_s=1.5))
    client.says(SUBMIT, now=10.0)
    gateway.dial("1", "*1#", 10.0)
    assert gateway.deadline() == 11.5
    assert gateway.tick(11.4) == []
    assert gateway.tick(11.5) == [Send(1, DeliveryReport(PHONE, "1", "5"))]
    assert gateway.deadline() == 30.0


def test_a_delayed_report_goes_to_whoever_is_logged_in_then_and_is_lost_without(gateway, client):
    gateway.set_report(report(delay_s=1.0))
    client.says(SUBMIT, SUBMIT, now=0.0)
    gateway.disconnected(1)
    second = Client(gateway, 2)
    second.says(LOGIN)
    assert gateway.tick(1.0) == [Send(2, DeliveryReport(PHONE, n, "0")) for n in ("1", "2")]
    second.says(SUBMIT, now=1.0)
    gateway.disconnected(2)
    assert gateway.tick(2.0) == []
    assert gateway.counters["lines_lost"] == 1


@pytest.mark.parametrize("rule", [report(code=""), report(code="a,b"), report(code="1\r"), report(msisdn="+27")])
def test_a_rule_that_no_line_could_carry_is_refused(gateway, rule):
    with pytest.raises(Refused):
        gateway.set_report(rule)


# ---- faults on request ----


def nack(code, times=1, account=""):
    return wire.SetNack(code=code, times=times, account=account)


def fault(name, **given):
    return wire.SetFault(name=name, **given)


@pytest.mark.parametrize("code", ["1", "4"])
def test_a_nack_of_a_login_refuses_the_next_one(gateway, code):
    gateway.set_nack(nack(code))
    assert Client(gateway).says(LOGIN) == [Send(1, Nack(code)), Close(1)]
    assert Client(gateway, 2).gets(LOGIN) == [Ack("1")]


@pytest.mark.parametrize("code", ["2", "3"])
def test_a_nack_of_a_line_refuses_the_next_ones_that_are_no_link_checks(gateway, client, code):
    gateway.set_nack(nack(code, times=2))
    assert client.gets("SSMI,3", SUBMIT, "SSMI,3", SUBMIT) == [Ack("2"), Nack(code), Ack("2"), Nack(code)]
    assert client.says(SUBMIT)[-1] == INBOX


def test_a_nack_may_be_for_one_account(two):
    two.set_nack(nack("4", account="shop"))
    assert Client(two, 1).gets(BANK) == [Ack("1")]
    assert Client(two, 2).says(SHOP) == [Send(2, Nack("4")), Close(2)]


@pytest.mark.parametrize(
    ("name", "line", "answer"),
    [
        ("mute", "SSMI,3", Ack("2")),
        ("no-imsi", "SSMI,600,7,27831112222,", ImsiReply("7", PHONE, "655017831112222", "65501")),
        ("no-login", LOGIN, Ack("1")),
    ],
)
def test_what_is_not_answered_is_answered_again_when_it_is_over(gateway, client, name, line, answer):
    gateway.set_fault(fault(name))
    assert client.gets(line) == []
    gateway.set_fault(fault(name, on=False))
    assert client.gets(line) == [answer]
    gateway.set_fault(fault(name, account="richmond"))
    assert client.gets(line) == []
    gateway.calm("")
    assert client.gets(line) == [answer]


def test_a_login_that_is_not_answered_is_none(gateway):
    gateway.set_fault(fault("no-login"))
    client = Client(gateway)
    assert client.gets(LOGIN) == []
    assert gateway.logged_in == {}
    gateway.calm("")
    assert client.gets(LOGIN) == [Ack("1")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.set_fault(fault("mute", on=False)), "mute is not on"),
        (lambda g: g.set_fault(fault("mute", on=False, account="richmond")), "mute is not on for richmond"),
        (lambda g: g.set_fault(fault("delay")), "how many seconds"),
        (lambda g: g.set_fault(fault("mute", account="bank")), "no account bank"),
        (lambda g: g.set_nack(nack("1", account="bank")), "no account bank"),
        (lambda g: g.calm("bank"), "no account bank"),
        (lambda g: g.clients("richmond"), "no client logged in"),
        (lambda g: g.push_out(wire.PushOut()), "no client logged in"),
        (lambda g: g.push_out(wire.PushOut(ip="a\rb")), "is no address"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(gateway, change, words):
    with pytest.raises(Refused, match=words):
        change(gateway)


def test_another_client_may_be_pretended(two):
    Client(two, 1).says(BANK)
    Client(two, 2).says(SHOP)
    assert two.push_out(wire.PushOut(account="shop")) == [Send(2, RemoteLogout("192.0.2.1")), Close(2)]
    assert two.push_out(wire.PushOut(ip="10.9.8.7")) == [Send(1, RemoteLogout("10.9.8.7")), Close(1)]
    assert two.logged_in == {}


def test_whom_a_fault_of_all_meets_and_whom_that_of_an_account(two):
    Client(two, 1).says(BANK)
    Client(two, 2)
    assert (two.clients(""), two.clients("bank")) == ([1, 2], [1])


def test_sequences_begin_where_they_are_told():
    gateway = Gateway({"richmond": "pa,ss"}, session_timeout_s=1.0, extended=False, first_sequence=12345)
    client = Client(gateway)
    client.says(LOGIN)
    assert client.says(SUBMIT)[0] == Send(1, Seq(PHONE, "12345"))
    assert gateway.sms(PHONE, wire.SendSms(text="x")) == [Send(1, MoSms(PHONE, "12346", "x"))]
