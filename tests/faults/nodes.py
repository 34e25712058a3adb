"""RabbitMQ nodes for those who want to do something to them."""

import os
import signal

from installation import until

from richmond.rabbitmq import PrivateNode


class OwnNode:
    """A node that may be killed, stopped and frozen; it is started again as it was."""

    def __init__(self, directory):
        self._node = PrivateNode(directory)
        self.info = self._node.start(60)

    def __getattr__(self, name):
        return getattr(self.info, name)  # host, port and what else an Installation asks

    def start(self):
        self.info = self._node.start(60, same_port=True)

    def stop(self):
        self._node.stop(30)

    def signal(self, number):
        os.kill(self.info.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        until("the node's end", lambda: self._node.running() is None)


class Through:
    """A node, by way of a proxy."""

    def __init__(self, node, proxy):
        self._node = node
        self.proxy = proxy
        self.port = proxy.port

    def __getattr__(self, name):
        return getattr(self._node, name)
