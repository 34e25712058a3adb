"""The simulator on real sockets: SSMI clients and telephones of every manner."""

import socket
import stat
from pathlib import Path

import pytest
from simulator_host import Host, running, wait_until

PHONE = "27831112222"


@pytest.fixture
def host(tmp_path):
    with running(tmp_path) as host:
        yield host


def test_a_whole_session(host):
    with host.client() as client, host.phone() as phone:
        client.send("SSMI,3")
        assert client.line() == "SSMI,101,2"
        phone.does("dial", msisdn=PHONE, code="*120*663#")
        assert phone.event() == {"event": "begin", "msisdn": PHONE, "code": "*120*663#"}
        assert client.line() == f"SSMI,110,{PHONE},1,2,*120*663#"
        client.send(f"SSMI,110,{PHONE},2,Hello, you\n1. Café")
        assert phone.event() == {"event": "menu", "msisdn": PHONE, "text": "Hello, you\n1. Café", "open": True}
        phone.does("answer", text="é, 1")
        assert client.line() == f"SSMI,110,{PHONE},2,2,é, 1"
        client.send(f"SSMI,110,{PHONE},3,Bye")
        assert phone.event() == {"event": "menu", "msisdn": PHONE, "text": "Bye", "open": False}
        assert phone.event() == {"event": "end", "msisdn": PHONE, "reason": "application"}


def test_lines_may_come_byte_by_byte(host):
    with host.client(login=False) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"SSMI,1,richmond,pa,ss\rSSMI,3\r":
            client.socket.sendall(bytes([byte]))
        assert [client.line(), client.line()] == ["SSMI,101,1", "SSMI,101,2"]


def test_a_wrong_password_is_refused_and_the_connection_closed(host):
    with host.client(login=False) as client:
        client.send("SSMI,1,richmond,wrong", "SSMI,3", "SSMI,3")
        assert [client.line(), client.line()] == ["SSMI,102,1", ""]


def test_logout_closes_after_the_answers_on_their_way(host):
    with host.client() as client:
        client.send(*["SSMI,3"] * 1000, "SSMI,99", "SSMI,3")
        assert [client.line() for _ in range(1000)] == ["SSMI,101,2"] * 1000
        assert client.line() == ""


def test_a_second_login_pushes_the_first_out(host):
    with host.client() as first, host.client() as second:
        assert first.line() == "SSMI,199,127.0.0.1"
        assert first.line() == ""
        second.send("SSMI,3")
        assert second.line() == "SSMI,101,2"


def test_a_client_that_does_not_close_after_its_logout_is_cut(host):
    with host.client() as client:
        client.send("SSMI,99")
        assert client.line() == ""
        wait_until(lambda: not can_send(client), "the connection is cut")


def can_send(client):
    try:
        client.send("SSMI,3")
    except OSError:
        return False
    return True


def test_garbage_and_over_long_lines_get_a_nack_and_the_link_is_kept(host):
    with host.client() as client:
        client.socket.sendall(b"\xff\x00\x01garbage\r" + b"SSMI,110," + b"x" * 200_000 + b"\r")
        client.send("SSMI,777", "SSMI,3")
        assert [client.line() for _ in range(4)] == ["SSMI,102,3", "SSMI,102,3", "SSMI,102,2", "SSMI,101,2"]


@pytest.mark.timeout(90)
def test_a_client_that_floods_and_never_reads_does_not_stop_the_others(host):
    with host.client() as client, host.client(login=False) as flood:
        flood.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood.socket.settimeout(60)
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            flood.socket.sendall(b"x\r" * 10_000_000)
        client.send("SSMI,3")
        assert client.line() == "SSMI,101,2"


def test_without_a_client_the_telephone_is_told(host):
    with host.phone() as phone:
        error = {"event": "error", "text": "the gateway has no client logged in"}
        assert phone.asks("dial", code="*1#") == error
        assert phone.asks("sms", text="hi") == error
        assert phone.asks("inject", line="SSMI,105,hi") == error


def test_a_telephone_that_closes_hangs_up(host):
    with host.client() as client:
        with host.phone() as phone:
            phone.does("dial", msisdn=PHONE, code="*1#")
            assert client.line() == f"SSMI,110,{PHONE},1,2,*1#"
        assert client.line() == f"SSMI,110,{PHONE},3,2,Done"


def test_a_session_times_out_by_itself(tmp_path):
    with running(tmp_path, timeout_s=0.3) as host, host.client() as client, host.phone() as phone:
        phone.does("dial", msisdn=PHONE, code="*1#")
        client.line()
        assert client.line() == f"SSMI,110,{PHONE},4,2,Timeout"
        phone.event()
        assert phone.event() == {"event": "end", "msisdn": PHONE, "reason": "timeout"}
        # And again: the clock has slept meanwhile.
        phone.does("dial", code="*1#")
        client.line()
        assert client.line() == f"SSMI,110,{PHONE},4,2,Timeout"


def test_another_telephone_can_let_a_session_time_out(host):
    with host.client() as client, host.phone() as phone, host.phone() as other:
        phone.does("dial", msisdn=PHONE, code="*1#")
        client.line()
        assert "in use" in other.asks("answer", msisdn=PHONE, text="1")["text"]
        other.does("timeout", msisdn=PHONE)
        assert client.line() == f"SSMI,110,{PHONE},4,2,Timeout"


def test_an_extended_account_gets_genfields(tmp_path):
    with running(tmp_path, extended=True) as host, host.client() as client, host.phone() as phone:
        phone.does("dial", msisdn=PHONE, code="*1#")
        assert client.line() == f"SSMI,111,{PHONE},1,2,655017831112222:1:1:1:,*1#"
        client.send(f"SSMI,120,{PHONE},2,655017831112222:1:1:1:,hi")
        phone.event()
        assert phone.event()["text"] == "hi"


def test_sms_both_ways(host):
    with host.client() as client, host.phone() as phone:
        phone.does("register", msisdn=PHONE)
        client.send(f"SSMI,2,0,{PHONE},foo, bar")
        assert [client.line(), client.line()] == [f"SSMI,100,{PHONE},1", f"SSMI,104,{PHONE},1,0"]
        message = {"event": "sms", "msisdn": PHONE, "kind": "text", "text": "foo, bar"}
        assert phone.event() == message
        assert phone.asks("inbox") == {"event": "inbox", "msisdn": PHONE, "messages": [message]}
        phone.does("sms", text="hi, you")
        assert client.line() == f"SSMI,103,{PHONE},2,hi, you"
        client.send(f"SSMI,600,9,{PHONE},")
        assert client.line() == f"SSMI,600,9,{PHONE},655017831112222,65501"


def test_a_push_and_a_redirect_reach_a_registered_telephone(host):
    with host.client() as client, host.phone() as phone:
        phone.does("register", msisdn=PHONE)
        client.send(f"SSMI,110,{PHONE},6,hello", f"SSMI,110,{PHONE},5,*1#", f"SSMI,110,{PHONE},3,bye")
        events = [phone.event() for _ in range(6)]
        assert [event["event"] for event in events] == ["begin", "menu", "end", "begin", "menu", "end"]
        assert client.line() == f"SSMI,110,{PHONE},1,2,*1#"


def test_a_test_can_say_lines_and_half_lines_as_the_gateway(host):
    with host.client() as client, host.phone() as phone:
        phone.does("inject", line="SSMI,105,free, text")
        assert client.line() == "SSMI,105,free, text"
        phone.does("inject", hex=b"SSMI,".hex())
        phone.does("inject", hex=b"199,\xff\r".hex())
        assert client.line() == "SSMI,199,\xff"
        assert phone.asks("inject", hex="5")["event"] == "error"
        assert phone.asks("inject", line="ж")["event"] == "error"


@pytest.mark.parametrize("reset", [False, True])
def test_a_test_can_drop_the_ssmi_connection(host, reset):
    with host.client() as client, host.phone() as phone:
        phone.does("drop", reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                client.line()
        else:
            assert client.line() == ""
        wait_until(lambda: phone.asks("status")["clients"] == [], "the connection is gone")
        with host.client() as again:
            again.send("SSMI,3")
            assert again.line() == "SSMI,101,2"


def test_status_tells_what_there_is(host):
    with host.client() as client, host.client(login=False), host.phone() as phone:
        phone.does("dial", msisdn=PHONE, code="*1#")
        phone.event()
        client.line()
        wait_until(lambda: len(phone.asks("status")["clients"]) == 2, "both are connected")
        status = phone.asks("status")
        assert status["address"] == f"127.0.0.1:{host.port}"
        assert [(c["ip"], c["logged_in"]) for c in status["clients"]] == [("127.0.0.1", True), ("127.0.0.1", False)]
        assert (status["sessions"], status["telephones"]) == (1, 1)
        assert status["counters"]["dialled"] == 1


def test_junk_on_the_telephones_port_gets_an_error_each(host):
    with host.phone() as phone:
        phone.socket.sendall(b'junk\n\xff\xfe\n{"op":"jump"}\n\n{"op":"dial"}\n' + b"x" * 200_000 + b"\n")
        assert [phone.event()["event"] for _ in range(5)] == ["error"] * 5
        assert phone.asks("status")["event"] == "status"
        assert "number" in phone.asks("dial", msisdn="+27", code="*1#")["text"]
        assert "which number" in phone.asks("answer", text="1")["text"]


def test_thousands_of_telephones_on_one_connection_and_hundreds_on_their_own(host):
    with host.client() as client, host.phone() as many:
        many.socket.sendall(
            b"".join(b'{"op":"dial","msisdn":"2784%07d","code":"*1#"}\n' % number for number in range(3000))
        )
        dialled = {client.line() for _ in range(3000)}
        assert dialled == {f"SSMI,110,2784{number:07},1,2,*1#" for number in range(3000)}
        phones = [host.phone() for _ in range(300)]
        for phone in phones:
            phone.does("dial", code="*2#")
        status = phones[0]
        status.event()
        assert status.asks("status")["sessions"] == 3300
        for phone in phones:
            phone.close()
        wait_until(lambda: many_sessions(host) == 3000, "the others have hung up")


def many_sessions(host):
    with host.phone() as phone:
        return phone.asks("status")["sessions"]


def test_descriptors_are_given_back(host):
    def descriptors():
        return len(list(Path(f"/proc/{host.process.pid}/fd").iterdir()))

    before = descriptors()
    for _ in range(50):
        with host.client() as client, host.phone() as phone:
            phone.does("dial", code="*1#")
            client.line()
    wait_until(lambda: descriptors() == before, "as many descriptors as before")


def test_the_socket_is_private_and_goes_with_the_simulator(tmp_path):
    with running(tmp_path) as host:
        assert stat.S_IMODE(host.socket.stat().st_mode) == 0o600
    assert not host.socket.exists()


def test_a_stale_socket_is_replaced(tmp_path):
    host = Host(tmp_path)
    host.kill()
    assert host.socket.exists()
    with running(tmp_path) as host, host.phone() as phone:
        assert phone.asks("status")["event"] == "status"


def test_a_second_simulator_at_the_same_socket_refuses_and_the_first_goes_on(host):
    with pytest.raises(ChildProcessError, match=r"AlreadyRunning: another simulator answers at"):
        Host(host.socket.parent)
    with host.phone() as phone:
        assert phone.asks("status")["event"] == "status"


def test_a_taken_port_is_said_with_the_remedy(host, tmp_path):
    (tmp_path / "second").mkdir()
    with pytest.raises(ChildProcessError, match=r"port = \d+: Address already in use; set port = 0"):
        Host(tmp_path / "second", port=host.port)
    assert not (tmp_path / "second" / "simulator.sock").exists()


def test_a_file_in_the_way_of_the_socket_is_left_alone(tmp_path):
    path = tmp_path / "simulator.sock"
    path.write_text("precious")
    with pytest.raises(ChildProcessError, match="the simulator's socket cannot be made there"):
        Host(tmp_path)
    assert path.read_text() == "precious"


def test_stopping_hangs_up_and_closes_everything(tmp_path):
    with running(tmp_path) as host:
        client, phone = host.client(), host.phone()
        phone.does("dial", msisdn=PHONE, code="*1#")
    with client, phone:
        assert client.line() == f"SSMI,110,{PHONE},1,2,*1#"
        assert client.line() == f"SSMI,110,{PHONE},3,2,Done"
        assert client.line() == ""
        assert phone.event()["event"] == "begin"
        assert phone.event()["reason"] == "subscriber"
        assert phone.event() is None


def test_an_idle_simulator_is_idle(host):
    with host.client(), host.phone() as phone:
        phone.does("dial", code="*1#")
        before = switches(host.process.pid)
        with pytest.raises(TimeoutError):
            quiet(phone)
        assert switches(host.process.pid) - before < 30  # a poll every 10 ms would be a hundred


def quiet(phone, seconds=1.0):
    phone.event()
    phone.socket.settimeout(seconds)
    phone.socket.recv(1)


def switches(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt")).split()[1])
