"""FooBarWorker: the smallest dialogue that has a right answer. SMSEchoWorker: the same for SMS, without one."""

from __future__ import annotations

import logging

from richmond.messages import AnySms, DeliveryReport, PremiumSms, Sms
from richmond.workers.sms import SMSWorker
from richmond.workers.ussd import SessionType, USSDWorker

logger = logging.getLogger(__name__)


class FooBarWorker(USSDWorker):
    """Wants to hear "bar", or 0."""

    def new_ussd_session(self, msisdn: str, message: str) -> None:
        self.reply(msisdn, "foo?", SessionType.existing)

    def existing_ussd_session(self, msisdn: str, message: str) -> None:
        if message in ("bar", "0"):
            self.reply(msisdn, "Clever. Bye!", SessionType.end)
        else:
            self.reply(msisdn, "Say bar ...", SessionType.existing)


class SMSEchoWorker(SMSWorker):
    """Sends every SMS back, and logs whether it arrived."""

    def received_sms(self, sms: AnySms) -> None:
        if isinstance(sms, Sms | PremiumSms):
            self.send_sms(sms.msisdn, sms.message)
        else:
            self.send_binary_sms(sms.msisdn, sms.hex_msg, sms.pid, sms.coding)

    def delivery_report(self, report: DeliveryReport) -> None:
        logger.info("SMS %s: %s", report.sms_id, report.status)
