"""What a careful developer writes first: gevent and amqpstorm by the book, no publisher confirms. To compare with.

python -m bench.plain GATEWAY_PORT MQ_HOST MQ_PORT USERNAME VHOST WORKERS      (password in $MQ_PASSWORD)
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

import amqpstorm  # noqa: E402
import gevent  # noqa: E402
from gevent import socket  # noqa: E402

from bench.gateway import GOODBYE, GREETING  # noqa: E402


def channel(host, port, username, vhost):
    connection = amqpstorm.Connection(host, username, os.environ["MQ_PASSWORD"], port=int(port), virtual_host=vhost)
    opened = connection.channel()
    opened.basic.qos(200)
    return opened


def publish(opened, queue, data):
    opened.basic.publish(json.dumps(data), queue, properties={"delivery_mode": 2})


def worker(*where):
    inbound, outbound = channel(*where), channel(*where)

    def handle(message):
        data = json.loads(message.body)
        text, kind = data["message"], "2"
        if data["ussd_type"] == "1":
            text = GREETING.decode()
        elif text == "0":
            text, kind = GOODBYE.decode(), "3"
        publish(outbound, "plain.send", {"msisdn": data["msisdn"], "message": text, "ussd_type": kind})
        message.ack()

    inbound.basic.consume(handle, "plain.receive")
    inbound.start_consuming()


def broker(gateway_port, *where):
    inbound, outbound = channel(*where), channel(*where)
    gateway = socket.create_connection(("127.0.0.1", int(gateway_port)))
    gateway.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    gateway.sendall(b"SSMI,1,user,pass\r")

    def reply(message):
        data = json.loads(message.body)
        gateway.sendall("SSMI,110,{msisdn},{ussd_type},{message}\r".format(**data).encode("latin-1"))
        message.ack()

    inbound.basic.consume(reply, "plain.send")
    gevent.spawn(inbound.start_consuming)
    rest = b""
    while data := gateway.recv(65536):
        *lines, rest = (rest + data).split(b"\r")
        for line in lines:
            fields = line.decode("latin-1").split(",", 5)
            if fields[1] == "110":
                publish(
                    outbound,
                    "plain.receive",
                    dict(zip(("msisdn", "ussd_type", "ussd_phase", "message"), fields[2:], strict=True)),
                )


def main(gateway_port, *where_and_count):
    *where, count = where_and_count
    declare = channel(*where)
    for queue in ("plain.receive", "plain.send"):
        declare.queue.declare(queue, durable=True)
        declare.queue.purge(queue)
    command = [sys.executable, "-c", f"from bench import plain; plain.worker(*{where!r})"]
    workers = [subprocess.Popen(command) for _ in range(int(count))]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        broker(gateway_port, *where)
    finally:
        for process in workers:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
