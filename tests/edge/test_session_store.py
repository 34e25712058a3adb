"""Sessions on disk: what was saved comes back, and a file that cannot be used never stops a broker."""

import pytest

from richmond.session_store import SessionStore
from richmond.ssmi.sessions import Pages, Saved

ONE = Saved("2781", "t1", "*120*1#", 1000.0)
TWO = Saved("2782", "t2", None, 900.0)


def test_what_was_saved_comes_back_the_longest_idle_first(tmp_path):
    store = SessionStore(tmp_path / "sessions.db")
    store.save("default", [ONE, TWO], [])
    assert SessionStore(tmp_path / "sessions.db").load("default") == [TWO, ONE]  # without a close, as after kill -9
    store.save("default", [Saved("2781", "t3", "*120*1#", 1001.0)], ["2782", "2799"])
    store.close()
    assert SessionStore(tmp_path / "sessions.db").load("default") == [Saved("2781", "t3", "*120*1#", 1001.0)]


def test_one_number_may_have_a_session_at_each_of_two_accounts(tmp_path):
    store = SessionStore(tmp_path / "sessions.db")
    other = Saved("2781", "t9", None, 1.0)
    store.save("default", [ONE], [])
    store.save("second", [other], ["2782"])
    assert (store.load("default"), store.load("second")) == ([ONE], [other])
    store.save("default", [], ["2781"])
    assert (store.load("default"), store.load("second")) == ([], [other])


def test_pages_come_back(tmp_path):
    store = SessionStore(tmp_path / "sessions.db")
    paged = [
        Saved("2781", "t1", None, 1.0, Pages(("zwei\nGänse", "drei"), "3")),
        Saved("2782", "t2", None, 2.0, Pages(("x",), "2", ("", "a"))),
    ]
    store.save("default", paged, [])
    assert SessionStore(tmp_path / "sessions.db").load("default") == paged


def test_only_its_owner_may_read_the_numbers(tmp_path):
    store = SessionStore(tmp_path / "sessions.db")
    store.save("default", [ONE], [])
    assert [f.stat().st_mode & 0o777 for f in tmp_path.iterdir()] == [0o600]


def test_a_damaged_file_is_replaced_and_said(tmp_path, caplog):
    path = tmp_path / "sessions.db"
    path.write_bytes(b"no database, by far" * 1000)
    store = SessionStore(path)
    store.save("default", [ONE], [])
    assert SessionStore(path).load("default") == [ONE]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("place", ["missing/sessions.db", "."])
def test_without_a_file_everything_else_works(tmp_path, place, caplog):
    store = SessionStore(tmp_path / place)
    store.save("default", [ONE], [])
    assert store.load("default") == []
    assert "will not outlive" in caplog.text
