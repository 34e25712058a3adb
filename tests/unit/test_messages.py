"""The JSON on the queues: what is understood, what is not, and what it looks like."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond import messages
from richmond.errors import MessageError
from richmond.messages import UssdMessage, UssdReply

OF_2010 = {"msisdn": "27831112222", "ussd_type": "1", "ussd_phase": "0", "message": "*156#"}


def test_the_four_keys_of_2010_are_enough_and_others_are_allowed():
    assert messages.decode_message(json.dumps(OF_2010).encode()).message == "*156#"
    assert messages.decode_message(json.dumps(OF_2010 | {"colour": 7}).encode()).session is None


def test_a_message_says_its_kind_and_leaves_out_what_is_not_known():
    body = json.loads(messages.encode(UssdMessage(**OF_2010, session="a1")))
    assert body == OF_2010 | {"kind": "ussd", "session": "a1"}


def test_the_three_keys_of_2010_are_enough_for_a_reply():
    reply = messages.decode_reply(b'{"msisdn": "27831112222", "message": "", "ussd_type": "3"}')
    assert (reply.message, reply.ussd_type, reply.session) == ("", "3", None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid-json"),
        (b"{", "invalid-json"),
        (b"\xff\xfe", "invalid-json"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid-json"),
        (b'{"msisdn": "27831112222", "message": "hi"}', "invalid-message"),
        (b'{"msisdn": 27831112222, "message": "hi", "ussd_type": "2"}', "invalid-message"),
        (b'{"msisdn": "27831112222", "message": "hi", "ussd_type": 2}', "invalid-message"),
        (b'["27831112222", "hi", "2"]', "invalid-message"),
        (b"null", "invalid-message"),
    ],
)
def test_what_is_no_reply_has_a_reason_and_its_text_is_not_told(body, reason):
    with pytest.raises(MessageError) as error:
        messages.decode_reply(body)
    assert error.value.reason == reason
    assert "27831112222" not in str(error.value)


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(MessageError):
        messages.encode({"msisdn": object()})


@given(st.text(), st.text(), st.sampled_from("23"))
def test_every_reply_comes_back_as_it_was(msisdn, message, ussd_type):
    reply = UssdReply(msisdn=msisdn, message=message, ussd_type=ussd_type)
    assert messages.decode_reply(messages.encode(reply)) == reply
