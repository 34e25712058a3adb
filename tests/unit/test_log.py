import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from richmond import log

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO   |WARNING|ERROR  |DEBUG  ) (\S+)  (.*)")


@pytest.fixture
def path(tmp_path):
    yield tmp_path / "richmond.log"
    logging.getLogger().removeHandler(log._handler)
    logging.getLogger("richmond").setLevel(logging.NOTSET)
    log.close()
    log._handler, log._messages = None, False


def lines(path):
    return [LINE.fullmatch(line).groups() for line in path.read_text("utf-8").splitlines() if not line.startswith(" ")]


def test_a_line_has_time_level_process_and_text(path):
    log.setup(path, "info", False, "EchoWorker:0")
    logging.getLogger("richmond.broker").warning("gateway %s is away • ü", "gw")
    assert lines(path) == [("WARNING", "EchoWorker:0", "gateway gw is away • ü")]


def test_the_level_holds_for_richmond_and_libraries_say_warnings_only(path):
    log.setup(path, "debug", False)
    logging.getLogger("richmond.x").debug("ours")
    logging.getLogger("amqpstorm").info("theirs")
    logging.getLogger("amqpstorm").warning("their warning")
    log.setup(path, "error", False)
    logging.getLogger("richmond.x").warning("too low now")
    assert [text for _, _, text in lines(path)] == ["ours", "their warning"]


def test_msg_and_err_take_what_the_workers_of_2010_gave_them(path):
    log.setup(path, "info", False)
    log.msg("Publishing", {"a": 1}, 5)
    log.msg("100% %s")
    log.msg(format="%(n)d messages", n=3)
    log.msg("more", logLevel=logging.WARNING)
    log.err("plain")
    log.err("plain", "why")
    log.err()
    try:
        raise ValueError("boom")
    except ValueError as e:
        error = e
        log.err()
    log.err(error, "handling failed")
    assert lines(path) == [
        ("INFO   ", "master", "Publishing {'a': 1} 5"),
        ("INFO   ", "master", "100% %s"),
        ("INFO   ", "master", "3 messages"),
        ("WARNING", "master", "more"),
        ("ERROR  ", "master", "plain"),
        ("ERROR  ", "master", "why: plain"),
        ("ERROR  ", "master", "Unhandled error"),
        ("ERROR  ", "master", "Unhandled error"),
        ("ERROR  ", "master", "handling failed"),
    ]
    assert path.read_text().count("    ValueError: boom\n") == 2


def test_a_text_from_outside_neither_forges_a_line_nor_drives_the_terminal(path):
    log.setup(path, "info", True)
    for handler in set(logging.getLogger().handlers) - {log._handler}:
        logging.getLogger().removeHandler(handler)  # pytest's own: xdist cannot send a lone surrogate
    log.msg("hi\n2026-01-01 00:00:00.000 ERROR   master  forged\r\x1b[2J\x9b1m\ud800")
    assert len(lines(path)) == 1
    assert path.read_text("utf-8").endswith(
        "hi\n    2026-01-01 00:00:00.000 ERROR   master  forged\\x0d\\x1b[2J\\x9b1m\\ud800\n"
    )


@pytest.mark.parametrize(
    ("msisdn", "masked"),
    [("27831112222", "2783•••2222"), ("+27831112222", "+278•••2222"), ("831112", "83•••12"), ("12345", "•••")],
)
def test_numbers_and_texts_are_hidden_unless_asked_for(path, msisdn, masked):
    log.setup(path, "info", False)
    assert log.mask(msisdn) == masked
    assert (log.text("hello"), log.text("x"), log.text("")) == ("(5 characters)", "(1 character)", "(0 characters)")
    log.setup(path, "info", True)
    assert (log.mask(msisdn), log.text("hello")) == (msisdn, "hello")


def test_what_quotes_a_subscriber_hides_number_and_text_unless_asked_for(path):
    log.setup(path, "info", messages=False)
    quotes = "KeyError: 'her name\\n' of 27831112222, line 1"
    assert log.conceal(quotes, "27831112222", "her name\n") == "KeyError: '(9 characters)' of 2783•••2222, line 1"
    assert log.conceal(quotes, 27831112222, "1") == quotes, "a menu's number is no secret, and line 1 stays readable"
    log.setup(path, "info", messages=True)
    assert log.conceal(quotes, "27831112222", "her name\n") == quotes


def test_a_rotated_file_is_left_for_the_new_one(path):
    log.setup(path, "info", False)
    log.msg("one")
    path.rename(path.with_suffix(".1"))
    log.msg("two")
    path.unlink()
    log.reopen()
    log.msg("three")
    assert [text for _, _, text in lines(path.with_suffix(".1"))] == ["one"]
    assert [text for _, _, text in lines(path)] == ["three"]


def test_a_directory_that_is_gone_costs_lines_but_no_error_and_they_are_counted(path):
    log.setup(path, "info", False)
    before = log.dropped()
    moved = path.parent.rename(path.parent.with_name(path.parent.name + "-moved"))
    log.msg("lost")
    log.reopen()
    log.msg("lost too")
    assert log.dropped() == before + 2
    moved.rename(path.parent)
    log.msg("there")
    said = [text for _, _, text in lines(path)]
    assert said == ["2 log lines are lost: No such file or directory", "there"]
    assert log.dropped() == before + 2


def test_a_full_disk_costs_lines_but_no_error_and_they_are_counted(path):
    path.symlink_to("/dev/full")
    log.setup(path, "info", False)
    log.msg("lost")
    assert log.dropped() == 1


def test_a_broken_argument_costs_its_line_only():
    # In a process of its own: pytest's handler would raise.
    code = (
        "import logging; from richmond import log; log.setup(None, 'info', False)\n"
        "logging.getLogger('richmond.x').info('%d and %d', 1)\n"
        "log.msg('next', log.dropped())"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=15, check=True)
    assert LINE.fullmatch(done.stderr.decode().rstrip("\n"))[3] == "next 1"


def test_a_directory_that_cannot_be_written_is_an_error_at_the_set_up_and_changes_nothing(path):
    log.setup(path, "info", False)
    with pytest.raises(OSError, match="none"):
        log.setup(path.parent / "none" / "x.log", "error", True)
    log.msg("still there")
    assert [text for _, _, text in lines(path)] == ["still there"]


def test_descriptors_are_closed_when_the_log_moves(path):
    log.setup(path, "info", False)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        log.setup(path, "info", False)
        log.reopen()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_pipe_that_nobody_reads_does_not_stop_the_service():
    code = (
        "import sys; from richmond import log; log.setup(None, 'info', False)\n"
        "for n in range(20_000): log.msg('x' * 100)\n"
        "print(log.dropped())"
    )
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=write, timeout=15, check=True
        )
        assert int(done.stdout) > 19_000
        assert LINE.fullmatch(os.read(read, 65536).decode().splitlines()[0])
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_warnings_have_a_colour_on_a_terminal_only(environment, coloured):
    code = "from richmond import log; log.setup(None, 'info', False); log.err('x')"
    ours, theirs = os.openpty()
    try:
        environment = {**os.environ, **environment}
        subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, timeout=15, check=True)
        assert ("\x1b[31mERROR" in os.read(ours, 4096).decode()) is coloured
    finally:
        os.close(ours)
        os.close(theirs)
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment, timeout=15, check=True)
    assert LINE.fullmatch(done.stderr.decode().rstrip("\n"))
