"""A telephone talks to a worker, through the real command, real SSMI, real RabbitMQ and forked workers."""

import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def test_echo_worker_greets_echoes_and_ends(richmond):
    call = richmond.run("dial", "*120*663#", "hello", "0")
    assert call.returncode == 0, call.stderr
    lines = call.stdout.splitlines()
    assert lines[0] == "> *120*663#"
    assert lines[1].startswith("Hello, this is an echo service")
    assert lines[2:] == ["> hello", "hello", "> 0", "quitting, goodbye!", "(session ended)"]


def test_another_code_reaches_another_class(richmond):
    call = richmond.run("dial", "*120*666#", "no", "bar")
    assert call.returncode == 0, call.stderr
    assert "foo?\n> no\nSay bar ...\n> bar\nClever. Bye!\n(session ended)" in call.stdout
