"""FooBarWorker: the smallest dialogue that has a right answer."""

from __future__ import annotations

from richmond.workers.ussd import SessionType, USSDWorker


class FooBarWorker(USSDWorker):
    """Wants to hear "bar", or 0."""

    def new_ussd_session(self, msisdn: str, message: str) -> None:
        self.reply(msisdn, "foo?", SessionType.existing)

    def existing_ussd_session(self, msisdn: str, message: str) -> None:
        if message in ("bar", "0"):
            self.reply(msisdn, "Clever. Bye!", SessionType.end)
        else:
            self.reply(msisdn, "Say bar ...", SessionType.existing)
