"""SMS, and all that is not USSD, as the authors of worker classes see them."""

import msgspec
import pytest
from handling import from_broker, handled

from richmond import messages
from richmond.errors import MessageError
from richmond.messages import (
    BinarySms,
    DeliveryReport,
    FreeForm,
    ImsiReply,
    PremiumBinarySms,
    PremiumSms,
    Sequence,
    Sms,
    UssdMessage,
)
from richmond.workers.base import RichmondWorker
from richmond.workers.example import SMSEchoWorker
from richmond.workers.sms import SMSWorker
from richmond.workers.ussd import USSDWorker

STAMPS = {"id": "message-1", "received": 1790000000.5, "account": "bank"}
SMS = Sms(msisdn="27831112222", sequence="17", message="Hello, you", **STAMPS)
PREMIUM = PremiumSms(msisdn="27831112222", sequence="17", destination="31022", message="WIN", **STAMPS)
BINARY = BinarySms(msisdn="27831112222", sequence="17", pid="15", coding="246", hex_msg="68", **STAMPS)
PREMIUM_BINARY = PremiumBinarySms(
    msisdn="27831112222", sequence="17", pid="15", coding="246", destination="31022", hex_msg="68", **STAMPS
)
REPORT = DeliveryReport(msisdn="27831112222", sequence="17", ret_code="0", status="delivered", sms_id="s", **STAMPS)
SEQUENCE = Sequence(msisdn="27831112222", sequence="17", sms_id="s", **STAMPS)
IMSI = ImsiReply(sequence="2", msisdn="27831112222", imsi="65501", spid="65501", lookup_id="l", **STAMPS)
ANSWERS = [("delivery_report", REPORT), ("sms_accepted", SEQUENCE), ("imsi_found", IMSI)]


class Both(SMSWorker, USSDWorker):
    pass


class BothTheOtherWay(USSDWorker, SMSWorker):
    pass


def told(worker, message, *names):
    """Which of its methods gets it, and what."""
    calls = []
    for name in names or ("received_sms", "delivery_report", "sms_accepted", "imsi_found"):
        setattr(worker, name, lambda *args, name=name: calls.append((name, *args)))
    handled(worker, message)
    return calls


@pytest.mark.parametrize("worker_class", [SMSWorker, Both, BothTheOtherWay])
@pytest.mark.parametrize("sms", [SMS, PREMIUM, BINARY, PREMIUM_BINARY], ids=lambda sms: type(sms).__name__)
def test_an_sms_comes_as_its_struct(worker_class, sms):
    assert told(worker_class(), sms) == [("received_sms", sms)]


@pytest.mark.parametrize("worker_class", [SMSWorker, USSDWorker, Both, BothTheOtherWay])
@pytest.mark.parametrize(("name", "answer"), ANSWERS)
def test_what_the_gateway_says_of_what_was_sent_comes_to_any_class(worker_class, name, answer):
    assert told(worker_class(), answer) == [(name, answer)]


@pytest.mark.parametrize("worker_class", [Both, BothTheOtherWay])
def test_a_class_of_both_kinds_talks_too(worker_class):
    (reply,) = handled(worker_class(), from_broker())
    assert reply["ussd_type"] == "3"
    assert told(worker_class(), from_broker(ussd_type="2", message="1"), "existing_ussd_session") == [
        ("existing_ussd_session", "27831112222", "1")
    ]
    with pytest.raises(MessageError, match="unknown-ussd-type"):
        handled(worker_class(), from_broker(ussd_type="9"))


@pytest.mark.parametrize("message", [SMS, PREMIUM, BINARY, REPORT, SEQUENCE, IMSI], ids=lambda m: type(m).__name__)
def test_what_a_class_does_not_care_for_is_taken_and_not_answered(message):
    assert handled(SMSWorker(), message) == []


@pytest.mark.parametrize(
    ("worker_class", "message", "reason"),
    [
        (USSDWorker, SMS, "unknown-kind: USSDWorker has no method for sms"),
        (SMSWorker, UssdMessage(**{k: v for k, v in from_broker().items() if k != "kind"}), "unknown-kind: SMSWorker"),
        (SMSWorker, FreeForm(text="t", **STAMPS), "unknown-kind: SMSWorker has no method for free-form"),
        (SMSWorker, {"kind": "sms", "msisdn": "27831112222"}, "invalid-message"),
        (SMSWorker, {"kind": "fax"}, "unknown-kind"),
        (SMSWorker, {"kind": "delivery-report", "msisdn": "1"}, "invalid-message"),
        (USSDWorker, {"kind": "delivery-report", "msisdn": "1"}, "invalid-message"),
        (SMSWorker, {}, "invalid-message"),
    ],
)
def test_what_a_class_cannot_take_has_a_reason(worker_class, message, reason):
    with pytest.raises(MessageError, match=reason):
        worker_class()._decode(msgspec.json.encode(message))


def test_a_class_that_takes_dicts_may_leave_the_answers_to_their_methods():
    calls = []

    class Plain(RichmondWorker):
        def delivery_report(self, report):
            calls.append(report)

    handled(Plain(), REPORT)
    assert calls == [REPORT]


def sent(do, message=SMS):
    """What an SMSWorker publishes whose received_sms is `do(worker)`; and what that returns."""
    worker = SMSWorker()
    returned = []
    worker.received_sms = lambda sms: returned.append(do(worker))
    return handled(worker, message), returned[0]


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (
            lambda w: w.send_sms("27831112222", "hi there!", 2),
            {"kind": "sms", "message": "hi there!", "validity": 2},
        ),
        (
            lambda w: w.send_sms("27831112222", "hi", long="refuse", account="shop"),
            {"kind": "sms", "message": "hi", "validity": 0, "long": "refuse", "account": "shop"},
        ),
        (
            lambda w: w.send_binary_sms("27831112222", b"hello", "15", "246", validity=5),
            {"kind": "binary-sms", "hex_msg": "68656c6c6f", "pid": "15", "coding": "246", "validity": 5},
        ),
        (
            lambda w: w.send_binary_sms("27831112222", "68", account="shop"),
            {"kind": "binary-sms", "hex_msg": "68", "pid": "0", "coding": "0", "validity": 0, "account": "shop"},
        ),
        (
            lambda w: w.send_wap_push("27831112222", "foo", "http://bar/a,b"),
            {"kind": "wap-push", "subject": "foo", "url": "http://bar/a,b"},
        ),
        (
            lambda w: w.send_mms("27831112222", "subject", "name.gif", b"hello"),
            {"kind": "mms", "subject": "subject", "name": "name.gif", "content": "68656c6c6f"},
        ),
        (lambda w: w.look_up_imsi("27831112222"), {"kind": "imsi-lookup"}),
    ],
)
def test_what_is_sent_says_its_kind_and_has_an_id(do, expected):
    (data,), id = sent(do)
    assert data == {"msisdn": "27831112222", "id": id, "in_reply_to": "message-1", **expected}
    assert len(id) == 32
    assert messages.decode_outbound(messages.encode(data)).id == id


def test_ids_are_never_repeated():
    published, _ = sent(lambda w: [w.send_sms("27831112222", "hi") for _ in range(100)])
    assert len({data["id"] for data in published}) == 100


def test_an_sms_to_somebody_else_or_from_outside_a_handler_is_no_reply():
    (data,), _ = sent(lambda w: w.send_sms("27830000000", "hi"))
    assert "in_reply_to" not in data
    worker, published = SMSWorker(), []
    worker._outlet = published.append
    worker.send_sms("27831112222", "hi")
    assert "in_reply_to" not in published[0]


def test_a_ussd_worker_sends_sms_too():
    worker = USSDWorker()
    worker.new_ussd_session = lambda msisdn, text: worker.send_sms(msisdn, "your ticket")
    (data,) = handled(worker, from_broker())
    assert (data["kind"], data["message"], data["in_reply_to"]) == ("sms", "your ticket", "message-1")


@pytest.mark.parametrize(
    ("do", "field"),
    [
        (lambda w: w.send_sms("083 111 2222", "hi"), "msisdn"),
        (lambda w: w.send_sms("27831112222", "x" * 100_000), "message"),
        (lambda w: w.send_sms("27831112222", "hi", -1), "validity"),
        (lambda w: w.send_sms("27831112222", "hi", long="pages"), "long"),
        (lambda w: w.send_sms("27831112222", "hi", account=5), "account"),
        (lambda w: w.send_binary_sms("27831112222", b"x" * 141), "hex_msg"),
        (lambda w: w.send_binary_sms("27831112222", "xy"), "hex_msg"),
        (lambda w: w.send_binary_sms("27831112222", "68", pid="256"), "pid"),
        (lambda w: w.send_wap_push("27831112222", "a,b", "u"), "subject"),
        (lambda w: w.send_wap_push("27831112222", "a", "u\rSSMI,99"), "url"),
        (lambda w: w.send_mms("27831112222", "a", "b,c", b""), "name"),
        (lambda w: w.look_up_imsi(""), "msisdn"),
        (lambda w: w.publish({"kind": "sms", "msisdn": "1"}), "message"),
        (lambda w: w.publish({"kind": "fax", "msisdn": "1"}), "fax"),
        (lambda w: w.publish({"kind": 5}), "kind"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_fields_name_and_nothing_goes_out(do, field):
    worker, published = SMSWorker(), []
    worker._outlet = published.append
    with pytest.raises(MessageError, match=field):
        do(worker)
    assert published == []


def test_the_echo_for_sms_sends_back_what_came():
    for sms, kind, keys in (
        (SMS, "sms", {"message": "Hello, you"}),
        (PREMIUM, "sms", {"message": "WIN"}),
        (BINARY, "binary-sms", {"hex_msg": "68", "pid": "15", "coding": "246"}),
        (PREMIUM_BINARY, "binary-sms", {"hex_msg": "68", "pid": "15", "coding": "246"}),
    ):
        (data,) = handled(SMSEchoWorker(), sms)
        assert data.items() >= {"kind": kind, "msisdn": "27831112222", **keys}.items()
    assert handled(SMSEchoWorker(), REPORT) == []
