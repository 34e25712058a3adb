"""Who wants no more SMS is remembered, whatever becomes of the process or the file."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest

from richmond.opt_out import OptOut

STOP, START = ("STOP", "stop all"), ("START",)
A, B = "27831112222", "27831113333"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "optout.db"


@pytest.fixture
def opt_out(path):
    opt_out = OptOut(path)
    yield opt_out
    opt_out.close()


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("STOP", "out"),
        ("stop", "out"),
        (" Stop.\n", "out"),
        ("'STOP'!", "out"),
        ("Stop   All", "out"),
        ("START", "in"),
        ("“start”", "in"),
        ("STOP it, you", None),
        ("don't stop", None),
        ("STOPALL", None),
        ("", None),
        ("...", None),
        ("1", None),
    ],
)
def test_words(opt_out, text, heard):
    assert opt_out.hear("default", A, text, STOP, START) == heard
    assert opt_out.is_out("default", A) == (heard == "out")


def test_an_empty_word_is_no_word(opt_out):
    assert opt_out.hear("default", A, "", ["", "STOP"], [""]) is None


def test_out_and_in_and_out_again_by_account_and_number(opt_out, path):
    assert opt_out.hear("default", A, "STOP", STOP, START) == "out"
    assert opt_out.hear("default", A, "STOP", STOP, START) == "out"
    assert opt_out.hear("promo", B, "STOP", STOP, START) == "out"
    assert opt_out.hear("promo", A, "START", STOP, START) == "in"
    out = [(account, msisdn) for account in ("default", "promo") for msisdn in (A, B)]
    assert [key for key in out if opt_out.is_out(*key)] == [("default", A), ("promo", B)]
    assert opt_out.hear("default", A, "START", STOP, START) == "in"
    opt_out.close()
    with contextlib.closing(OptOut(path)) as following:
        assert [key for key in out if following.is_out(*key)] == [("promo", B)]
        assert len(following) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from richmond.opt_out import OptOut
OptOut(Path(sys.argv[1])).hear("default", "1", "STOP", ["STOP"], [])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_right_after_it_was_heard_costs_nothing(path):
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    with contextlib.closing(OptOut(path)) as opt_out:
        assert opt_out.is_out("default", "1")


def test_what_could_not_be_written_is_written_as_soon_as_it_can(tmp_path, caplog):
    path = tmp_path / "var" / "optout.db"
    with contextlib.closing(OptOut(path)) as opt_out:
        opt_out.hear("default", A, "STOP", STOP, START)
        opt_out.hear("default", B, "STOP", STOP, START)
        opt_out.hear("default", B, "START", STOP, START)
        assert [opt_out.is_out("default", msisdn) for msisdn in (A, B)] == [True, False]
        path.parent.mkdir()
        opt_out.hear("default", B, "START", STOP, START)  # says nothing new, and yet
        with contextlib.closing(OptOut(path)) as following:
            assert [following.is_out("default", msisdn) for msisdn in (A, B)] == [True, False]
    assert "opt-outs are not kept" in caplog.text


@pytest.mark.parametrize("hears_more", [True, False])
def test_what_was_heard_without_a_file_goes_before_what_is_in_it(tmp_path, hears_more):
    path = tmp_path / "var" / "optout.db"
    away = tmp_path / "away"
    path.parent.mkdir()
    with contextlib.closing(OptOut(path)) as before:
        for msisdn in (A, B):
            before.hear("default", msisdn, "STOP", STOP, START)
    path.parent.rename(away)
    with contextlib.closing(OptOut(path)) as opt_out:
        opt_out.hear("default", A, "START", STOP, START)
        away.rename(path.parent)
        if hears_more:
            opt_out.hear("default", "278", "STOP", STOP, START)
            assert [opt_out.is_out("default", msisdn) for msisdn in (A, B)] == [False, True]
    with contextlib.closing(OptOut(path)) as following:
        assert [following.is_out("default", msisdn) for msisdn in (A, B)] == [False, True]


def test_a_file_that_is_damaged_under_us_is_written_anew(path, opt_out, caplog):
    for n in range(20):
        opt_out.hear("default", str(n), "STOP", STOP, START)
    with contextlib.closing(sqlite3.connect(path)) as another:
        another.execute("PRAGMA writable_schema = on")
        another.execute("UPDATE sqlite_master SET rootpage = 9999")
        another.execute("PRAGMA schema_version = 9999")
        another.commit()
    opt_out.hear("default", "one more", "STOP", STOP, START)
    with contextlib.closing(OptOut(path)) as following:
        assert following.is_out("default", "one more")
        assert len(following) == 21
    assert "is damaged" in caplog.text
