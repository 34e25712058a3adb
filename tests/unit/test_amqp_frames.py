"""The hand-made AMQP frames against pamqp's, and the reader against any cut of the stream."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from richmond.amqp.channel import EventChannel
from richmond.amqp.connection import EventConnection, NotAMQP
from richmond.amqp.frames import Encoder, Publication, encode_ack, encode_reject, encode_route, sequence_of

CHANNEL = 7


def decode(data):
    """All frames in `data`, by pamqp, with their channel."""
    found = []
    while data:
        used, channel_id, value = frame.unmarshal(data)
        found.append((channel_id, value))
        data = data[used:]
    return found


def delivery(body, key="ssmi.receive", tag=1, redelivered=False, headers=None, frame_max=131072):
    method = commands.Basic.Deliver("ctag", tag, redelivered, "richmond", key)
    properties = commands.Basic.Properties(headers=headers, delivery_mode=2)
    return content(method, properties, body, frame_max)


def content(method, properties, body, frame_max=131072):
    pieces = [body[i : i + frame_max - 8] for i in range(0, len(body), frame_max - 8)]
    values = [method, ContentHeader(0, len(body), properties), *(ContentBody(p) for p in pieces)]
    return b"".join(frame.marshal(v, CHANNEL) for v in values)


@pytest.fixture
def connection():
    return EventConnection("localhost", "user", "secret", 5672)


@pytest.fixture
def channel(connection):
    return open_channel(connection)


def open_channel(connection):
    channel = EventChannel(CHANNEL, connection, 5)
    channel.set_state(channel.OPEN)
    connection._channels[CHANNEL] = channel
    return channel


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 10000])
@pytest.mark.parametrize("headers", [None, {"reason": "session-over", "count": 3}])
def test_a_publish_is_what_pamqp_reads(size, headers):
    body = bytes(i % 251 for i in range(size))
    publication = Publication(encode_route("richmond", "ssmi.send", headers), body, None)
    frames = decode(Encoder(CHANNEL, 4096).publish(publication, 0xABC))
    assert {channel_id for channel_id, _ in frames} == {CHANNEL}
    method, header, *bodies = (value for _, value in frames)
    assert dict(method) == dict(commands.Basic.Publish(0, "richmond", "ssmi.send", True, False))
    assert header.body_size == size
    assert b"".join(b.value for b in bodies) == body
    assert all(len(b.value) <= 4096 - 8 for b in bodies)
    properties = header.properties
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert (properties.headers, properties.message_id) == (headers, "000000000abc")


@pytest.mark.parametrize("bad", [{"exchange": "x" * 256}, {"routing_key": "k" * 256}, {"headers": {"k": object()}}])
def test_what_has_no_amqp_form_is_refused_before_it_is_queued(bad):
    with pytest.raises((TypeError, ValueError)):
        encode_route(**{"exchange": "richmond", "routing_key": "ssmi.send"} | bad)


def test_acks_and_rejects_are_what_pamqp_reads():
    assert dict(decode(encode_ack(CHANNEL, 2**40))[0][1]) == dict(commands.Basic.Ack(2**40, False))
    assert dict(decode(encode_reject(CHANNEL, 5, True))[0][1]) == dict(commands.Basic.Reject(5, True))
    assert dict(decode(encode_reject(CHANNEL, 5, False))[0][1]) == dict(commands.Basic.Reject(5, False))


MESSAGES = st.lists(
    st.tuples(
        st.binary(max_size=300),
        st.text(max_size=20),
        st.booleans(),
        st.none() | st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9)),
    ),
    max_size=5,
)


@given(MESSAGES, st.data())
def test_deliveries_survive_any_cut_of_the_stream(messages, data):
    stream = b"".join(
        delivery(body, key, tag, redelivered, headers, frame_max=64)
        for tag, (body, key, redelivered, headers) in enumerate(messages, 1)
    )
    connection = EventConnection("localhost", "user", "secret", 5672)
    channel = open_channel(connection)
    got = []
    channel.on_delivery = got.append
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        connection._on_data(stream[start:stop])
    assert [(d.body, d.routing_key, d.redelivered, d.headers or None, d._tag) for d in got] == [
        (body, key, redelivered, headers or None, tag)
        for tag, (body, key, redelivered, headers) in enumerate(messages, 1)
    ]


def test_a_stream_byte_by_byte_is_a_stream(connection, channel):
    got = []
    channel.on_delivery = got.append
    for byte in delivery(b"one") + frame.marshal(commands.Basic.Cancel("ctag", True), CHANNEL) + delivery(b"two"):
        connection._on_data(bytes([byte]))
    assert [d.body for d in got] == [b"one", b"two"]


def test_headers_that_cannot_be_read_are_no_headers(channel):
    got = []
    channel.on_delivery = got.append
    method = b"\x00" + struct.pack(">QB", 1, 0) + b"\x00\x00"
    assert channel.on_deliver(method, 0, len(method)) == len(method)
    header = struct.pack(">HHQ", 60, 0, 0) + b"\x20\x00\x00\x00\x00\x05\x01aZ"
    channel.on_header(header, 0, len(header))
    assert got[0].headers == {}


@pytest.mark.parametrize(
    "junk", [b"HTTP/1.1 400 Bad Request\r\n", b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00\x7f\xff\xff\xff\x00"]
)
def test_what_is_not_amqp_is_said_to_be_so(connection, junk):
    with pytest.raises(NotAMQP):
        connection._on_data(junk)


def test_a_frame_without_its_end_is_not_amqp(connection, channel):
    data = bytearray(delivery(b"x"))
    data[-1] = 0
    with pytest.raises(NotAMQP):
        connection._on_data(bytes(data))


def publications(channel, count):
    results = []
    for n in range(count):
        publication = Publication(encode_route("", "q"), b"%d" % n, lambda result, n=n: results.append((n, result)))
        channel.publish(publication)
    return results


def test_a_multiple_ack_settles_all_up_to_it_and_nothing_twice(connection, channel):
    results = publications(channel, 5)
    for method in (commands.Basic.Ack(2, False), commands.Basic.Ack(4, True), commands.Basic.Ack(4, True)):
        connection._on_data(frame.marshal(method, CHANNEL))
    assert results == [(1, None), (0, None), (2, None), (3, None)]
    assert list(channel.unconfirmed) == [5]


def test_a_nack_is_a_refusal(connection, channel):
    results = publications(channel, 3)
    connection._on_data(frame.marshal(commands.Basic.Nack(2, True, False), CHANNEL))
    assert results == [(0, "refused"), (1, "refused")]


def test_a_returned_message_is_unroutable_once_it_is_acknowledged_even_among_identical_ones(connection, channel):
    results = []
    for n in range(3):
        channel.publish(Publication(encode_route("", "q"), b"same", lambda r, n=n: results.append((n, r))))
    returned = commands.Basic.Return(312, "NO_ROUTE", "", "q")
    properties = commands.Basic.Properties(message_id="000000000002")
    connection._on_data(content(returned, properties, b"same"))
    assert results == []
    connection._on_data(frame.marshal(commands.Basic.Ack(3, True), CHANNEL))
    assert results == [(0, None), (1, "unroutable"), (2, None)]


def test_a_foreign_message_id_is_nobodys_sequence_number():
    assert sequence_of(b"") is None
    properties = commands.Basic.Properties(message_id="not hex").marshal()
    assert sequence_of(properties) is None


def test_a_callback_that_raises_is_logged_and_the_next_message_comes(connection, channel, caplog):
    got = []

    def fail_first(delivery):
        got.append(delivery.body)
        if len(got) == 1:
            raise RuntimeError("a bug of the caller's")

    channel.on_delivery = fail_first
    connection._on_data(delivery(b"one") + delivery(b"two"))
    assert got == [b"one", b"two"]
    assert "a bug of the caller's" in caplog.text


def test_acknowledgements_of_a_burst_leave_as_one_and_are_void_after_their_channel_has_gone(channel):
    written, sources = [], []
    channel._write = lambda data, hold=False: written.append(data)
    channel._write_late = lambda source, hold=False: sources.append(source)
    channel.ack(2)
    channel.ack(1)
    (source,) = sources
    assert source() == encode_ack(CHANNEL, 2, multiple=True)
    channel.ack(3)
    assert sources == [source, source]
    channel.set_state(channel.CLOSED)
    assert source() == b""
    channel.ack(4)
    channel.reject(5, True)
    assert len(sources) == 2
    assert written == []


def test_no_password_is_in_the_repr(connection):
    assert "secret" not in repr(connection)
