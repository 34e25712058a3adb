"""Who may ask the web server for what."""

import pytest

from richmond.web.guard import refusal

TOKEN = "a-token-of-some-length"
WITH = {"authorization": f"Bearer {TOKEN}"}


def ask(method="GET", host="127.0.0.1:8663", names=(), token=TOKEN, free=False, **headers):
    found = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    no = refusal(method, found, names, token, free=free)
    return no.status[:3] if no is not None else None


@pytest.mark.parametrize(
    ("host", "names", "status"),
    [
        ("127.0.0.1:8663", (), None),
        ("localhost", (), None),
        ("LocalHost:1", (), None),
        ("[::1]:8663", (), None),
        ("192.0.2.7:8663", (), None),
        ("ussd.example.com", ("ussd.example.com",), None),
        ("USSD.example.com.", ("ussd.example.com",), None),
        ("ussd.example.com", (), "421"),
        ("evil.example:8663", ("ussd.example.com",), "421"),
        ("127.0.0.1.evil.example", (), "421"),
        ("user@evil.example", (), "421"),
        ("[::1", (), "421"),
        ("", (), "421"),
    ],
)
def test_it_answers_to_addresses_localhost_and_names_that_are_ours(host, names, status):
    assert ask(host=host, names=names) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"sec_fetch_site": "same-origin"}, None),
        ({"sec_fetch_site": "none"}, None),
        ({"sec_fetch_site": "cross-site"}, "403"),
        ({"sec_fetch_site": "same-site"}, "403"),  # another port of localhost
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}, None),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, "403"),
        ({"origin": "http://127.0.0.1:8663"}, None),
        ({"origin": "http://127.0.0.1:80"}, "403"),
        ({"origin": "https://evil.example"}, "403"),
        ({"origin": "null"}, "403"),
    ],
)
def test_another_web_site_may_link_to_a_page_and_nothing_else(headers, status):
    assert ask(**headers) == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_whatever_is_not_looking_takes_the_token(method):
    assert ask(method) == "401"
    assert ask(method, authorization="Bearer wrong") == "401"
    assert ask(method, authorization=f"Basic {TOKEN}") == "401"
    assert ask(method, **WITH) is None
    assert ask(method, origin="https://evil.example", **WITH) == "403"
    assert ask(method, host="evil.example", **WITH) == "421"


def test_where_there_is_no_token_nothing_is_changed_whatever_is_given():
    assert ask("POST", token="", authorization="Bearer ") == "503"


def test_what_is_free_takes_no_token_and_is_refused_to_other_sites_all_the_same():
    assert ask("POST", free=True) is None
    assert ask("POST", free=True, origin="https://evil.example") == "403"
    assert ask("POST", free=True, sec_fetch_site="cross-site") == "403"
