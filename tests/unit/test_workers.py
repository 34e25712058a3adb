"""The worker classes as their authors see them, without queues or processes."""

import msgspec
import pytest

from richmond.errors import MessageError, UsageError
from richmond.workers.base import RichmondWorker
from richmond.workers.example import FooBarWorker
from richmond.workers.ussd import EchoWorker, SessionType, USSDWorker

HELLO = "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."


def message(**changes):
    return {"msisdn": "27831112222", "ussd_type": "1", "ussd_phase": "2", "message": "*120*663#", **changes}


def handled(worker, data):
    """What the worker publishes on this message."""
    published = []
    worker._outlet = published.append
    worker._handle(worker._decode(msgspec.json.encode(data)))
    return published


@pytest.mark.parametrize(
    ("worker_class", "ussd_type", "text", "reply"),
    [
        (EchoWorker, "1", "*120*663#", (HELLO, "2")),
        (EchoWorker, "2", "Hello, you.", ("Hello, you.", "2")),
        (EchoWorker, "2", "", ("", "2")),
        (EchoWorker, "2", "0", ("quitting, goodbye!", "3")),
        (FooBarWorker, "1", "*120*666#", ("foo?", "2")),
        (FooBarWorker, "2", "bar", ("Clever. Bye!", "3")),
        (FooBarWorker, "2", "0", ("Clever. Bye!", "3")),
        (FooBarWorker, "2", "foo", ("Say bar ...", "2")),
        (USSDWorker, "1", "*1#", ("so long and thanks for all the fish", "3")),
    ],
)
def test_a_class_of_2010_answers_as_in_2010(worker_class, ussd_type, text, reply):
    (published,) = handled(worker_class(), message(ussd_type=ussd_type, message=text))
    assert published == {"msisdn": "27831112222", "message": reply[0], "ussd_type": reply[1]}


@pytest.mark.parametrize("ussd_type", ["2", "3", "4"])
def test_what_a_class_does_not_handle_is_not_answered(ussd_type):
    assert handled(USSDWorker(), message(ussd_type=ussd_type)) == []


@pytest.mark.parametrize(
    ("ussd_type", "name"),
    [
        ("1", "new_ussd_session"),
        ("2", "existing_ussd_session"),
        ("3", "end_ussd_session"),
        ("4", "timed_out_ussd_session"),
    ],
)
def test_each_type_has_its_handler(ussd_type, name):
    calls = []
    worker = USSDWorker()
    setattr(worker, name, lambda *args: calls.append(args))
    handled(worker, message(ussd_type=ussd_type, message="text"))
    assert calls == [("27831112222", "text")]


def test_session_types_are_the_strings_on_the_wire():
    assert (SessionType.new, SessionType.existing, SessionType.end, SessionType.timeout) == ("1", "2", "3", "4")


def test_a_reply_carries_the_session_and_the_id_of_what_it_answers():
    (reply,) = handled(EchoWorker(), message(session="token", id="message-1"))
    assert (reply["session"], reply["in_reply_to"]) == ("token", "message-1")


def test_a_reply_to_another_subscriber_carries_no_session():
    worker = USSDWorker()
    worker.new_ussd_session = lambda msisdn, text: worker.reply("27830000000", "hi", SessionType.end)
    assert handled(worker, message(session="token", id="message-1")) == [
        {"msisdn": "27830000000", "message": "hi", "ussd_type": "3"}
    ]


def test_a_reply_from_outside_a_handler_carries_no_session():
    worker = EchoWorker()
    handled(worker, message(session="token", id="message-1"))
    published = []
    worker._outlet = published.append
    worker.reply("27831112222", "later", SessionType.end)
    assert published == [{"msisdn": "27831112222", "message": "later", "ussd_type": "3"}]


def test_publish_carries_what_the_caller_gives():
    worker = RichmondWorker()
    data = {"msisdn": "1", "message": "m", "ussd_type": "3", "session": "mine", "colour": ["red", 5]}
    published = []
    worker._outlet = published.append
    worker.publish(data)
    assert published == [data]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"msisdn": 27831112222, "message": "m", "ussd_type": "3"}, "Expected `str`, got `int` - at `$.msisdn`"),
        ({"msisdn": "1", "message": "m", "ussd_type": 3}, "Expected `str`, got `int` - at `$.ussd_type`"),
        ({"msisdn": "1", "message": None, "ussd_type": "3"}, "got `null` - at `$.message`"),
        ({"msisdn": "1", "ussd_type": "3"}, "missing required field `message`"),
        ({}, "missing required field `msisdn`"),
        ("text", "Expected `object`, got `str`"),
    ],
)
def test_publishing_what_the_broker_could_not_send_is_refused_with_the_keys_name(data, text):
    with pytest.raises(MessageError, match="invalid-reply") as e:
        RichmondWorker().publish(data)
    assert text in str(e.value)


def test_publishing_where_no_runtime_is_says_so():
    with pytest.raises(UsageError, match="not connected"):
        EchoWorker().reply("1", "m", SessionType.end)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "invalid-json"),
        (b"\xff", "invalid-json"),
        (b"", "invalid-json"),
        (b"[]", "invalid-message"),
        (b"{}", "invalid-message"),
        (msgspec.json.encode(message(msisdn=27831112222)), "invalid-message"),
        (msgspec.json.encode(message(session=5)), "invalid-message"),
        (msgspec.json.encode(message(ussd_type="9")), "unknown-ussd-type"),
    ],
)
def test_a_body_that_a_ussd_worker_cannot_take_has_a_reason(body, reason):
    with pytest.raises(MessageError) as e:
        USSDWorker()._decode(body)
    assert e.value.reason == reason


def test_a_worker_without_dialogue_takes_any_object_with_all_its_keys():
    assert RichmondWorker()._decode(b'{"any": [1, {"thing": null}]}') == {"any": [1, {"thing": None}]}


def test_a_class_without_consume_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Bare does not override consume"):
        type("Bare", (RichmondWorker,), {})()._handle({})
