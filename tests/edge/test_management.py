"""The management API of a real node, and what is said when it does not answer."""

import os
import socket
import subprocess
from dataclasses import replace

import pytest
from fleet import Queues, make_amqp
from installation import until

from richmond.errors import AMQPError
from richmond.rabbitmq import PrivateNode
from richmond.supervisor.management import ask

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def managed(tmp_path):
    """A node with the plugin: its settings, without a password that it knows in the URL."""
    node = PrivateNode(tmp_path / "node")
    info = node.start(60)
    port = free_port()
    control = (tmp_path / "node/rabbitmqctl").read_text().replace("/rabbitmqctl -n", "/rabbitmq-plugins -n")
    environ = {**os.environ, "RABBITMQ_ENABLED_PLUGINS_FILE": str(tmp_path / "node/enabled_plugins")}

    def run(*args, script=tmp_path / "node/rabbitmqctl"):
        done = subprocess.run([script, *args], env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        plugins = tmp_path / "plugins"
        plugins.write_text(control)
        plugins.chmod(0o700)
        listener = f'[{{port, {port}}}, {{ip, "127.0.0.1"}}]'
        setting = f"application:set_env(rabbitmq_management, tcp_config, {listener})"
        run("eval", f"application:load(rabbitmq_management), {setting}.")
        run("enable", "rabbitmq_management", script=plugins)
        amqp = replace(
            make_amqp(info.port, info.username, info.password, info.vhost), management=f"http://127.0.0.1:{port}"
        )
        yield amqp, run
    finally:
        node.stop(20)


def test_it_tells_what_anybody_holds_and_what_it_refuses(managed):
    amqp, run = managed
    with pytest.raises(AMQPError, match="refuses richmond; allow it: rabbitmqctl set_user_tags richmond management"):
        ask(amqp)
    run("set_user_tags", "richmond", "management")
    queues = Queues(amqp)
    try:
        for _ in range(3):
            queues.put()
        next(queues.channel.consume(amqp.receive_queue))
        until("all of it", lambda: ask(amqp)[amqp.receive_queue].unacked == 3)
        facts = ask(amqp)[amqp.receive_queue]
        assert (facts.in_rate >= 0, facts.out_rate >= 0) == (True, True)
        wrong = replace(amqp, management=amqp.management.replace("//", "//richmond:n%40body@"))
        with pytest.raises(AMQPError, match=r"the management API at http://127.0.0.1:\d+ refuses richmond") as e:
            ask(wrong)
        assert "n%40body" not in str(e.value)
        with pytest.raises(AMQPError, match=r"answers with status 40. to /api/queues/nowhere"):
            ask(replace(amqp, vhost="nowhere"))
    finally:
        queues.channel.cancel()
        queues.close()


def test_nobody_there_is_said():
    amqp = replace(make_amqp(1, "richmond", "x", "/"), management=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(AMQPError, match=r"does not answer: .*refused"):
        ask(amqp)
