"""The dashboard, used as operators use it: with and without the token, through a crash and a restart of the master."""

import os
import re
import signal

import pytest
from installation import ECHO
from playwright.sync_api import expect

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


class Card:
    """Of one worker class."""

    def __init__(self, page, name):
        self.root = page.get_by_role("article", name=f"Worker class {name}")
        self.slots = self.root.get_by_role("list", name=f"Slots of {name}").get_by_role("button")

    def press(self, name):
        self.root.get_by_role("button", name=name).click()

    def has(self, running):
        expect(self.root.locator(".count")).to_contain_text(re.compile(rf"^{running} of {running} "))
        expect(self.slots).to_have_text(["R"] * running)


def test_a_crash_scaling_with_and_without_the_token_and_a_restart_of_the_master(served, window):
    richmond = served(ECHO)
    browser = window()
    page = browser.page
    page.goto(richmond.web)
    echo = Card(page, "EchoWorker")
    verdict = page.locator("#verdict")
    echo.has(running=2)
    expect(verdict).to_have_text("all is well")
    expect(page.locator("canvas").first).to_be_visible()
    assert browser.faults() == []

    # A worker is killed, and comes back.
    pid = richmond.slot("EchoWorker:0").pid
    expect(echo.slots.first).to_have_accessible_name(re.compile(f"EchoWorker:0 RUNNING · pid {pid}"))
    os.kill(pid, signal.SIGKILL)
    expect(page.locator("#events")).to_contain_text(re.compile(rf"EchoWorker:0 .*{pid}.*SIGKILL", re.DOTALL))
    expect(echo.slots.first).to_have_accessible_name(re.compile(rf"EchoWorker:0 RUNNING · pid (?!{pid}\b)"))

    # Without the token nothing changes.
    echo.press("One worker more of EchoWorker")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This takes the token")
    assert browser.faults() == []
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("#answer")).to_contain_text("Nothing was changed")
    echo.has(running=2)
    path = f"{richmond.web}classes/EchoWorker/scale"
    assert page.request.post(path, data={"count": 3}).status == 401
    assert page.request.post(path, data={"count": 3}, headers={"Authorization": "Bearer guessed"}).status == 401

    # With it everything does, for as long as the tab is open.
    link = richmond.run("web").stdout.strip()
    page.goto(link)
    page.reload()
    assert page.url == richmond.web
    echo.press("One worker more of EchoWorker")
    echo.has(running=3)
    other = Card(window().page, "EchoWorker")
    other.root.page.goto(richmond.web)
    other.has(running=3)
    assert richmond.status().classes[0].pinned
    token = link.partition("#token=")[2]
    foreign = {"Authorization": f"Bearer {token}", "Origin": "http://elsewhere.example"}
    assert page.request.post(path, data={"count": 1}, headers=foreign).status == 403

    # The server goes, and comes back.
    browser.expect_loss()
    other.root.page.close()
    assert richmond.run("stop").returncode == 0
    richmond.wait_end()
    expect(page.get_by_role("alert")).to_contain_text("The connection to Richmond is lost")
    richmond.start()
    expect(page.locator("#lost")).to_be_hidden()
    echo.has(running=2)
    expect(verdict).to_have_text("all is well")
    echo.press("One worker more of EchoWorker")
    echo.has(running=3)
