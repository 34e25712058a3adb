"""SMSWorker: a method for the SMS that come."""

from __future__ import annotations

import logging
from typing import Any

from richmond import log
from richmond.messages import AnySms, BinarySms, PremiumBinarySms, PremiumSms, Sms
from richmond.workers.base import RichmondWorker, check

__all__ = ["AnySms", "BinarySms", "PremiumBinarySms", "PremiumSms", "SMSWorker", "Sms"]

logger = logging.getLogger(__name__)


class SMSWorker(RichmondWorker):
    """Takes SMS from handsets. `send_sms` and the other ways to answer are every worker's.

    A class may be a USSDWorker too: `class Shop(SMSWorker, USSDWorker)`.
    """

    def received_sms(self, sms: AnySms) -> None:
        """An SMS has come: an Sms, PremiumSms, BinarySms or PremiumBinarySms."""
        logger.warning("no answer for %s: %s has no received_sms", log.mask(sms.msisdn), type(self).__name__)

    def _decode(self, body: bytes) -> dict[str, Any]:
        data = super()._decode(body)
        check(self, data)
        return data
