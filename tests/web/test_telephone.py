"""/phone, used as people use it: with keys, mouse and keyboard, at a real installation."""

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest
from installation import ECHO, until
from playwright.sync_api import expect

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

SMS = """
[worker:SMSEchoWorker]
class = richmond.workers.example.SMSEchoWorker
short-codes = 31022
sms = yes
"""
ACCOUNTS = """
[ssmi:bank]
username = bank
"""
REAL = "host = 127.0.0.1\nport = 1\nusername = richmond\npassword = none\n"
GREETING = "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."


class Handset:
    def __init__(self, page, number=0):
        """`number`: which one on the page, from 0."""
        self.root = page.locator(".handset").nth(number)
        self.screen = self.root.get_by_role("log", name=re.compile("^Screen of"))
        self.entry = self.root.locator(".entry input")
        self.inbox = self.root.get_by_role("log", name=re.compile("^Messages to"))

    @property
    def msisdn(self):
        return self.root.get_by_role("heading", level=2).inner_text()

    def key(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def keys(self, text):
        for sign in text:
            self.key({"*": "Star", "#": "Hash"}.get(sign, sign))

    def dial(self, code):
        self.entry.fill(code)
        self.entry.press("Enter")

    def shows(self, text):
        expect(self.screen).to_contain_text(text)

    def is_idle(self):
        expect(self.root).to_have_attribute("data-state", "idle")


class Program:
    """What speaks to the server as the page does, without being one. It ends as a browser does that is killed."""

    def __init__(self, address):
        self.netloc = urlsplit(address).netloc
        self.stream = http.client.HTTPConnection(self.netloc, timeout=30)
        self.stream.request("GET", "/phone/line")
        answer = self.stream.getresponse()
        assert answer.readline() == b"event: hello\n"
        self.line = json.loads(answer.readline().removeprefix(b"data: "))["line"]

    def post(self, body, line="", **headers):
        """HTTP status, and what is said of it."""
        connection = http.client.HTTPConnection(self.netloc, timeout=30)
        connection.request("POST", f"/phone/line/{line or self.line}", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def takes(self, number):
        return "ok" in json.loads(self.post(json.dumps({"op": "register", "msisdn": number}))[1]).get("event", "")

    def close(self):
        self.stream.close()


def test_sessions_messages_and_faults_on_the_telephones_of_a_page(served, window):
    richmond = served(ECHO + SMS + ACCOUNTS)
    browser = window()
    page = browser.page
    page.goto(f"{richmond.web}phone")
    phone = Handset(page)

    # By keyboard alone: one types at once, and from wherever one starts a session one stays within the telephone.
    phone.is_idle()
    expect(phone.entry).to_be_focused()
    page.keyboard.type("*120*663#")
    page.keyboard.press("Enter")
    phone.shows(GREETING)
    page.keyboard.press("Escape")
    phone.is_idle()
    phone.root.get_by_role("button", name="Dial *120*663#, EchoWorker").focus()
    page.keyboard.press("Enter")
    phone.shows(GREETING)
    expect(phone.entry).to_be_focused()
    page.keyboard.press("Escape")
    phone.is_idle()

    # To the end that the application makes.
    phone.dial("*120*663#")
    phone.shows(GREETING)
    expect(phone.root.locator(".length")).to_have_text(f"{len(GREETING)} characters")
    phone.entry.press_sequentially("so\\n, <b>what</b>?")
    phone.entry.press("Enter")
    phone.shows("so\\n, <b>what</b>?")
    phone.entry.fill("0")
    phone.entry.press("Enter")
    expect(phone.root).to_have_attribute("data-state", "notice")
    phone.entry.press("Enter")
    phone.is_idle()

    # With the phone's own keys, to where the subscriber hangs up.
    phone.keys("*120*666#")
    phone.key("Dial")
    expect(phone.root).to_have_attribute("data-state", "menu")
    assert phone.screen.inner_text() != GREETING
    phone.key("Cancel")
    phone.is_idle()
    phone.root.get_by_role("button", name="Dial *120*663#, EchoWorker").click()
    phone.shows(GREETING)

    # SMS, while a session is open.
    phone.root.get_by_label("To", exact=True).fill("31022")
    phone.root.get_by_label("Message", exact=True).fill("VOTE cats")
    phone.root.get_by_role("button", name="Send SMS").click()
    expect(phone.inbox.get_by_role("listitem")).to_have_count(2)  # what was sent, and its echo
    phone.root.get_by_label("To", exact=True).fill("cats")
    phone.root.get_by_label("Message", exact=True).fill("VOTE cats")
    phone.root.get_by_role("button", name="Send SMS").click()
    expect(phone.root.get_by_role("alert")).to_contain_text("'cats' is not a short code")

    # A second telephone has a session of its own, and another account.
    page.get_by_label("Number").fill("not a number")
    page.get_by_role("button", name="Add a telephone").click()
    expect(page.locator("#add-error")).to_contain_text("'not a number' is not a telephone number: 1 to 15 digits")
    page.get_by_label("Number").fill("27831112222")
    page.get_by_role("button", name="Add a telephone").click()
    other = Handset(page, 1)
    other.is_idle()
    assert other.msisdn == "27831112222"
    other.root.get_by_label("Account").select_option("bank")
    other.dial("*120*663")
    other.shows("“*120*663” is not a USSD code")
    other.key("OK")
    other.entry.fill("*120*666" + "7" * 10_000 + "#")
    assert len(other.entry.input_value()) == 182
    other.key("Clear")
    other.dial("*120*666#")
    expect(other.root).to_have_attribute("data-state", "menu")
    phone.shows(GREETING)
    page.locator("#log summary").click()
    expect(page.get_by_role("log", name="SSMI lines")).to_contain_text(
        re.compile(r"bank\s*gateway → Richmond\s*SSMI,110,27831112222,1,2,\*120\*666#")
    )
    assert browser.faults() == []
    other.key("Let it time out")
    other.shows("The session has timed out.")
    phone.shows(GREETING)

    # The page is loaded anew: the same telephones, with what they have received, and without a session.
    number = phone.msisdn
    page.reload()
    phone, other = Handset(page), Handset(page, 1)
    phone.is_idle()
    other.is_idle()
    assert phone.msisdn == number
    expect(phone.inbox.get_by_role("listitem")).to_have_text(["VOTE cats"])
    until("its sessions to end", lambda: "\n0 sessions, " in richmond.run("gateway", "status").stdout)

    # Nobody is logged in at the gateway.
    assert richmond.run("gateway", "fault", "no-login").returncode == 0
    assert richmond.run("gateway", "fault", "drop").returncode == 0
    phone.dial("*120*663#")
    phone.shows("Connection problem or invalid MMI code.\n\nThe gateway has no client logged in as")
    assert richmond.run("gateway", "fault", "calm").returncode == 0
    phone.key("Close")

    # Another telephone has the number.
    assert "in use by another telephone" in richmond.run("dial", "*120*663#", "0", "--msisdn", number).stderr
    other.key("Remove telephone 27831112222")
    expect(page.locator(".handset")).to_have_count(1)

    # No page, but a program: only what a telephone may ask for, and only from here.
    program = Program(richmond.web)
    assert program.post('{"op": "fault", "name": "mute"}')[0] == 400
    assert program.post('{"op": "answer", "text": "1"}') == (
        400,
        '{"ok": false, "error": "say for which number: \\"msisdn\\""}',
    )
    assert program.post(b"\xff{")[0] == 400
    assert program.post("{}", line="guessed")[0] == 503
    assert program.post('{"op": "register"}', Origin="http://elsewhere.example")[0] == 403
    assert program.post(json.dumps({"op": "dial", "msisdn": "1", "code": "*" * 20_000}))[0] == 400
    assert not program.takes(number)
    assert program.takes("27830000001")
    program.close()
    second = Program(richmond.web)
    until("the number of a program that has gone to be free", lambda: second.takes("27830000001"), timeout_s=10)
    second.close()

    # The server goes, and comes back.
    richmond.wait("the gateway to be back", lambda s: not s.problems)
    phone.dial("*120*663#")
    phone.shows(GREETING)
    browser.expect_loss()
    assert richmond.run("stop").returncode == 0
    richmond.wait_end()
    expect(page.locator("#lost")).to_contain_text("The connection to Richmond is lost")
    richmond.start()
    phone.shows("Connection lost: the session is over.")
    expect(page.locator("#lost")).to_be_hidden()
    phone.key("OK")
    phone.dial("*120*663#")
    phone.shows(GREETING)

    # Never against a real gateway.
    text = richmond.ini.read_text().replace(ACCOUNTS, "")
    richmond.ini.write_text(text.replace("[ssmi]\n", f"[ssmi]\n{REAL}"))
    reloaded = richmond.run("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    expect(page.locator("#lost")).to_be_visible()
    assert page.goto(f"{richmond.web}phone").status == 404
    expect(page.locator("body")).to_contain_text("the simulator does not run")
