"""What workers/README.md tells the authors of worker classes is so."""

import inspect
import re
import textwrap
from pathlib import Path

from handling import from_broker, handled

from richmond.config import load
from richmond.workers.sms import PremiumSms, SMSWorker
from richmond.workers.ussd import USSDWorker

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "workers" / "README.md").read_text()
SAMPLES = [textwrap.dedent(sample).strip() for sample in re.findall(r"\n\n((?: {4}.*\n|\n)+)", TEXT) if sample.strip()]


class Any(SMSWorker, USSDWorker):
    pass


def test_its_classes_answer():
    names = {}
    for sample in SAMPLES:
        if "import" in sample:
            exec(sample, names)
    (reply,) = handled(names["PizzaWorker"](), from_broker())
    assert reply["message"].startswith("Which pizza?")
    sms = PremiumSms(
        msisdn="27831112222", sequence="1", destination="31022", message="WIN", id="i", received=0.5, account="default"
    )
    (sent,) = handled(names["RaffleWorker"](), sms)
    assert (sent["kind"], sent["validity"]) == ("sms", 60)


def test_its_sections_are_valid(tmp_path):
    ini = tmp_path / "richmond.ini"
    ini.write_text("\n".join(sample for sample in SAMPLES if sample.startswith("[")))
    assert [worker.name for worker in load(ini, {}).workers] == ["PizzaWorker", "RaffleWorker"]


def test_the_methods_in_its_tables_exist_with_these_parameters():
    told = re.findall(r"^\| `(?:self\.)?(\w+)\((.*?)\)` \|", TEXT, re.MULTILINE)
    assert {name for name, _ in told} >= {"received_sms", "reply", "send_sms", "publish", "look_up_imsi"}
    for name, parameters in told:
        count = len([p for p in parameters.split(",") if p])
        inspect.signature(getattr(Any(), name)).bind(*["x"] * count)


def test_all_that_a_class_may_override_or_call_is_in_its_tables():
    told = set(re.findall(r"^\| `(?:self\.)?(\w+)[(\[]", TEXT, re.MULTILINE))
    public = {name for name in dir(Any) if not name.startswith("_")}
    assert public - told == {"long_text", "direct_dial"}
    assert "long_text = " in TEXT
    assert "direct_dial = True" in TEXT


def test_its_links_lead_somewhere():
    assert all((ROOT / "workers" / link).exists() for link in re.findall(r"\]\(([\w./]+)\)", TEXT))
