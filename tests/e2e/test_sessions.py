"""USSD sessions outlive the master: an answer goes to the class that the session began with."""

import signal

import pytest
from gateway import RawGateway
from installation import ECHO, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


@pytest.fixture
def gateway():
    with RawGateway() as gateway:
        yield gateway


@pytest.mark.parametrize("end", ["stop", "kill -9"])
def test_an_answer_reaches_the_class_of_its_session_after_a_restart_of_the_master(install, gateway, end):
    richmond = install(workers=ECHO, ssmi=gateway.section).start()
    gateway.send("SSMI,110,27831112222,1,2,*120*666#")
    gateway.got("SSMI,110,27831112222,2,foo?")
    if end == "stop":
        richmond.signal(signal.SIGTERM)
    else:
        store = richmond.settings.richmond.directory / "sessions.db"
        until("the session to be on disk", lambda: b"27831112222" in store.read_bytes())
        richmond.signal(signal.SIGKILL)
    richmond.wait_end()
    until("the workers to end", lambda: not richmond.processes())

    richmond.start()
    gateway.send("SSMI,110,27831112222,2,2,nope")
    gateway.got("SSMI,110,27831112222,2,Say bar ...")
    gateway.send("SSMI,110,27839998888,2,2,hello")  # begun with nobody that we know
    gateway.got("SSMI,110,27839998888,2,hello")
