# ruff: noqa: UP031 (written as in 2010)
from richmond import log
from richmond.workers.ussd import SessionType, USSDWorker

MENU = {"1": "Margherita", "2": "Hawaiian", "3": "Four Seasons"}


class PizzaWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        log.msg("%s is hungry, dialled %s" % (msisdn, message))
        lines = ["Which pizza?"] + ["%s. %s" % item for item in sorted(MENU.items())]
        self.reply(msisdn, "\n".join(lines), SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        try:
            pizza = MENU[message.strip()]
        except KeyError:
            log.err()
            self.reply(msisdn, "We do not have that.", SessionType.existing)
        else:
            self.reply(msisdn, "A %s is on its way." % pizza, SessionType.end)

    def timed_out_ussd_session(self, msisdn, message):
        log.msg("no pizza for", msisdn)

    def end_ussd_session(self, msisdn, message):
        log.msg("%s hung up" % msisdn)
