"""The worker classes as their authors see them, without queues or processes."""

import threading

import msgspec
import pytest
from handling import from_broker, handled, message

from richmond.errors import MessageError, UsageError
from richmond.workers.base import RichmondWorker
from richmond.workers.example import FooBarWorker
from richmond.workers.ussd import EchoWorker, SessionType, USSDWorker

HELLO = "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."


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
    assert (SessionType.redirect, SessionType.network) == ("5", "6")


STAMPS = {"session": "token", "in_reply_to": "message-1", "account": "bank"}


def test_a_reply_carries_the_session_the_id_and_the_account_of_what_it_answers():
    (reply,) = handled(EchoWorker(), from_broker())
    assert reply == {"msisdn": "27831112222", "message": HELLO, "ussd_type": "2", **STAMPS}


@pytest.mark.parametrize(
    ("given", "stamps"),
    [
        ({"session": "token", "id": "message-1"}, {"session": "token", "in_reply_to": "message-1"}),
        ({"session": None, "id": "message-1"}, {"in_reply_to": "message-1"}),
        ({"account": "bank"}, {"account": "bank"}),
    ],
)
def test_a_reply_carries_no_more_than_its_message_has(given, stamps):
    (reply,) = handled(EchoWorker(), message(**given))
    assert reply == {"msisdn": "27831112222", "message": HELLO, "ussd_type": "2", **stamps}


def replies(do, worker_class=USSDWorker, **given):
    """What a worker publishes whose new_ussd_session is `do(worker, msisdn)`."""
    worker = worker_class()
    worker.new_ussd_session = lambda msisdn, text: do(worker, msisdn)
    return handled(worker, from_broker(**given))


class Refusing(USSDWorker):
    long_text = "refuse"


@pytest.mark.parametrize(
    ("do", "keys"),
    [
        (lambda w, m: w.reply(m, "hi"), {"ussd_type": "2"}),
        (lambda w, m: w.reply(m, "hi", long="pages"), {"ussd_type": "2", "long": "pages"}),
        (lambda w, m: w.reply(m, "hi", "3", genfields=("65501", "", "", "S1")), {"genfields": ["65501", "", "", "S1"]}),
        (lambda w, m: w.reply(m, "hi", "1", genfields=[]), {"ussd_type": "1", "genfields": []}),
        (lambda w, m: w.redirect(m, "*120*1#"), {"ussd_type": "5", "message": "*120*1#"}),
    ],
)
def test_a_reply_says_how_it_is_to_be_sent(do, keys):
    (reply,) = replies(do)
    assert reply.items() >= (STAMPS | keys).items()
    assert reply.keys() == {"msisdn", "message", "ussd_type"} | STAMPS.keys() | keys.keys()


def test_a_class_says_what_becomes_of_its_long_texts_and_a_reply_may_say_otherwise():
    say = [
        lambda w, m: w.reply(m, "hi"),
        lambda w, m: w.reply(m, "hi", long="cut"),
        lambda w, m: w.start_session(m, "hi"),
    ]
    assert [replies(do, Refusing)[0]["long"] for do in say] == ["refuse", "cut", "refuse"]


def test_a_session_that_is_started_carries_no_token_of_the_one_in_hand():
    assert replies(lambda w, m: w.start_session(m, "Hello")) == [
        {"msisdn": "27831112222", "message": "Hello", "ussd_type": "6"}
    ]
    assert replies(lambda w, m: w.start_session("27830000000", "Hello", account="shop")) == [
        {"msisdn": "27830000000", "message": "Hello", "ussd_type": "6", "account": "shop"}
    ]


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
        ({"msisdn": "1", "message": "x" * 10_001, "ussd_type": "3"}, "length <= 10000 - at `$.message`"),
        ({"msisdn": "1", "message": "m", "ussd_type": "3", "long": "split"}, "`$.long`"),
        ({"msisdn": "1", "message": "m", "ussd_type": "3", "session": 5}, "`$.session`"),
        ({"kind": "ussd", "msisdn": "1", "message": "m"}, "missing required field `ussd_type`"),
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
        *[
            (msgspec.json.encode(from_broker(**{key: 5})), "invalid-message")
            for key in [*message(), *("session", "id")]
        ],
        (msgspec.json.encode(from_broker(account=["bank"])), "invalid-message"),
        (msgspec.json.encode(from_broker(kind=None)), "invalid-message"),
        (msgspec.json.encode(from_broker(ussd_type=["1"])), "invalid-message"),
        (msgspec.json.encode(from_broker(ussd_type="5")), "unknown-ussd-type"),
        (msgspec.json.encode(from_broker(kind="fax")), "unknown-kind"),
        (msgspec.json.encode(from_broker(kind="sms", sequence="1")), "unknown-kind"),
        (msgspec.json.encode(from_broker(kind="free-form", text="t")), "unknown-kind"),
    ],
)
def test_a_body_that_a_ussd_worker_cannot_take_has_a_reason(body, reason):
    with pytest.raises(MessageError) as e:
        USSDWorker()._decode(body)
    assert e.value.reason == reason


def test_a_ussd_worker_gets_all_keys_also_those_that_nobody_knows():
    for data in (from_broker(colour=["red", None]), message(colour=5), from_broker(session=None, genfields=["1"])):
        assert USSDWorker()._decode(msgspec.json.encode(data)) == data


def test_a_worker_without_dialogue_takes_any_object_with_all_its_keys():
    assert RichmondWorker()._decode(b'{"any": [1, {"thing": null}]}') == {"any": [1, {"thing": None}]}


def test_a_class_without_consume_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Bare does not override consume"):
        type("Bare", (RichmondWorker,), {})()._handle({})


# ---- direct dial ----


class Shop(USSDWorker):
    """9 is the end, 7 is ignored, 5 raises, 6 leads elsewhere, 2 is answered twice, all else once."""

    direct_dial = True

    def __init__(self):
        self.calls = []

    def new_ussd_session(self, msisdn, message):
        self.calls.append(message)
        self.reply(msisdn, "menu")
        self.reply("27830000000", "somebody dialled", "6")
        self.send_sms(msisdn, "welcome")

    def existing_ussd_session(self, msisdn, message):
        self.calls.append(message)
        if message == "9":
            self.reply(msisdn, "bye", SessionType.end)
        elif message == "6":
            self.redirect(msisdn, "*1#")
        elif message == "5":
            raise ZeroDivisionError
        elif message == "2":
            self.reply(msisdn, "one more thing")
            self.reply(msisdn, "the end", SessionType.end)
        elif message != "7":
            self.reply(msisdn, f"after {message}")


def dialled(rest, worker_class=Shop, **changes):
    worker = worker_class()
    data = from_broker(message=f"*120*663*{rest}#", code="*120*663*#", rest=rest) | changes
    published = handled(worker, data)
    told = [p["message"] for p in published if p["msisdn"] == "27831112222" and "kind" not in p]
    return worker.calls, told, published


@pytest.mark.parametrize(
    ("rest", "calls", "replies"),
    [
        ("1", ["1"], ["after 1"]),
        ("1*4", ["1", "4"], ["after 4"]),
        ("1**4", ["1", "", "4"], ["after 4"]),
        ("1*9", ["1", "9"], ["bye"]),
        ("9*1", ["9"], ["bye"]),
        ("6*1", ["6"], ["*1#"]),
        ("2*1", ["2"], ["one more thing", "the end"]),
        ("7*1", ["7"], []),
        ("1*7", ["1", "7"], []),
    ],
)
def test_what_is_dialled_beyond_the_code_is_the_first_answers_and_only_the_last_reply_goes_out(rest, calls, replies):
    asked, told, _ = dialled(rest)
    assert asked == [f"*120*663*{rest}#", *calls]
    assert told == replies


def test_in_a_direct_dial_what_is_for_others_or_an_sms_goes_out():
    _, _, published = dialled("1*4")
    assert [(p["msisdn"], p.get("kind"), p["message"]) for p in published] == [
        ("27830000000", None, "somebody dialled"),
        ("27831112222", "sms", "welcome"),
        ("27831112222", None, "after 4"),
    ]
    assert published[-1].items() >= STAMPS.items()


class NotDirect(Shop):
    direct_dial = False


@pytest.mark.parametrize(("worker_class", "rest"), [(NotDirect, "1*4"), (Shop, ""), (Shop, None)])
def test_without_direct_dial_or_a_rest_a_session_begins_as_ever(worker_class, rest):
    calls, told, _ = dialled(rest, worker_class, message="*120*663#")
    assert (calls, told) == (["*120*663#"], ["menu"])


def test_only_a_new_session_is_a_direct_dial():
    assert dialled("1*4", ussd_type="2", message="8")[0] == ["8"]


def test_a_handler_that_raises_in_a_direct_dial_leaves_the_subscriber_without_an_answer_and_the_worker_as_it_was():
    worker = Shop()
    published = []
    worker._outlet = published.append
    with pytest.raises(ZeroDivisionError):
        worker._handle(from_broker(rest="1*5"))
    assert [p["message"] for p in published] == ["somebody dialled", "welcome"]
    worker.reply("27831112222", "later")
    assert published[-1]["message"] == "later"


def test_a_reply_from_a_thread_of_the_classs_own_is_never_held_back():
    worker = Shop()

    def new(msisdn, message):
        thread = threading.Thread(target=worker.reply, args=(msisdn, "from a thread"))
        thread.start()
        thread.join()
        worker.reply(msisdn, "menu")

    worker.new_ussd_session = new
    assert [p["message"] for p in handled(worker, from_broker(rest="1"))] == ["from a thread", "after 1"]
