"""What the simulator does wrong on request, seen by an SSMI client of raw bytes; and several accounts."""

import socket
import struct

import pytest
from simulator_host import running, wait_until

PHONE = "27831112222"
TWO = "bank:one shop:two"


@pytest.fixture
def host(tmp_path):
    with running(tmp_path) as host:
        yield host


@pytest.fixture
def two(tmp_path):
    with running(tmp_path, accounts=TWO) as host:
        yield host


def bank(host):
    return host.client(user="bank", password="one")


def shop(host):
    return host.client(user="shop", password="two")


def checks(client):
    """What comes instead of the answer to a link check, when that is not answered: the answer to the line after it."""
    client.send("SSMI,3", f"SSMI,600,7,{PHONE},")
    return client.line()


CHECKED, LOOKED_UP = "SSMI,101,2", f"SSMI,600,7,{PHONE},655017831112222,65501"


def segments(client):
    """How many TCP segments with data the client has received: tcpi_data_segs_in."""
    return struct.unpack_from("I", client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232), 152)[0]


def pieces(client):
    """In how many segments one line came. The kernel may put some of the pieces that were sent into one."""
    before = segments(client)
    client.send("SSMI,3")
    assert client.line() == CHECKED
    return segments(client) - before


def status(host):
    with host.phone() as phone:
        return phone.asks("status")


# ---- one line after another ----


def test_a_mute_gateway_answers_no_link_check_until_it_is_calm(host):
    with host.client() as client, host.phone() as phone:
        phone.does("fault", name="mute")
        assert checks(client) == LOOKED_UP
        assert phone.asks("status")["faults"] == ["mute"]
        phone.does("calm")
        assert checks(client) == CHECKED
        assert phone.asks("status")["faults"] == []


def test_logins_may_stay_unanswered_or_be_refused(host):
    with host.phone() as phone:
        phone.does("fault", name="no-login")
        with host.client(login=False) as client:
            client.send("SSMI,1,richmond,pa,ss")
            wait_until(lambda: status(host)["counters"].get("logins_unanswered") == 1, "the login has come")
            phone.does("fault", name="no-login", on=False)
            client.send("SSMI,1,richmond,pa,ss")
            assert client.line() == "SSMI,101,1"
        phone.does("nack", code="4")
        with host.client(login=False) as client:
            client.send("SSMI,1,richmond,pa,ss")
            assert [client.line(), client.line()] == ["SSMI,102,4", ""]
        with host.client():
            pass


def test_the_next_line_may_be_refused_and_the_link_kept(host):
    with host.client() as client, host.phone() as phone:
        phone.does("nack", code="3")
        client.send("SSMI,3", f"SSMI,2,0,{PHONE},hi", "SSMI,3")
        assert [client.line() for _ in range(3)] == [CHECKED, "SSMI,102,3", CHECKED]
        assert phone.asks("inbox", msisdn=PHONE)["messages"] == []


def test_crlf_and_back(host):
    with host.client() as client, host.phone() as phone:
        phone.does("fault", name="crlf")
        client.send("SSMI,3")
        assert client.line() == CHECKED
        phone.does("calm")
        client.send("SSMI,3")
        assert client.line() == "\n" + CHECKED


def test_lines_in_single_bytes_and_back(host):
    with host.client() as client, host.phone() as phone:
        assert pieces(client) == 1
        phone.does("fault", name="bytes")
        assert pieces(client) > 1
        phone.does("calm")
        assert pieces(client) == 1


def test_lines_in_random_pieces(host):
    with host.client() as client, host.phone() as phone:
        phone.does("fault", name="chunks")
        before = segments(client)
        phone.does("inject", line="SSMI,105," + "x" * 1000)
        assert client.line() == "SSMI,105," + "x" * 1000
        assert segments(client) - before > 1


def test_a_login_brings_the_faults_of_its_account(two):
    with two.phone() as phone:
        phone.does("fault", name="bytes", account="shop")
        with shop(two) as one, bank(two) as other:
            assert pieces(one) > 1
            assert pieces(other) == 1


def test_a_delay_makes_all_lines_late_in_order_and_calm_lets_them_go(host):
    with host.client() as client, host.phone() as phone:
        phone.does("fault", name="delay", seconds=3600)
        client.send("SSMI,3", f"SSMI,600,7,{PHONE},")
        wait_until(lambda: status(host)["counters"].get("received_ImsiLookup") == 1, "both lines have come")
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.line()
        client.socket.settimeout(10)
        phone.does("calm")
        assert [client.line(), client.line()] == [CHECKED, LOOKED_UP]
        phone.does("fault", name="delay", seconds=0.05)
        assert checks(client) == CHECKED


def test_an_over_long_line_and_garbage_and_the_link_is_kept(host):
    with host.client() as client, host.phone() as phone:
        phone.does("long")
        assert client.line() == "SSMI,105,".ljust(100_000, "x")
        phone.does("long", bytes=20)
        assert client.line() == "SSMI,105,xxxxxxxxxxx"
        phone.does("garbage")
        client.send("SSMI,3")
        lines = []
        while (line := client.line()) != CHECKED:
            lines.append(line)
        assert {"Garbage", "", "SSMI,101,9", "\x00\x01\x02\x7f\x80\xfe\xff"} < set(lines)


def test_an_imsi_lookup_may_stay_unanswered(host):
    with host.client() as client, host.phone() as phone:
        phone.does("fault", name="no-imsi")
        client.send(f"SSMI,600,7,{PHONE},", "SSMI,3")
        assert client.line() == CHECKED


def test_another_client_is_pretended(host):
    with host.client() as client, host.phone() as phone:
        phone.does("logout", ip="10.9.8.7")
        assert [client.line(), client.line()] == ["SSMI,199,10.9.8.7", ""]


def test_ussd_turns_extended_and_back(host):
    with host.client() as client, host.phone() as phone:
        phone.does("dial", msisdn=PHONE, code="*1#")
        assert client.line() == f"SSMI,110,{PHONE},1,2,*1#"
        phone.event()
        phone.does("extended", on=True)
        phone.does("hangup")
        assert client.line() == f"SSMI,111,{PHONE},3,2,655017831112222:1:1:1:,Done"
        phone.event()
        phone.does("extended", on=False)
        phone.does("dial", code="*1#")
        assert client.line() == f"SSMI,110,{PHONE},1,2,*1#"


@pytest.mark.parametrize(
    ("op", "given"),
    [
        ("fault", {"name": "sleepy"}),
        ("fault", {"name": "delay"}),
        ("fault", {"name": "delay", "seconds": -1}),
        ("fault", {"name": "mute", "on": False}),
        ("fault", {"name": "mute", "account": "nobody"}),
        ("nack", {"code": "5"}),
        ("nack", {"code": "1", "times": 0}),
        ("report", {"code": "a\rb"}),
        ("report", {"delay_s": 1e9}),
        ("long", {"bytes": 10**9}),
        ("logout", {"ip": "a\nb"}),
        ("drop", {"account": "nobody"}),
        ("inbox", {"msisdn": "nobody"}),
    ],
)
def test_what_cannot_be_is_an_error_and_the_connection_goes_on(host, op, given):
    with host.client(), host.phone() as phone:
        assert phone.asks(op, **given)["event"] == "error"
        assert phone.asks("status")["faults"] == []


# ---- delivery reports ----


def test_a_report_comes_later_while_an_earlier_session_still_waits(host):
    with host.client() as client, host.phone() as caller, host.phone() as phone:
        caller.does("dial", code="*1#")  # the clock waits for its time-out
        client.line()
        phone.does("report", msisdn=PHONE, code="2", delay_s=0.2)
        client.send(f"SSMI,2,0,{PHONE},hi")
        assert client.line() == f"SSMI,100,{PHONE},1"
        assert client.line() == f"SSMI,104,{PHONE},1,2"
        assert phone.asks("inbox", msisdn=PHONE)["messages"] == []
        assert phone.asks("status")["reports"] == [f"{PHONE}: report 2 after 0.2 s"]


def test_neither_sequence_nor_report(host):
    with host.client() as client, host.phone() as phone:
        phone.does("report", seq=False, report=False)
        client.send(f"SSMI,2,0,{PHONE},hi", "SSMI,3")
        assert client.line() == CHECKED
        assert [m["text"] for m in phone.asks("inbox", msisdn=PHONE)["messages"]] == ["hi"]


# ---- several accounts ----


def test_two_accounts_side_by_side(two):
    with bank(two) as first, shop(two) as second, two.phone() as phone, two.phone() as other:
        assert [checks(first), checks(second)] == [CHECKED, CHECKED]
        phone.does("dial", msisdn=PHONE, code="*1#", account="shop")
        assert [second.line(), second.line()] == [LOOKED_UP, f"SSMI,110,{PHONE},1,2,*1#"]
        other.does("sms", msisdn=PHONE, text="hi")
        assert [first.line(), first.line()] == [LOOKED_UP, f"SSMI,103,{PHONE},1,hi"]
        with shop(two):
            assert [second.line(), second.line()] == ["SSMI,199,127.0.0.1", ""]
            assert checks(first) == CHECKED
            clients = other.asks("status")["clients"]
            assert [(c["account"], c["logged_in"]) for c in clients] == [("bank", True), ("shop", True)]


def test_each_account_has_its_own_encoding(two):
    with bank(two) as first, shop(two) as second, two.phone() as phone:
        for account, client, encoding in (("bank", first, "utf-8"), ("shop", second, "iso-8859-1")):
            phone.does("inject", line="SSMI,105,Café", account=account)
            assert client.line().encode("iso-8859-1") == "SSMI,105,Café".encode(encoding)
            client.socket.sendall(f"SSMI,2,0,{PHONE},Grüße\r".encode(encoding))
            assert client.line().startswith("SSMI,100,")
        assert phone.asks("inject", line="SSMI,105,ж", account="shop")["event"] == "error"
        assert [m["text"] for m in phone.asks("inbox", msisdn=PHONE)["messages"]] == ["Grüße"] * 2
        said = [line["text"] for line in phone.asks("log")["lines"]]
        assert said.count("SSMI,105,Café") == 2
        assert said.count(f"SSMI,2,0,{PHONE},Grüße") == 2


@pytest.mark.parametrize("reset", [False, True])
def test_one_account_s_link_drops_and_the_other_s_stays(two, reset):
    with bank(two) as first, shop(two) as second, two.phone() as phone:
        phone.does("drop", account="bank", reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                first.line()
        else:
            assert first.line() == ""
        assert checks(second) == CHECKED
        assert "no client logged in as bank" in phone.asks("drop", account="bank")["text"]


# ---- the log and the inboxes ----


def test_the_log_has_the_lines_both_ways_without_the_password(host):
    with host.client() as client, host.phone() as reader, host.phone() as phone:
        client.send(f"SSMI,2,0,{PHONE},foo, bar\nbaz")
        client.line(), client.line()
        lines = reader.asks("log", follow=True)["lines"]
        assert [(line["account"], line["direction"], line["text"]) for line in lines] == [
            ("", "--", "connected from 127.0.0.1"),
            ("", "C>", "SSMI,1,richmond,***"),
            ("richmond", "S>", "SSMI,101,1"),
            ("richmond", "C>", f"SSMI,2,0,{PHONE},foo, bar\nbaz"),
            ("richmond", "S>", f"SSMI,100,{PHONE},1"),
            ("richmond", "S>", f"SSMI,104,{PHONE},1,0"),
        ]
        phone.does("inject", hex=b"SSMI,105,a\rSSMI,".hex())
        client.socket.sendall(b"SSM")
        client.socket.shutdown(socket.SHUT_WR)
        followed = [reader.event() for _ in range(4)]
        assert [(line["event"], line["direction"], line["text"]) for line in followed] == [
            ("line", "S>", "SSMI,105,a"),
            ("line", "S>", "SSMI,"),
            ("line", "C>", "SSM"),
            ("line", "--", "closed"),
        ]


def test_the_whole_log_fits_a_telephone_that_reads(host):
    """Every character of it as long in JSON as can be."""
    with host.client() as client, host.phone() as phone:
        for length in (60, 4000):
            for _ in range(100):
                client.socket.sendall((b"\x01" * length + b"\r") * 10)
                for _ in range(10):
                    client.line()
            assert len(phone.asks("log")["lines"]) > 100
        assert phone.asks("status")["event"] == "status"


def test_a_reader_of_the_log_that_does_not_read_is_cut_off(host):
    with host.client() as client, host.phone() as reader:
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.send("log", follow=True)
        for _ in range(60):
            client.send(*["SSMI,3"] * 1000)
            for _ in range(1000):
                client.line()
        got = 0
        while reader._lines.readline():
            got += 1
        assert got < 120_000


def test_who_follows_an_inbox_gets_what_comes_whoever_holds_the_number(host):
    with host.client() as client, host.phone() as holder, host.phone() as follower:
        client.send(f"SSMI,2,0,{PHONE},before")
        client.line(), client.line()
        assert [m["text"] for m in follower.asks("inbox", msisdn=PHONE, follow=True)["messages"]] == ["before"]
        holder.does("register", msisdn=PHONE)
        client.send(f"SSMI,2,0,{PHONE},after")
        assert [follower.event()["text"], holder.event()["text"]] == ["after", "after"]
        with host.phone() as other:
            other.does("sms", msisdn=PHONE, text="from another hand")
        assert [client.line() for _ in range(3)][2] == f"SSMI,103,{PHONE},3,from another hand"
        follower.close()
        wait_until(lambda: status(host)["telephones"] == 1, "the follower has gone")
        client.send(f"SSMI,2,0,{PHONE},last")
        assert holder.event()["text"] == "last"
