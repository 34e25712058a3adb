# ruff: noqa: UP031 (written as in 2010)
from richmond import log
from richmond.workers.base import RichmondWorker


class ReverseWorker(RichmondWorker):
    """No dialogue: takes the dict, publishes a dict."""

    def consume(self, data):
        log.msg("consuming %(ussd_type)s from %(msisdn)s" % data)
        self.publish(
            {
                "msisdn": data["msisdn"],
                "message": data["message"][::-1],
                "ussd_type": "3",
            }
        )
