"""Take the pictures of the web pages: of a real installation under a little load, with a story.

`make screenshots`. It takes a few minutes: charts need history.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from richmond.errors import RichmondError
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}
DEADLINE_S = 60.0
INI = """
[richmond]
directory = var
[web]
port = 0
[worker:AirtimeWorker]
class = shop.AirtimeWorker
codes = *120*321#
min = 1
max = 6
scale-down = 15
[worker:BalanceWorker]
class = shop.BalanceWorker
codes = *120*77#
workers = 2
[worker:VoteWorker]
class = shop.VoteWorker
short-codes = 31022
workers = 1
"""
SHOP = """
import random
import time
from richmond.workers.sms import SMSWorker
from richmond.workers.ussd import SessionType, USSDWorker


class AirtimeWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        time.sleep(0.04)
        self.reply(msisdn, "Buy airtime\\n1. R5\\n2. R10\\n3. R25\\n4. For a friend\\n0. Leave", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        self.reply(msisdn, "Thank you. Your airtime is on its way.", SessionType.end)


class BalanceWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        if random.random() < 0.05:
            raise ValueError("this account has no balance")
        self.reply(msisdn, "Your balance is R12.40.", SessionType.end)


class VoteWorker(SMSWorker):
    def received_sms(self, sms):
        self.send_sms(sms.msisdn, f"Your vote for {sms.message.split()[-1]} counts. One vote a telephone, please.")
"""


class Story:
    """An installation in `directory`, and what happens to it."""

    def __init__(self, directory: Path, seconds: float) -> None:
        """`seconds`: how long it takes, and what the charts show."""
        self._seconds = seconds
        self._directory = directory
        self._ini = directory / "richmond.ini"
        self._load: list[subprocess.Popen[bytes]] = []
        self._ini.write_text(INI)
        (directory / "workers").mkdir()
        (directory / "workers" / "shop.py").write_text(SHOP)

    @contextlib.contextmanager
    def told(self) -> Iterator[str]:
        """The pages' address, while all of it is there to be seen."""
        master = self._run("start")
        try:
            begin = time.monotonic()
            address = self._wait(lambda s: s.phase == "running" and bool(s.web) and not s.problems).web
            self._play("--ussd", "12", "--code", "*120*321#", seconds=self._seconds + DEADLINE_S)
            self._play("--ussd", "4", "--code", "*120*77#", seconds=self._seconds * 0.4)
            self._play("--sms", "2", "--to", "31022", "--text", "VOTE cats", seconds=self._seconds + DEADLINE_S)
            self._until(begin + self._seconds * 0.2)
            self._play("--ussd", "70", "--code", "*120*321#", seconds=self._seconds * 0.2)  # more workers, for a while
            self._until(begin + self._seconds * 0.5)
            os.kill(self._victim(), signal.SIGKILL)
            self._until(begin + self._seconds * 0.8)
            self._play("--ussd", "50", "--code", "*120*321#", seconds=self._seconds)
            self._until(begin + self._seconds)
            yield address
        finally:
            for load in self._load:
                load.terminate()
                load.wait()
            self._run("stop").wait()
            master.wait()

    def _victim(self) -> int:
        pid = next(s.pid for c in self._status().classes if c.name == "BalanceWorker" for s in c.slots)
        assert pid is not None
        return pid

    def _play(self, *what: str, seconds: float) -> None:
        self._load.append(self._run("gateway", "load", "--seconds", f"{seconds:g}", *what))

    def _run(self, *args: str) -> subprocess.Popen[bytes]:
        verb = args[:2] if args[0] == "gateway" else args[:1]
        command = [sys.executable, "-m", "richmond", *verb, "-c", str(self._ini), *args[len(verb) :]]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)

    def _status(self) -> Snapshot:
        socket = self._directory / "var" / "richmond.sock"
        return from_dict(call(socket, protocol.GetStatus(), 10)["status"])

    def _wait(self, condition: Any) -> Snapshot:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(RichmondError):
                if condition(status := self._status()):
                    return status
            time.sleep(0.2)
        raise SystemExit("the installation does not come up")

    def _until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))


def dashboard(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("AirtimeWorker").first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    page.wait_for_timeout(2500)  # two looks at the installation


def telephone(page: Page, address: str) -> None:
    page.goto(f"{address}phone")
    first, second = page.locator(".handset").nth(0), page.locator(".handset").nth(1)
    expect(first).to_have_attribute("data-state", "idle")
    if page.viewport_size != WIDTHS["narrow"]:
        page.get_by_role("button", name="Add a telephone").click()
        expect(second).to_have_attribute("data-state", "idle")
    first.locator(".entry input").fill("*120*321#")
    first.locator(".entry input").press("Enter")
    expect(first).to_have_attribute("data-state", "menu")
    first.locator(".entry input").fill("2")
    first.get_by_label("To", exact=True).fill("31022")
    first.get_by_label("Message", exact=True).fill("VOTE cats")
    first.get_by_role("button", name="Send SMS").click()
    expect(first.locator(".inbox li")).to_have_count(2)
    page.locator("#log summary").click()
    expect(page.locator("#lines li").nth(2)).to_be_visible()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def picture(browser: Browser, take: Any, address: str, width: str, scheme: Any, path: Path) -> None:
    page = browser.new_page(viewport=WIDTHS[width], color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_default_timeout(DEADLINE_S * 2000)  # a busy machine paints slowly
    take(page, address)
    page.screenshot(path=path, full_page=True)
    page.close()
    with Image.open(path) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the web pages.")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--seconds", type=float, default=200.0, help="how long a story the charts show")
    arguments = parser.parse_args()
    target: Path = arguments.directory
    target.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is missing. As root: scripts/install-chromium.sh")
    expect.set_options(timeout=DEADLINE_S * 1000)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        tempfile.TemporaryDirectory(prefix="richmond-") as directory,
        Story(Path(directory), arguments.seconds).told() as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        for take in (dashboard, telephone):
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    path = target / f"{take.__name__}-{width}-{scheme}.png"
                    picture(browser, take, address, width, scheme, path)
                    print(f"{path}  {path.stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main()
