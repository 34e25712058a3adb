"""What people read of the simulator's events."""

from datetime import UTC

import pytest

from richmond.simulator import show
from richmond.simulator.ledger import Totals
from richmond.simulator.wire import Client, Line, Message, Status

PHONE = "27831112222"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(PHONE, "text", text="hi, you"), "[SMS] hi, you"),
        (Message(PHONE, "text", text="1. é\n2. ☺ \\\x1b[2J\r\u202e"), "[SMS] 1. é\n2. ☺ \\\\x1b[2J\\r\\u202e"),
        (Message(PHONE, "wap-push", text="a\x07", url="b"), "[wap-push] a\\x07 b"),
        (Message(PHONE, "binary", hex="68", pid="15", coding="246"), "[binary] pid 15 coding 246 68"),
        (Message(PHONE, "wap-push", text="foo", url="http://bar/"), "[wap-push] foo http://bar/"),
        (Message(PHONE, "mms", text="subject", name="a.gif", hex="68"), "[mms] subject a.gif 68"),
    ],
)
def test_messages(message, text):
    assert show.message(message) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (Line(0.5, 1, "bank", "C>", "SSMI,3"), "00:00:00.500 #1 bank C> SSMI,3"),
        (Line(3661.0, 12, "", "--", "closed"), "01:01:01.000 #12 - -- closed"),
        (Line(0.0, 1, "b", "S>", "a\nb\\é\x1b[2J\u202e\x85"), r"00:00:00.000 #1 b S> a\nb\\é\x1b[2J\u202e\x85"),
    ],
)
def test_lines_of_the_log_stay_one_line_and_move_no_cursor(line, text):
    assert show.line(line, UTC) == text


def test_the_status_of_a_gateway_without_clients():
    status = Status("127.0.0.1:1", ["richmond"], [], 0, 0, False, [], [], 0, {})
    assert show.status(status) == (
        "gateway simulator at 127.0.0.1:1, for richmond; USSD as 110\n0 sessions, 0 telephones\nno client is logged in"
    )


def test_the_status_of_a_busy_gateway():
    clients = [Client("10.0.0.1", "bank", True, 2.5), Client("10.0.0.2", "", False, 0.1)]
    status = Status(
        "127.0.0.1:1", ["a", "bank"], clients, 2, 3, True, ["mute"], ["all: report 2"], 4, {"xx": 1, "a": 5}
    )
    assert show.status(status) == (
        "gateway simulator at 127.0.0.1:1, for a, bank; USSD as 111\n"
        "2 sessions, 3 telephones\n"
        "client at 10.0.0.1, logged in as bank, for 2 s\n"
        "client at 10.0.0.2, not logged in, for 0 s\n"
        "fault: mute\n"
        "delivery reports of all: report 2\n"
        "4 delivery reports wait for their time\n"
        "  a   5\n"
        "  xx  1"
    )


def test_the_ledger():
    totals = [
        Totals("ussd", 1500, 1500, 0, 4.08, 18.0, 25.1, {}),
        Totals("sms", 2, 0, 2, None, None, None, {"no answer within 20 s": 2}),
    ]
    assert show.ledger(totals) == (
        "      sent  answered  lost  p50 ms  p99 ms  max ms\n"
        "ussd  1500      1500     0     4.1    18.0    25.1\n"
        "sms      2         0     2       -       -       -\n"
        "2 sms lost: no answer within 20 s"
    )
