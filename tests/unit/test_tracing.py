"""The last messages of subscribers, hop by hop, and no more memory than allowed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.tracing import Record, Trace

A, B = "27831112222", "27831113333"


def test_a_message_is_followed_from_socket_to_socket():
    trace = Trace()
    trace.received(A, "m1", "ussd", 1.0)
    assert trace.of(A) == [Record("m1", "ussd", received=1.0)]
    trace.published("m1", 1.25)
    trace.delivered("m1", 1.5)
    trace.replied("m1", 2.0)
    trace.sent("m1", 2.25, "sent")
    whole = Record("m1", "ussd", 1.0, 1.25, 1.5, 2.0, 2.25, "sent")
    assert trace.of(A) == [whole]
    assert msgspec.json.decode(msgspec.json.encode(trace.of(A)), type=list[Record]) == [whole]


def test_messages_of_one_subscriber_are_told_apart_and_stand_in_order():
    trace = Trace()
    trace.received(A, "m1", "ussd", 1.0)
    trace.received(B, "m2", "sms", 2.0)
    trace.originated(A, "m3", "sms", 3.0)
    trace.sent("m3", 4.0, "refused: opted-out")
    trace.published("m1", 5.0)
    assert trace.of(A) == [
        Record("m1", "ussd", received=1.0, published=5.0),
        Record("m3", "sms", replied=3.0, sent=4.0, outcome="refused: opted-out"),
    ]
    assert trace.of(B) == [Record("m2", "sms", received=2.0)]


def test_of_several_at_one_hop_the_last_counts():
    trace = Trace()
    trace.received(A, "m1", "sms", 1.0)
    trace.delivered("m1", 2.0)
    trace.delivered("m1", 3.0)
    assert trace.of(A)[0].delivered == 3.0


@pytest.mark.parametrize("hop", ["published", "delivered", "replied"])
def test_what_nobody_knows_is_nobodys(hop):
    trace = Trace()
    trace.received(A, "m1", "ussd", 1.0)
    getattr(trace, hop)("m2", 2.0)
    trace.sent("m2", 2.0, "sent")
    assert trace.of(A) == [Record("m1", "ussd", received=1.0)]
    assert trace.of("278") == []


def test_the_subscriber_who_was_silent_longest_is_forgotten_first():
    trace = Trace(max_subscribers=2)
    for msisdn, id in ((A, "m1"), (B, "m2"), (A, "m3"), ("278", "m4")):
        trace.received(msisdn, id, "ussd", 1.0)
    assert [len(trace.of(msisdn)) for msisdn in (A, B, "278")] == [2, 0, 1]
    trace.published("m2", 2.0)
    assert trace.of(B) == []


def test_of_each_subscriber_the_last_messages_are_kept():
    trace = Trace(per_subscriber=3)
    for n in range(5):
        trace.received(A, f"m{n}", "ussd", float(n))
    trace.published("m0", 9.0)
    trace.published("m4", 9.0)
    assert [(r.id, r.published) for r in trace.of(A)] == [("m2", None), ("m3", None), ("m4", 9.0)]


messages = st.tuples(st.sampled_from("ABCDEF"), st.integers(0, 30))


@given(st.lists(messages, max_size=200))
def test_what_is_forgotten_takes_no_memory_even_where_ids_come_again(messages):
    trace = Trace(max_subscribers=3, per_subscriber=4)
    for msisdn, id in messages:
        trace.received(msisdn, str(id), "ussd", 1.0)
    kept = {record.id for msisdn in "ABCDEF" for record in trace.of(msisdn)}
    assert set(trace._by_id) <= kept
    assert sum(bool(trace.of(msisdn)) for msisdn in "ABCDEF") <= 3
    assert all(len(trace.of(msisdn)) <= 4 for msisdn in "ABCDEF")
    if messages:
        trace.published(str(messages[-1][1]), 7.0)
        assert trace.of(messages[-1][0])[-1].published == 7.0
