"""Several accounts at the simulator, with no gateway anywhere."""

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ACCOUNTS = """
[ssmi:bank]
encoding = utf-8
[worker:EchoWorker]
[worker:SMSEchoWorker]
sms = yes
"""


def test_telephones_of_two_accounts_talk_to_the_same_classes(install):
    richmond = install(workers=ACCOUNTS)
    richmond.start()
    up = richmond.wait("both links", lambda s: [link.state for link in s.links if "gateway" in link.name] == ["up"] * 2)
    assert [link.name for link in up.links if "gateway" in link.name] == ["gateway default", "gateway bank"]
    for account in ((), ("--account", "bank")):
        done = richmond.run("dial", *account, "*120*663#", "Grüße", "0")
        assert done.returncode == 0, done.stderr
        assert "Grüße" in done.stdout  # each in its account's encoding
        assert "quitting, goodbye!" in done.stdout
    assert richmond.run("gateway", "sms", "27831112222", "Σigma", "--account", "bank").returncode == 0
    until("the SMS to come back", lambda: richmond.run("gateway", "inbox", "27831112222").stdout == "[SMS] Σigma\n")
    wrong = richmond.run("dial", "--account", "nobody", "*120*663#", "0")
    assert wrong.returncode != 0
    assert len(wrong.stderr.splitlines()) == 1
