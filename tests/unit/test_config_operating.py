"""The ini's keys for logs and hooks."""

import sys

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


def test_how_a_class_scales_has_defaults_and_bounds(load):
    worker = load().workers[0]
    assert (worker.weight, worker.target_utilisation, worker.drain_target_s) == (1, 0.85, 5)
    worker = load(worker="weight = 3\ntarget-utilisation = 0.5\nmin = 0\nmax = 4").workers[0]
    assert (worker.weight, worker.target_utilisation, worker.min, worker.max, worker.workers) == (3, 0.5, 0, 4, 1)


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ("weight = 0", "0 is out of bounds; valid is 1 to 1000"),
        ("weight = much", "'much' is not a whole number from 1 to 1000"),
        ("target-utilisation = 70 %", "'70 %' is not a fraction; valid is 0.1 to 0.95"),
        ("target-utilisation = 1", "1 is out of bounds; valid is 0.1 to 0.95"),
        ("target-utilization = 0.5", "did you mean target-utilisation?"),
    ],
)
def test_how_a_class_cannot_scale_is_said(load, worker, words):
    with pytest.raises(ConfigError) as e:
        load(worker=worker)
    assert words in str(e.value)


@pytest.mark.parametrize("url", ["rabbit:15672", "ftp://rabbit", "http://", "http://rabbit:port", "http://a b"])
def test_an_address_of_the_management_api_that_cannot_be_is_said_without_its_password(tmp_path, url):
    ini = tmp_path / "richmond.ini"
    ini.write_text(f"[amqp]\nmanagement = {url}\n[worker:EchoWorker]\n")
    with pytest.raises(ConfigError, match="is not the URL of a server"):
        config.load(ini, {})


def test_traces_need_packages_and_the_command_that_gets_them_is_said(load, monkeypatch):
    on = "[otel]\nenabled = yes\nheaders = x-api-key=s3cret\n"
    settings = load(on)
    assert settings.otel.enabled
    assert "s3cret" not in config.describe(settings)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)  # as if it were not there
    with pytest.raises(ConfigError, match="pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"):
        load(on)
    assert not load("[otel]\nenabled = no\n").otel.enabled
