"""Which class a code or an SMS goes to."""

from __future__ import annotations

import pytest

from richmond.routing import Route, Routes, first_word
from richmond.settings import AmqpSettings, WorkerSettings

AMQP = AmqpSettings(
    host="localhost",
    port=5672,
    username="richmond",
    password="richmond",
    vhost="/richmond",
    exchange="richmond",
    send_queue="richmond.send",
    send_routing_key="ssmi.send",
    receive_queue="richmond.receive",
    receive_routing_key="ssmi.receive",
    events_exchange="richmond.events",
    dead_queue="richmond.dead",
    prefetch=100,
    heartbeat_s=60,
    tls=False,
    tls_ca=None,
    tls_cert=None,
    tls_key=None,
    connect_timeout_s=5.0,
    reconnect_max_s=30.0,
)


def worker(name: str, *codes: str, **keys) -> WorkerSettings:
    own = bool(codes) or not {"short_codes", "keywords", "sms"}.isdisjoint(keys)
    return WorkerSettings(
        name=name,
        class_path=f"site.{name}",
        workers=1,
        min=1,
        max=1,
        codes=codes,
        queue=f"richmond.receive.{name}" if own else "richmond.receive",
        routing_key=f"ssmi.receive.{name}" if own else "ssmi.receive",
        prefetch=8,
        start_timeout_s=30.0,
        start_retries=5,
        stable_s=60.0,
        stop_timeout_s=10.0,
        apology="",
        drain_target_s=5.0,
        **keys,
    )


def at(name: str, rest: str = "") -> Route:
    return Route(f"ssmi.receive.{name}", name, rest)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("*120*666#", "ssmi.receive.Foo"),
        ("*120*666", "ssmi.receive.Foo"),
        ("*120*667#", "ssmi.receive.Foo"),
        ("*120*1#", "ssmi.receive.Bar"),
        ("*120*663#", "ssmi.receive"),
        (None, "ssmi.receive"),
    ],
)
def test_a_code_goes_to_its_class_and_the_rest_to_the_default(code, key):
    routes = Routes([worker("Foo", "*120*666#", "*120*667#"), worker("Echo"), worker("Bar", "*120*1#")], AMQP)
    assert routes.routing_key(code) == key


def test_without_a_default_class_nobody_wants_other_codes():
    routes = Routes([worker("Foo", "*120*666#")], AMQP)
    assert routes.routing_key("*120*666#") == "ssmi.receive.Foo"
    assert routes.routing_key("*120*663#") is None
    assert routes.routing_key(None) is None


def test_without_any_class_in_the_ini_all_goes_to_the_receive_queue():
    assert Routes([], AMQP).routing_key("*120*666#") == "ssmi.receive"


# USSD by prefix and account


@pytest.mark.parametrize(
    ("code", "route"),
    [
        ("*120*663*1*4#", at("Direct", "1*4")),
        ("*120*663*1*4", at("Direct", "1*4")),
        ("*120*663*#", at("Direct")),
        ("*120*663*1#4#", at("Direct", "1#4")),
        ("*120*663#", at("Menu")),  # the prefix ends in *, and this has none there
        ("*120*663*9#", at("Menu")),  # a whole code before any prefix
        ("*120*663*7*1#", at("Longer", "1")),
        ("*120*663*7#", at("Direct", "7")),
        ("*120*1#", at("Wide", "1")),
        ("*121#", Route("ssmi.receive", "Echo")),
        (None, Route("ssmi.receive", "Echo")),
    ],
)
def test_a_prefix_takes_what_no_whole_code_and_no_longer_prefix_does_and_tells_the_rest(code, route):
    workers = [
        worker("Wide", "*120*"), worker("Direct", "*120*663*"), worker("Menu", "*120*663#", "*120*663*9#"),
        worker("Longer", "*120*663*7*"), worker("Echo"),
    ]  # fmt: skip
    for order in (workers, workers[::-1]):
        assert Routes(order, AMQP).ussd(code, "default") == route


def test_a_class_takes_the_messages_of_its_accounts_only():
    only = {"accounts": ("b", "c")}
    routes = Routes(
        [worker("A", "*1#", accounts=("a",)), worker("B", "*1#", "*2*", sms=True, **only), worker("Echo")], AMQP
    )
    echo = Route("ssmi.receive", "Echo")
    assert [routes.ussd("*1#", account) for account in ("a", "b", "c", "d")] == [at("A"), at("B"), at("B"), echo]
    assert [routes.ussd("*2*5#", account) for account in ("a", "b")] == [echo, at("B", "5")]
    assert [routes.default_sms(account) for account in ("a", "b", "d")] == [None, at("B"), None]
    assert [routes.sms(account, None, "x") for account in ("a", "b", "d")] == [None, at("B"), None]


def test_a_default_class_of_one_account_does_not_take_the_rest_of_another():
    routes = Routes([worker("Echo", accounts=("a",))], AMQP)
    assert routes.ussd("*1#", "a") == Route("ssmi.receive", "Echo")
    assert routes.ussd("*1#", "b") is None


# SMS

SMS = [
    worker("Both", short_codes=("31022", "31033"), keywords=("WIN", "JOIN")),
    worker("Word", keywords=("WIN", "NEWS")),
    worker("Short", short_codes=("31022", "31044")),
    worker("Rest", sms=True),
    worker("Echo"),
    worker("Foo", "*1#"),
]


@pytest.mark.parametrize(
    ("destination", "text", "name"),
    [
        ("31022", "WIN, car", "Both"),
        ("31033", "join", "Both"),
        ("31044", "win", "Word"),  # a keyword before a short code
        ("31022", "NEWS", "Word"),
        (None, "win a car", "Word"),
        ("", "win", "Word"),
        ("31022", "hello", "Short"),
        ("31022", "", "Short"),
        ("31022", None, "Short"),  # binary
        ("31033", None, "Rest"),  # of a class with both, both must match
        ("31033", "hello", "Rest"),
        (None, "join", "Rest"),
        (None, "I win", "Rest"),
        (None, "winner", "Rest"),
        (None, "", "Rest"),
        (None, None, "Rest"),
    ],
)
def test_the_most_specific_class_gets_an_sms(destination, text, name):
    for order in (SMS, SMS[::-1]):
        assert Routes(order, AMQP).sms("default", destination, text) == at(name)


def test_a_class_that_takes_the_rest_may_have_words_of_its_own_too():
    routes = Routes([worker("All", sms=True, keywords=("WIN",)), worker("News", keywords=("NEWS",))], AMQP)
    assert [routes.sms("default", None, text) for text in ("win", "news", "x")] == [at("All"), at("News"), at("All")]
    assert routes.default_sms("default") == at("All")


def test_nobody_gets_an_sms_that_no_class_wants():
    assert Routes(SMS[:3], AMQP).sms("default", "31099", "hello") is None
    assert Routes(SMS[:3], AMQP).default_sms("default") is None
    assert Routes([], AMQP).sms("default", None, "hello") is None


def test_classes_for_sms_only_take_no_ussd():
    assert Routes(SMS[:4], AMQP).ussd("*1#", "default") is None
    assert Routes(SMS, AMQP).ussd("*2#", "default") == Route("ssmi.receive", "Echo")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("win", "WIN"), ("  Win, car", "WIN"), ('"win" a car', "WIN"), ("WIN\ncar", "WIN"), ("*2win#", "2WIN"),
        ("gagné!", "GAGNÉ"), ("", ""), (" ?! ", ""), ("WIN" * 10, "WIN" * 10),
    ],
)  # fmt: skip
def test_the_first_word_is_what_stands_before_any_other_sign(text, word):
    assert first_word(text) == word
