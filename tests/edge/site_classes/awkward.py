"""Classes that tests steer: by the text of the message, and by files in the directory of the option `directory`."""

import os
import sys
import threading
import time
from pathlib import Path

import helper

from richmond.workers.base import RichmondWorker
from richmond.workers.ussd import SessionType, USSDWorker


class AwkwardWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        what, _, rest = message.partition(" ")
        getattr(self, what)(msisdn, rest)

    existing_ussd_session = timed_out_ussd_session = new_ussd_session

    def say(self, msisdn, text):
        self.reply(msisdn, text, SessionType.end)

    def wait(self, msisdn, name):
        """Answer once there is a file of this name."""
        directory = Path(self.options["directory"])
        (directory / f"{name}.begun").touch()
        while not (directory / name).exists():
            time.sleep(0.002)
        self.reply(msisdn, f"{name} by {os.getpid()}", SessionType.end)

    def spin(self, msisdn, seconds):
        """Without a system call, as a computation would."""
        ends = time.monotonic() + float(seconds)
        while time.monotonic() < ends:
            pass
        self.reply(msisdn, "dizzy", SessionType.end)

    def fail(self, msisdn, text):
        raise ValueError(f"{text}\nin two lines")

    def leave(self, msisdn, text):
        sys.exit(text)

    def answer_and_fail(self, msisdn, text):
        self.reply(msisdn, text, SessionType.existing)
        raise ValueError("after the reply")

    def number(self, msisdn, text):
        self.publish({"msisdn": int(msisdn), "message": text, "ussd_type": "3"})

    def many(self, msisdn, count):
        for i in range(int(count)):
            self.reply(msisdn, str(i), SessionType.existing)

    def option(self, msisdn, name):
        self.reply(msisdn, f"{self.options[name]} {os.environ.get(name.upper())}", SessionType.end)

    def elsewhere(self, msisdn, text):
        thread = threading.Thread(target=self.reply, args=(msisdn, text, SessionType.end))
        thread.start()
        thread.join()

    def helper(self, msisdn, text):
        self.reply(msisdn, helper.greet(text), SessionType.end)


class HookedWorker(RichmondWorker):
    def setup_worker(self):
        self.log = Path(self.options["directory"]) / "hooks"
        self.log.write_text("setup\n")

    def consume(self, data):
        with self.log.open("a") as f:
            f.write(f"{data['message']}\n")

    def teardown_worker(self):
        with self.log.open("a") as f:
            f.write("teardown\n")


class BrokenWorker(RichmondWorker):
    def setup_worker(self):
        raise OSError("no database")
