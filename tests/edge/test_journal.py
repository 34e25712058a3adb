"""The journal on a real disk: nothing that it took is lost, whatever ends the process or befalls the file."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from full_disk import files_no_larger_than

from richmond.journal import Entry, Journal

ROOMY = 1 << 24


def entries(first, count, size=50):
    return [
        Entry("sms", "richmond", "ssmi.receive", b"%0*d" % (size, n), 1000.0 + n) for n in range(first, first + count)
    ]


def numbers(journal):
    return [int(entry.body) for entry in journal.peek(100_000)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path):
    journal = Journal(path, ROOMY)
    yield journal
    journal.close()


def test_entries_come_out_as_they_went_in_and_in_order(journal):
    sent = [
        Entry("sms", "richmond", "ssmi.receive.Lunch", b'{"message": "caf\xc3\xa9"}', 1000.5),
        Entry("unknown", "richmond.events", "ssmi.unknown", b"\x00\r\n", 1000.25),
    ]
    assert journal.append(sent[:1])
    assert journal.append(sent[1:])
    found = journal.peek(10)
    assert [(e.kind, e.exchange, e.routing_key, e.body, e.wall) for e in found] == [
        (e.kind, e.exchange, e.routing_key, e.body, e.wall) for e in sent
    ]
    assert journal.peek(10) == found  # looking takes nothing


def test_what_is_done_in_any_order_is_gone_and_the_rest_stays(journal):
    assert journal.oldest() is None
    assert journal.append(entries(0, 6))
    ids = [entry.id for entry in journal.peek(6)]
    assert [int(entry.body) for entry in journal.peek(2, after=ids[1])] == [2, 3]
    journal.done([ids[4], ids[0]])
    journal.done([ids[0], 12345])  # done before, never there
    assert numbers(journal) == [1, 2, 3, 5]
    assert len(journal) == 4
    assert journal.oldest() == 1001.0
    journal.done(ids)
    assert (len(journal), journal.oldest(), journal.peek(1)) == (0, None, [])


def test_what_is_done_comes_no_more_even_if_the_disk_does_not_take_that_yet(path, journal):
    assert journal.append(entries(0, 5))
    ids = [entry.id for entry in journal.peek(5)]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.done([ids[1], ids[2]])
        assert numbers(journal) == [0, 3, 4]
        assert [int(entry.body) for entry in journal.peek(2, after=ids[0])] == [3, 4]
    journal.done(())
    assert (len(journal), numbers(journal)) == (3, [0, 3, 4])


def test_an_id_never_comes_again(journal):
    assert journal.append(entries(0, 3))
    last = journal.peek(3)[-1].id
    journal.done(entry.id for entry in journal.peek(3))
    assert journal.append(entries(3, 1))
    assert journal.peek(1, after=last) == journal.peek(1) != []


def test_the_next_process_goes_on_where_the_last_one_was(path, journal):
    assert journal.append(entries(0, 5))
    journal.done([journal.peek(1)[0].id])
    journal.close()
    with contextlib.closing(Journal(path, ROOMY)) as following:
        assert (len(following), following.oldest()) == (4, 1001.0)
        assert following.append(entries(5, 1))
        assert numbers(following) == [1, 2, 3, 4, 5]


APPENDING = """
import sys
from pathlib import Path
from richmond.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]), 1 << 24)
n = 0
while True:
    assert journal.append([Entry("sms", "x", "k", b"%d" % (n + i), 0.0) for i in range(7)])
    n += 7
    print(n, flush=True)
"""


def test_kill_9_in_the_middle_loses_nothing_that_was_taken(path):
    with subprocess.Popen([sys.executable, "-c", APPENDING, path], stdout=subprocess.PIPE) as process:
        said = [process.stdout.readline() for _ in range(1500)]  # past the first merge of the write-ahead log
        process.send_signal(signal.SIGKILL)
        taken = int([*said, *process.stdout][-1])
    with contextlib.closing(Journal(path, ROOMY)) as journal:
        found = numbers(journal)
        assert found == list(range(len(found)))
        assert len(found) in (taken, taken + 7)  # killed before it could say so
        assert len(journal) == len(found)


@pytest.mark.parametrize("torn", [1, 100, 4000, 4120])  # a frame of the write-ahead log has 4120
@pytest.mark.parametrize("garbage", [False, True])
def test_a_torn_last_write_costs_only_what_was_not_taken_yet(path, journal, tmp_path, torn, garbage, caplog):
    assert journal.append(entries(0, 100))
    assert journal.append(entries(100, 10))
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)  # as the disk has it when the power fails
    wal = path.with_name("journal.db-wal").read_bytes()
    tail = os.urandom(torn) if garbage else b""
    (tmp_path / "copy.db-wal").write_bytes(wal[:-torn] + tail)
    with contextlib.closing(Journal(copy, ROOMY)) as after:
        assert numbers(after) == list(range(100))
        assert after.append(entries(100, 10))
        assert numbers(after) == list(range(110))
    assert not caplog.records


@pytest.mark.parametrize("damage", [b"no database, by far" * 1000, b"SQLite format 3\0" + b"\xff" * 10000])
def test_a_damaged_file_is_put_aside_and_said(path, damage, caplog):
    path.write_bytes(damage)
    with contextlib.closing(Journal(path, ROOMY)) as journal:
        assert journal.append(entries(0, 2))
        assert numbers(journal) == [0, 1]
    (aside,) = path.parent.glob("journal.db.damaged-*")
    assert aside.read_bytes() == damage
    assert "is damaged" in caplog.text
    assert aside.name in caplog.text


def test_damage_that_shows_later_costs_what_was_in_the_file_and_nothing_later(path, caplog):
    with contextlib.closing(Journal(path, ROOMY)) as journal:
        assert journal.append(entries(0, 2000, size=1000))
    with path.open("r+b") as file:  # all pages but the first, where the schema is
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with contextlib.closing(Journal(path, ROOMY)) as journal:
        assert journal.append(entries(5000, 3))
        assert numbers(journal) == [5000, 5001, 5002]
        assert len(journal) == 3
    assert caplog.text.count("is damaged") == 1


def test_damage_under_us_costs_what_was_in_the_file_and_no_id_comes_again(path, journal, caplog):
    assert journal.append(entries(0, 20))
    last = journal.peek(20)[-1].id
    with contextlib.closing(sqlite3.connect(path)) as another:
        another.execute("PRAGMA writable_schema = on")
        another.execute("UPDATE sqlite_master SET rootpage = 9999")
        another.execute("PRAGMA schema_version = 9999")
        another.commit()
    assert journal.append(entries(20, 2))
    assert [int(entry.body) for entry in journal.peek(10, after=last)] == [20, 21]
    assert len(journal) == 2
    assert caplog.text.count("is damaged") == 1


def test_a_full_journal_takes_nothing_until_something_is_done(path, caplog):
    limit = 1 << 20
    with contextlib.closing(Journal(path, limit)) as journal:
        taken = 0
        while journal.append(entries(taken, 10, size=1000)):
            taken += 10
        assert 600 < taken < 1050
        assert not journal.append(entries(taken, 10, size=1000))
        assert numbers(journal) == list(range(taken))  # no part of a batch
        assert path.stat().st_size <= limit
        journal.done(entry.id for entry in journal.peek(100))
        assert journal.append(entries(taken, 10, size=1000))
        assert len(journal) == taken - 90
    assert caplog.text.count("disk is full") == 1


def test_an_empty_journal_gives_its_space_back(path, journal):
    assert journal.append(entries(0, 3000, size=1000))
    journal.done(entry.id for entry in journal.peek(3000))
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 100_000


def test_a_full_disk_refuses_and_is_well_again(path, journal, caplog):
    assert journal.append(entries(0, 2))
    with files_no_larger_than(path.with_name("journal.db-wal").stat().st_size):
        assert not journal.append(entries(2, 2))
        journal.done([journal.peek(1)[0].id])  # cannot be written either, and must not come again
        assert len(journal) == 2
    assert numbers(journal) == [1]
    assert journal.append(entries(2, 2))
    assert (numbers(journal), len(journal)) == ([1, 2, 3], 3)
    assert "no SMS is read" in caplog.text


def test_without_a_directory_it_refuses_until_there_is_one(tmp_path, caplog):
    with contextlib.closing(Journal(tmp_path / "var" / "journal.db", ROOMY)) as journal:
        assert not journal.append(entries(0, 1))
        assert (len(journal), journal.oldest(), journal.peek(1)) == (0, None, [])
        (tmp_path / "var").mkdir()
        assert journal.append(entries(0, 1))
        assert numbers(journal) == [0]
    assert caplog.text.count("No such file") == 1


def test_only_its_owner_may_read_the_texts(path, journal):
    assert journal.append(entries(0, 1))
    files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert files == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
