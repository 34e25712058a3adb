"""aio-pika by the book: publisher confirms, and as many messages under way at a time as are prefetched."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import aio_pika

from bench.peers import skeleton


class Client:
    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    @classmethod
    async def connect(cls, o: argparse.Namespace) -> Client:
        connection = await aio_pika.connect(
            host=o.host, port=o.port, login=o.username, password=o.password, virtualhost=o.vhost
        )
        channel = await connection.channel(publisher_confirms=o.confirm, on_return_raises=o.confirm)
        await channel.set_qos(prefetch_count=skeleton.PREFETCH)
        for queue in (skeleton.RECEIVE, skeleton.SEND):
            await channel.declare_queue(queue, durable=True)
        return cls(channel)

    async def publish(self, queue: str, body: bytes) -> None:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._channel.default_exchange.publish(message, queue)

    async def consume(self, queue: str, handle: Callable[[bytes], Awaitable[None]]) -> None:
        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await handle(message.body)
            await message.ack()

        await (await self._channel.get_queue(queue)).consume(on_message)


async def work(o: argparse.Namespace) -> None:
    client = await Client.connect(o)
    await client.consume(skeleton.RECEIVE, lambda body: client.publish(skeleton.SEND, skeleton.echo(body)))
    await asyncio.Event().wait()


async def broker(o: argparse.Namespace) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    client = await Client.connect(o)
    reader, writer = await asyncio.open_connection("127.0.0.1", o.gateway)
    writer.write(skeleton.LOGIN)

    async def reply(body: bytes) -> None:
        writer.write(skeleton.to_line(body))
        await writer.drain()

    await client.consume(skeleton.SEND, reply)
    slots, tasks = asyncio.Semaphore(skeleton.PREFETCH), set()

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        slots.release()

    while True:
        line = await reader.readuntil(b"\r")
        if body := skeleton.to_json(line[:-1]):
            await slots.acquire()
            task = asyncio.create_task(client.publish(skeleton.RECEIVE, body))
            tasks.add(task)
            task.add_done_callback(done)


def main() -> None:
    o = skeleton.options()
    if o.worker:
        asyncio.run(work(o))
        return
    # These two are the end of a run: SIGTERM, or the gateway has hung up.
    with skeleton.workers(o.workers), contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
        asyncio.run(broker(o))


if __name__ == "__main__":
    main()
