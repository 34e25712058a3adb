"""The JSON on the queues: what is understood, what is not, and what it looks like."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond import messages
from richmond.errors import MessageError
from richmond.messages import (
    BinarySms,
    DeliveryReport,
    FreeForm,
    ImsiReply,
    LookUpImsi,
    PremiumBinarySms,
    PremiumSms,
    SendBinarySms,
    SendMms,
    SendSms,
    SendWapPush,
    Sequence,
    Sms,
    UnknownLine,
    UssdMessage,
    UssdReply,
)

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


# ---- every kind ----

FROM_GATEWAY = {"id": "f3-1", "received": 1790000000.5, "account": "default"}
INBOUND = [
    UssdMessage(**OF_2010),
    UssdMessage(**OF_2010, session="a1", code="*156*#", rest="1*4", genfields=["65501"], **FROM_GATEWAY),
    Sms(msisdn="27831112222", sequence="17", message="Hello, you", **FROM_GATEWAY),
    PremiumSms(msisdn="27831112222", sequence="17", destination="31022", message="WIN", **FROM_GATEWAY),
    BinarySms(msisdn="27831112222", sequence="17", pid="15", coding="246", hex_msg="68", **FROM_GATEWAY),
    PremiumBinarySms(
        msisdn="27831112222", sequence="17", pid="0", coding="0", destination="31022", hex_msg="68", **FROM_GATEWAY
    ),
    DeliveryReport(msisdn="27831112222", sequence="17", ret_code="9", status="unknown", **FROM_GATEWAY),
    DeliveryReport(
        msisdn="27831112222",
        sequence="17",
        ret_code="0",
        status="delivered",
        sms_id="s",
        part=1,
        parts=2,
        **FROM_GATEWAY,
    ),
    Sequence(msisdn="27831112222", sequence="17", sms_id="s", **FROM_GATEWAY),
    FreeForm(text="free, text", **FROM_GATEWAY),
    ImsiReply(sequence="2", msisdn="27831112222", imsi="65501", spid="65501", lookup_id="l", **FROM_GATEWAY),
    UnknownLine(command="113", fields=("27831112222", "17", "foo"), **FROM_GATEWAY),
]
ALL = {"id": "i", "account": "bank", "in_reply_to": "f3-1", "report_to": "ssmi.receive.X", "created": 1790000000.5}
OUTBOUND = [
    UssdReply(msisdn="27831112222", message="Hello", ussd_type="2", long="pages", account="bank"),
    UssdReply(msisdn="anything, as in 2010", message="Hello", ussd_type="9", genfields=["65501"]),
    SendSms(msisdn="27831112222", message="foo, bar\nbaz"),
    SendSms(msisdn="+27831112222", message="", validity=messages.MAX_VALIDITY, long="refuse", **ALL),
    SendBinarySms(msisdn="27831112222", hex_msg="68656C6c6f"),
    SendBinarySms(msisdn="1", hex_msg="ff" * 140, pid="255", coding="246", validity=5, **ALL),
    SendWapPush(msisdn="27831112222", subject="foo", url="http://bar/baz.gif?a,b", **ALL),
    SendMms(msisdn="27831112222", subject="subject", name="name.gif", content="68" * 1000, **ALL),
    LookUpImsi(msisdn="27831112222"),
    LookUpImsi(msisdn="27831112222", imsi="655011234567890", **ALL),
]


@pytest.mark.parametrize("message", INBOUND, ids=lambda m: type(m).__name__)
def test_what_comes_from_the_gateway_comes_back_as_its_struct(message):
    body = messages.encode(message)
    assert messages.decode_inbound(body) == message
    assert messages.inbound(messages.decode_object(body)) == message
    assert json.loads(body).items() >= {"kind": message.__struct_config__.tag}.items()


@pytest.mark.parametrize("message", OUTBOUND, ids=lambda m: type(m).__name__)
def test_what_a_worker_sends_comes_back_as_its_struct(message):
    body = messages.encode(message)
    assert messages.decode_outbound(body) == message
    assert messages.outbound(messages.decode_object(body)) == message


def test_every_kind_is_in_the_tables_above():
    assert {type(m) for m in INBOUND} == set(messages.Inbound.__args__)
    assert {type(m) for m in OUTBOUND} == set(messages.Outbound.__args__)


def test_without_a_kind_it_is_ussd():
    assert isinstance(messages.decode_inbound(json.dumps(OF_2010).encode()), UssdMessage)
    reply = {"msisdn": "27831112222", "message": "m", "ussd_type": "3"}
    for kind in ({}, {"kind": "ussd"}):
        assert isinstance(messages.decode_outbound(json.dumps(reply | kind).encode()), UssdReply)
        assert isinstance(messages.outbound(reply | kind), UssdReply)


def test_the_kind_decides_even_if_all_fields_of_another_are_there():
    both = SMS | REPLY | {"ussd_type": "2"}
    assert isinstance(messages.decode_outbound(json.dumps(both).encode()), SendSms)
    with pytest.raises(MessageError, match="kind"):
        messages.decode_reply(json.dumps(both).encode())


def test_a_reply_is_written_as_in_2010():
    reply = {"msisdn": "27831112222", "message": "m", "ussd_type": "3"}
    assert json.loads(messages.encode(UssdReply(**reply))) == reply


SMS = {"kind": "sms", "msisdn": "27831112222", "message": "m"}
BINARY = {"kind": "binary-sms", "msisdn": "27831112222", "hex_msg": "68"}
WAP = {"kind": "wap-push", "msisdn": "27831112222", "subject": "s", "url": "u"}
MMS = {"kind": "mms", "msisdn": "27831112222", "subject": "s", "name": "n", "content": "68"}
LOOK_UP = {"kind": "imsi-lookup", "msisdn": "27831112222"}
REPLY = {"msisdn": "27831112222", "message": "m", "ussd_type": "2"}


@pytest.mark.parametrize(
    ("good", "field", "values"),
    [
        (SMS, "msisdn", ["", "+", "083 111", "2783,1", "1" * 16, "27831112222\n", "2783\r", "٣٤", 27831112222, None]),
        (SMS, "message", ["x" * 100_000, "x" * 10_001, 5, None]),
        (SMS, "validity", [-1, messages.MAX_VALIDITY + 1, 1.5, "5", True, None, 1 << 63]),
        (SMS, "long", ["cut", "pages", "", 1]),
        (SMS, "id", ["", "x" * 256, 5]),
        (SMS, "report_to", ["", "x" * 256, "é" * 64, "a\nb", 5]),
        (SMS, "created", ["now"]),
        (SMS, "account", [5]),
        (SMS, "in_reply_to", [5]),
        (BINARY, "hex_msg", ["6", "6g", "68" * 141, "68\n", "0x68", 68]),
        (BINARY, "pid", ["256", "-1", "", "007", "1.0", "0\n", 0]),
        (BINARY, "coding", ["999", 246]),
        (BINARY, "validity", [-1]),
        (WAP, "subject", ["a,b", "a\rb", "a\nb", "a\n", "x" * 10_001]),
        (WAP, "url", ["a\rb", "a\nb", "a\r", "x" * 10_001]),
        (MMS, "subject", ["a,b", "a\rb"]),
        (MMS, "name", ["a,b", "a\nb"]),
        (MMS, "content", ["6", "zz", "68\n", "68" * 500_001]),
        (LOOK_UP, "imsi", ["1" * 16, "a", "1,2", "1\n"]),
        (LOOK_UP, "msisdn", [""]),
        (REPLY, "message", ["x" * 100_000, 5]),
        (REPLY, "long", ["split", 5, "x" * 100_000]),
        (REPLY, "account", [5]),
        (REPLY, "genfields", ["a:b", [5]]),
    ],
    ids=lambda value: value.get("kind", "ussd") if isinstance(value, dict) else value if isinstance(value, str) else "",
)
def test_a_value_that_cannot_be_sent_is_refused_with_the_fields_name(good, field, values):
    messages.decode_outbound(json.dumps(good).encode())
    for value in values:
        bad = good | {field: value}
        body = json.dumps(bad).encode()
        for decode, argument in ((messages.decode_outbound, body), (messages.outbound, bad)):
            with pytest.raises(MessageError) as error:
                decode(argument)
            assert error.value.reason == "invalid-message", value
            assert f"`$.{field}" in str(error.value), value
            assert "regex" not in str(error.value)
            assert len(str(error.value)) < 300


@pytest.mark.parametrize("good", [SMS, BINARY, WAP, MMS, LOOK_UP, REPLY], ids=lambda good: good.get("kind", "ussd"))
def test_a_missing_field_is_named(good):
    required = {"message", "msisdn", "hex_msg", "subject", "url", "name", "content", "ussd_type"}
    for field in good.keys() & required:
        with pytest.raises(MessageError, match=f"invalid-message: Object missing required field `{field}`"):
            messages.decode_outbound(json.dumps({k: v for k, v in good.items() if k != field}).encode())


@pytest.mark.parametrize("decode", [messages.decode_outbound, messages.decode_inbound])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid-json"),
        (b"{", "invalid-json"),
        (b"\xff", "invalid-json"),
        (b'{"kind":"sms","message":"\xff"}', "invalid-json"),
        (b'{"kind":"sms","deep":' + b"[" * 20_000, "invalid-json"),
        (b"[]", "invalid-message"),
        (b"null", "invalid-message"),
        (b"{}", "invalid-message"),
        (b'{"kind":null}', "invalid-message"),
        (b'{"kind":["sms"]}', "invalid-message"),
        (b'{"kind":"sms"}', "invalid-message"),
        (b'{"kind":"smoke"}', "unknown-kind"),
        (b'{"kind":""}', "unknown-kind"),
        (b'{"kind":"%s"}' % (b"x" * 100_000), "unknown-kind"),
    ],
)
def test_a_body_of_no_kind_has_a_short_reason(decode, body, reason):
    with pytest.raises(MessageError) as error:
        decode(body)
    assert error.value.reason == reason
    assert len(str(error.value)) < 300


def test_kinds_of_one_direction_are_unknown_in_the_other():
    for decode, kind in ((messages.decode_inbound, "mms"), (messages.decode_outbound, "delivery-report")):
        with pytest.raises(MessageError, match=f"unknown-kind: kind '{kind}'"):
            decode(json.dumps({"kind": kind}).encode())


@given(st.dictionaries(st.text(), st.text()) | st.none() | st.integers(), st.sampled_from(["sms", "ussd", 5, None]))
def test_whatever_it_is_it_is_a_struct_or_a_message_error(data, kind):
    for convert in (messages.inbound, messages.outbound):
        for value in (data, {**data, "kind": kind} if isinstance(data, dict) else [data]):
            with pytest.raises(MessageError):
                convert(value)


@pytest.mark.parametrize(
    ("ret_code", "status"),
    [
        ("0", "delivered"),
        ("1", "expired"),
        ("2", "sim-full"),
        ("3", "barred"),
        ("4", "invalid-address"),
        ("5", "blacklisted"),
        ("6", "unknown"),
        ("", "unknown"),
        ("00", "unknown"),
    ],
)
def test_return_codes_have_a_status(ret_code, status):
    assert messages.delivery_status(ret_code) == status
