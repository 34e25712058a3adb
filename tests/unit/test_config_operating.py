"""The ini's keys for logs and hooks."""

import pytest

from richmond import config
from richmond.config_checks import command_line
from richmond.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def load(richmond="", worker=""):
        ini = tmp_path / "richmond.ini"
        ini.write_text(f"[richmond]\n{richmond}\n[worker:EchoWorker]\n{worker}\n")
        return config.load(ini, {})

    return load


def test_what_is_left_out_is_no_hook_and_one_file_of_50_mb(load):
    settings = load()
    assert (settings.richmond.on_event, settings.workers[0].on_fatal, settings.richmond.hook_timeout_s) == (
        "",
        "none",
        10,
    )
    assert (settings.richmond.log_files, settings.richmond.log_format) == ("one", "text")
    assert (settings.richmond.log_max_bytes, settings.richmond.log_backups) == (50 * 1024 * 1024, 5)


def test_sizes_have_units(load):
    assert load("log-max-bytes = 2 MB").richmond.log_max_bytes == 2 << 20
    assert load("log-max-bytes = 0").richmond.log_max_bytes == 0


def test_a_command_is_kept_as_it_is_written(load):
    command = "sh -c 'logger -t \"richmond\"; cat # %'"
    assert load(f"on-event = {command}").richmond.on_event == command
    assert load(worker=f"on-fatal = {command}").workers[0].on_fatal == command
    assert load(worker="on-fatal = Exit").workers[0].on_fatal == "exit"


@pytest.mark.parametrize(
    ("richmond", "worker", "words"),
    [
        ("on-event = echo 'half", "", 'on-event: "echo \'half" is no command: No closing quotation'),
        ("", "on-fatal = echo 'half", "is no command"),
        ("log = stderr\nlog-files = per-class", "", "per-class, but log = stderr"),
        ("log-format = xml", "", "valid is one of text, json"),
        ("log-max-bytes = much", "", "is not a size"),
        ("hook-timeout = 0", "", "out of bounds"),
    ],
)
def test_what_cannot_be_is_said(load, richmond, worker, words):
    with pytest.raises(ConfigError) as e:
        load(richmond, worker)
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("", []),
        ("notify --all 'two words'", ["notify", "--all", "two words"]),
        ("sh -c 'a | b'", ["sh", "-c", "a | b"]),
        ("sh -c a | b", ["sh", "-c", "a | b"]),
        ("sh -c   cat > $HOME/x", ["sh", "-c", "cat > $HOME/x"]),
        ("sh script -c x y", ["sh", "script", "-c", "x", "y"]),
        ("sh -c", ["sh", "-c"]),
    ],
)
def test_a_command_has_parts(command, parts):
    assert command_line(command) == parts
