"""Which delivery report an SMS gets, and when."""

import pytest

from richmond.simulator import reports as module
from richmond.simulator.reports import Reports, Rule
from richmond.simulator.subscribers import Refused
from richmond.ssmi.codec import DeliveryReport

PHONE, OTHER = "27831112222", "27831113333"
FULL = Rule("2")
BARRED = Rule("3", delay_s=1.0, seq=False)


@pytest.mark.parametrize(
    ("rules", "phone", "other"),
    [
        ([], Rule(), Rule()),
        ([("", FULL)], FULL, FULL),
        ([(PHONE, FULL)], FULL, Rule()),
        ([(PHONE, FULL), ("", BARRED)], FULL, BARRED),
        ([("", BARRED), (PHONE, Rule())], Rule(), BARRED),
        ([(PHONE, FULL), (PHONE, BARRED)], BARRED, Rule()),
    ],
)
def test_a_number_s_own_rule_goes_before_that_of_all(rules, phone, other):
    reports = Reports()
    for msisdn, rule in rules:
        reports.set(msisdn, rule)
    assert (reports.rule(PHONE), reports.rule(OTHER)) == (phone, other)


@pytest.mark.parametrize(
    ("reset", "left"),
    [
        (PHONE, ["all: report 3 after 1 s without sequence"]),
        (OTHER, ["all: report 3 after 1 s without sequence", f"{PHONE}: no report (code 0)"]),
        ("", []),
    ],
)
def test_reset_forgets_one_number_or_everything(reset, left):
    reports = Reports()
    reports.set("", BARRED)
    reports.set(PHONE, Rule(report=False))
    reports.reset(reset)
    assert reports.listed() == left


def test_rules_are_bounded_and_told_in_short(monkeypatch):
    monkeypatch.setattr(module, "RULES", 3)
    reports = Reports()
    for number in range(3):
        reports.set(f"2783{number}", FULL)
    with pytest.raises(Refused, match="3 numbers have a rule of their own already"):
        reports.set("27839", FULL)
    reports.set("27830", BARRED)
    reports.set("", BARRED)
    assert reports.listed(most=1)[2:] == ["and 2 more numbers"]


def test_reports_come_in_the_order_of_their_times():
    reports = Reports()
    lines = [DeliveryReport(PHONE, str(number), "0") for number in range(3)]
    for due, line in zip((5.0, 1.0, 5.0), lines, strict=True):
        assert reports.later(due, "bank", line)
    assert (len(reports), reports.deadline()) == (3, 1.0)
    assert reports.due(0.9) == []
    assert reports.due(1.0) == [("bank", lines[1])]
    assert reports.due(9.0) == [("bank", lines[0]), ("bank", lines[2])]
    assert (len(reports), reports.deadline()) == (0, None)


def test_reports_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "WAITING", 1)
    reports = Reports()
    line = DeliveryReport(PHONE, "1", "0")
    assert reports.later(1.0, "bank", line)
    assert not reports.later(1.0, "bank", line)
    assert len(reports) == 1
