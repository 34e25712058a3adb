"""Which SMS a sequence or a report is about, across restarts of the process."""

import contextlib
import os
import subprocess
import sys

import pytest
from full_disk import files_no_larger_than

from richmond.sms_store import EXPIRED_AT_ONCE, KEPT_S, Lookup, Sent, SmsStore

A, B = "27831112222", "27831113333"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sms.db"


@pytest.fixture
def store(path):
    store = SmsStore(path)
    yield store
    store.close()


def send(store, id, msisdn=A, account="default", wall=1000.0):
    store.sent(id, 1, 1, account, msisdn, "ssmi.receive.Lunch", wall)


def id_of(sent):
    return sent and sent.id


def test_a_report_tells_all_that_is_known_of_its_sms(store):
    store.sent("one", 2, 3, "promo", A, "ssmi.receive.Lunch", 1000.5)
    store.sent("two", 1, 1, "promo", A, None, 1001.5)
    known = Sent("one", 2, 3, "promo", A, "ssmi.receive.Lunch", 1000.5, "77")
    assert store.sequence("promo", A, "77") == known
    assert store.report("promo", A, "77") == known
    assert store.report("promo", A, "78") == Sent("two", 1, 1, "promo", A, None, 1001.5, "78")


# What happened after SMS 1, 2, … went to A, and which of them each of it is about.
HISTORIES = {
    "sequences go to the oldest first": (2, [("seq", "7", 1), ("seq", "8", 2), ("dr", "8", 2), ("dr", "7", 1)]),
    "a sequence too many is nobody's": (1, [("seq", "7", 1), ("seq", "8", None), ("dr", "8", None)]),
    "a sequence said twice is the same SMS's": (1, [("seq", "7", 1), ("seq", "7", 1)]),
    "a report said twice is about the same SMS": (2, [("seq", "7", 1), ("dr", "7", 1), ("dr", "7", 1)]),
    "without a sequence, the only one it can be": (1, [("dr", "7", 1), ("dr", "7", 1), ("seq", "7", 1)]),
    "of two that it can be it is neither": (2, [("dr", "7", None), ("seq", "7", 1), ("dr", "7", 1)]),
    "what has a sequence is not meant by another": (2, [("seq", "7", 1), ("dr", "9", 2), ("dr", "9", 2)]),
    "a report without a sequence is not about that of another": (2, [("seq", "7", 1), ("dr", "", 2), ("dr", "", None)]),
    "nothing was sent": (0, [("seq", "7", None), ("dr", "7", None)]),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("restarts", [False, True])
def test_histories(path, history, restarts):
    count, happened = history
    store = SmsStore(path)
    for n in range(count):
        send(store, n + 1)
    for what, sequence, about in happened:
        if restarts:
            store.close()
            store = SmsStore(path)
        found = store.sequence("default", A, sequence) if what == "seq" else store.report("default", A, sequence)
        assert id_of(found) == (about and str(about)), (what, sequence)
    store.close()


def test_numbers_and_accounts_are_told_apart(store):
    send(store, "a")
    send(store, "b", msisdn=B)
    send(store, "c", account="promo")
    assert id_of(store.sequence("promo", A, "7")) == "c"
    assert id_of(store.sequence("default", B, "7")) == "b"
    assert id_of(store.report("default", A, "7")) == "a"
    assert id_of(store.report("default", B, "7")) == "b"
    send(store, "d", msisdn="278", account="m")
    assert [store.report(account, "278", "7") for account in ("default", "promo")] == [None, None]


def test_a_sequence_given_anew_is_that_of_the_newest(store):
    for id in ("old", "new"):
        send(store, id)
        store.sequence("default", A, "1")
    assert id_of(store.report("default", A, "1")) == "new"


def test_imsi_replies_find_their_lookup_and_no_sequence_comes_twice(path, store):
    one = store.looked_up("look-1", "default", A, "ssmi.receive.Lunch", 1000.0)
    two = store.looked_up("look-2", "promo", B, None, 1001.0)
    assert (one, two) == ("1", "2")
    assert store.imsi("1") == store.imsi("1") == Lookup("look-1", "default", A, "ssmi.receive.Lunch", 1000.0)
    assert [store.imsi(other) for other in ("3", "", "x", "-1", "9" * 30)] == [None] * 5
    store.expire(1e12)
    assert store.imsi("2") is None
    store.close()
    with contextlib.closing(SmsStore(path)) as following:
        assert following.looked_up("look-3", "default", A, None, 1002.0) == "3"


def test_what_is_older_than_eight_days_is_forgotten(store):
    send(store, "old", wall=1000.0)
    send(store, "new", msisdn=B, wall=1001.0)
    old, new = (store.looked_up(f"look-{wall}", "default", A, None, wall) for wall in (1000.0, 1001.0))
    assert store.expire(1001.0 + KEPT_S) == 2
    assert (store.report("default", A, "7"), store.imsi(old)) == (None, None)
    assert id_of(store.report("default", B, "7")) == "new"
    assert store.imsi(new) is not None


def test_a_clock_that_was_wrong_for_a_while_keeps_nobody_from_being_forgotten(store):
    send(store, "from the future", wall=1e11)
    send(store, "old", msisdn=B)
    assert store.expire(1001.0 + KEPT_S) == 1
    assert id_of(store.report("default", A, "7")) == "from the future"


def test_forgetting_goes_in_steps_that_are_short(store):
    for n in range(EXPIRED_AT_ONCE + 10):
        send(store, str(n))
    assert [store.expire(1e9), store.expire(1e9), store.expire(1e9)] == [EXPIRED_AT_ONCE, 10, 0]


def test_beyond_the_limit_the_oldest_are_forgotten(path):
    with contextlib.closing(SmsStore(path, limit=200)) as store:
        for n in range(1000):
            send(store, str(n), msisdn=str(n))
            store.looked_up(str(n), "default", A, None, 0.0)
        assert [id_of(store.report("default", str(n), "7")) for n in (0, 799, 800, 999)] == [None, None, "800", "999"]
        assert [store.imsi(str(n)) is not None for n in (1, 800, 801, 1000)] == [False, False, True, True]


KILLED = """
import os, signal, sys
from pathlib import Path
from richmond.sms_store import SmsStore
store = SmsStore(Path(sys.argv[1]))
store.sent("committed", 1, 1, "default", "1", None, 0.0)
assert store.dirty
store.commit()
assert not store.dirty
store.sent("not committed", 1, 1, "default", "2", None, 0.0)
if sys.argv[2:]:
    store.looked_up("look", "default", "3", None, 0.0)
    store.sent("not committed", 1, 1, "default", "4", None, 0.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("arguments", "found"), [([], ["committed", None, None]), (["look"], ["committed", "not committed", None])]
)
def test_kill_9_costs_what_was_not_committed_and_never_a_lookup(path, arguments, found):
    subprocess.run([sys.executable, "-c", KILLED, path, *arguments], check=False)
    with contextlib.closing(SmsStore(path)) as store:
        assert [id_of(store.report("default", msisdn, "7")) for msisdn in "124"] == found
        assert (store.imsi("1") is not None) == bool(arguments)


def test_a_full_disk_costs_what_could_not_be_committed_and_nothing_later(path, store, caplog):
    for n in range(100):
        send(store, str(n), msisdn=str(n))
    with files_no_larger_than(path.with_name("sms.db-wal").stat().st_size):
        store.commit()
        assert store.looked_up("look", "default", A, None, 0.0) is None
    send(store, "later")
    store.commit()
    with contextlib.closing(SmsStore(path)) as another:
        assert [id_of(another.report("default", msisdn, "7")) for msisdn in ("99", A)] == [None, "later"]
    assert "will not find" in caplog.text


def test_a_damaged_file_is_put_aside_and_said(path, caplog):
    path.write_bytes(os.urandom(20000))
    with contextlib.closing(SmsStore(path)) as store:
        send(store, "one")
        assert id_of(store.report("default", A, "7")) == "one"
    assert len(list(path.parent.glob("sms.db.damaged-*"))) == 1
    assert "is damaged" in caplog.text


def test_without_a_file_nothing_is_known_and_nothing_fails(tmp_path, caplog):
    with contextlib.closing(SmsStore(tmp_path / "missing" / "sms.db")) as store:
        send(store, "one")
        store.commit()
        assert store.expire(1e12) == 0
        assert store.sequence("default", A, "7") is store.report("default", A, "7") is None
        assert store.looked_up("look", "default", A, None, 0.0) is store.imsi("1") is None
        assert not store.dirty
    assert caplog.text.count("will not find their SMS") == 1
