"""Fixtures that the whole suite shares."""

import pytest

from richmond.rabbitmq import PrivateNode


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """A RabbitMQ node of this test process's own. Where the server is missing, it fails and says how to install it."""
    private = PrivateNode(tmp_path_factory.mktemp("rabbitmq"))
    yield private.start(60)
    private.stop(10)
