"""Sessions of the simulator's subscribers: one at a time, each with one end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from richmond.simulator import subscribers as module
from richmond.simulator.subscribers import Refused, Subscribers, ToClient, ToPhone
from richmond.simulator.wire import Begin, End, Menu, Message
from richmond.ssmi.codec import Ussd

PHONE = "27831112222"
BANK = "bank"


@pytest.fixture
def subscribers():
    return Subscribers(20.0, extended=False)


def test_a_second_dial_is_refused_while_a_session_is_open(subscribers):
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    with pytest.raises(Refused, match="has a session open"):
        subscribers.dial(PHONE, "*2#", 1.0, BANK)


@pytest.mark.parametrize("code", ["", "120", "hello", " *1#"])
def test_what_is_no_code_is_refused(subscribers, code):
    with pytest.raises(Refused, match="begins with"):
        subscribers.dial(PHONE, code, 0.0, BANK)


def test_an_answer_before_the_menu_is_refused(subscribers):
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    with pytest.raises(Refused, match="no menu"):
        subscribers.answer(PHONE, "1", 1.0)


def test_one_menu_takes_one_answer(subscribers):
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    subscribers.reply(PHONE, "menu", 1.0, BANK, last=False)
    subscribers.answer(PHONE, "1", 2.0)
    with pytest.raises(Refused, match="no menu"):
        subscribers.answer(PHONE, "1", 2.0)


def test_another_account_has_no_say_in_a_session(subscribers):
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    assert subscribers.account_of(PHONE) == BANK
    assert subscribers.reply(PHONE, "menu", 1.0, "shop", last=True) == []
    assert subscribers.redirect(PHONE, "*2#", 1.0, "shop") == []
    assert subscribers.push(PHONE, "menu", 1.0, "shop") == []
    assert subscribers.counters["replies_without_session"] == 2
    assert subscribers.counters["pushes_while_busy"] == 1
    assert subscribers.reply(PHONE, "menu", 1.0, BANK, last=False) == [ToPhone(Menu(PHONE, "menu", True))]


def test_sessions_are_bounded(subscribers, monkeypatch):
    monkeypatch.setattr(module, "SESSIONS", 1)
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    with pytest.raises(Refused, match="the network is busy"):
        subscribers.dial("1", "*1#", 0.0, BANK)
    assert subscribers.push("1", "menu", 0.0, BANK) == []
    assert len(subscribers) == 1


@pytest.mark.parametrize("key", ["hangup", "time_out", "lose"])
def test_what_needs_a_session_is_refused_without_one(subscribers, key):
    with pytest.raises(Refused, match="no session open"):
        getattr(subscribers, key)(PHONE)


def test_a_session_times_out_after_its_last_sign_of_life(subscribers):
    subscribers.dial(PHONE, "*1#", 0.0, BANK)
    subscribers.reply(PHONE, "menu", 15.0, BANK, last=False)
    assert subscribers.deadline() == 35.0
    assert subscribers.expire(34.9) == []
    assert subscribers.expire(35.0) == [
        ToClient(BANK, Ussd(PHONE, "4", "2", "Timeout")),
        ToPhone(End(PHONE, "timeout")),
    ]
    assert subscribers.deadline() is None


def test_sessions_time_out_in_the_order_of_their_deadlines(subscribers):
    subscribers.dial("1", "*1#", 0.0, BANK)
    subscribers.dial("2", "*1#", 1.0, BANK)
    subscribers.reply("1", "menu", 2.0, BANK, last=False)
    assert [a.news.msisdn for a in subscribers.expire(30.0) if isinstance(a, ToPhone)] == ["2", "1"]


def test_an_inbox_keeps_the_newest(subscribers):
    for number in range(module.INBOX_MESSAGES + 1):
        subscribers.deliver(Message(PHONE, "text", text=str(number)))
    texts = [message.text for message in subscribers.inbox(PHONE)]
    assert texts[0] == "1"
    assert texts[-1] == str(module.INBOX_MESSAGES)


def test_the_inboxes_written_to_least_recently_go_first(subscribers):
    subscribers.deliver(Message("1", "text", text="a"))
    subscribers.deliver(Message("2", "text", text="b"))
    subscribers.deliver(Message("1", "text", text="c"))
    for number in range(module.INBOXES - 1):
        subscribers.deliver(Message(f"9{number}", "text", text="x"))
    assert list(subscribers.inbox("2")) == []
    assert [message.text for message in subscribers.inbox("1")] == ["a", "c"]


@pytest.mark.parametrize(("text", "too_long"), [("x" * 160, 0), ("x" * 161, 1), ("ж" * 70, 0), ("ж" * 71, 1)])
def test_an_sms_that_is_too_long_is_counted(subscribers, text, too_long):
    subscribers.deliver(Message(PHONE, "text", text=text))
    assert subscribers.counters["sms_too_long"] == too_long


@given(st.text("0123456789", min_size=1, max_size=15))
def test_every_number_has_an_imsi_of_15_digits(msisdn):
    assert len(module.imsi(msisdn)) == 15
    assert module.imsi(msisdn).isdecimal()


NUMBERS = st.sampled_from(["1", "2", "3"])
OPEN_ENDED = st.booleans()


class Calls(RuleBasedStateMachine):
    """Whatever the order of keys, replies and time: begins and ends alternate, for every number."""

    def __init__(self):
        super().__init__()
        self.subscribers = Subscribers(10.0, extended=False)
        self.now = 0.0
        self.open = set()
        self.begun = 0
        self.ended = 0

    def follow(self, actions):
        for action in actions:
            news = action.news if isinstance(action, ToPhone) else None
            if isinstance(news, Begin):
                assert news.msisdn not in self.open, "a session begins while one is open"
                self.open.add(news.msisdn)
                self.begun += 1
            elif isinstance(news, Menu):
                assert news.msisdn in self.open, "a menu without a session"
            elif isinstance(news, End):
                assert news.msisdn in self.open, "an end without a session, or a second one"
                self.open.remove(news.msisdn)
                self.ended += 1

    def try_to(self, key, msisdn, *rest):
        try:
            actions = key(msisdn, *rest)
        except Refused:
            return False
        self.follow(actions)
        return True

    @rule(msisdn=NUMBERS)
    def dial(self, msisdn):
        was_open = msisdn in self.open
        assert self.try_to(self.subscribers.dial, msisdn, "*1#", self.now, BANK) != was_open

    @rule(msisdn=NUMBERS)
    def answer(self, msisdn):
        self.try_to(self.subscribers.answer, msisdn, "1", self.now)

    @rule(msisdn=NUMBERS)
    def hangup(self, msisdn):
        was_open = msisdn in self.open
        assert self.try_to(self.subscribers.hangup, msisdn) == was_open

    @rule(msisdn=NUMBERS)
    def lose(self, msisdn):
        self.try_to(self.subscribers.lose, msisdn)

    @rule(msisdn=NUMBERS, last=OPEN_ENDED)
    def reply(self, msisdn, last):
        self.follow(self.subscribers.reply(msisdn, "text", self.now, BANK, last=last))

    @rule(msisdn=NUMBERS)
    def redirect(self, msisdn):
        self.follow(self.subscribers.redirect(msisdn, "*2#", self.now, BANK))

    @rule(msisdn=NUMBERS)
    def push(self, msisdn):
        self.follow(self.subscribers.push(msisdn, "text", self.now, BANK))

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds):
        self.now += seconds
        self.follow(self.subscribers.expire(self.now))
        deadline = self.subscribers.deadline()
        assert deadline is None or deadline > self.now

    @precondition(lambda self: self.open)
    @rule()
    def everybody_falls_asleep(self):
        self.now += 10.0
        self.follow(self.subscribers.expire(self.now))
        assert not self.open

    @invariant()
    def the_books_balance(self):
        assert len(self.subscribers) == len(self.open) == self.begun - self.ended
        assert all(msisdn in self.subscribers for msisdn in self.open)
        ends = sum(count for name, count in self.subscribers.counters.items() if name.startswith("ended_"))
        assert ends == self.ended


Calls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_random_calls_keep_the_invariants = Calls.TestCase
