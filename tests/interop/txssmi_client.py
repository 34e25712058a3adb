"""Run by test_txssmi: a USSD application on txssmi, a client that others wrote for TruTeq's gateway.

txssmi is of Python 2, where text and bytes were one type: the two methods between it and the socket turn one into the
other, and nothing else of it is touched. Prints one line of JSON for each thing that happens.
"""

import json
import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from txssmi.protocol import SSMIProtocol


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Application(SSMIProtocol):
    def lineReceived(self, line):
        super().lineReceived(line.decode("iso-8859-1"))

    def sendLine(self, line):
        super().sendLine(line.encode("iso-8859-1"))

    def connectionLost(self, reason):
        say("lost")
        if reactor.running:
            reactor.stop()

    def handle_USSD_MESSAGE(self, message):
        say("ussd", msisdn=message.msisdn, type=message.type, phase=message.phase, message=message.message)
        if message.type == "1":
            self.send_ussd_message(message.msisdn, "Hello\n1. Café", "2")
        elif message.type == "2":
            self.send_ussd_message(message.msisdn, f"Bye, {message.message}", "3")

    def handle_EXTENDED_USSD_MESSAGE(self, message):
        say("extended", msisdn=message.msisdn, type=message.type, genfields=message.genfields)
        if message.type == "1":
            self.send_extended_ussd_message(message.msisdn, "Bye", "3", message.genfields.split(":"))

    def handle_MO(self, message):
        say("mo", msisdn=message.msisdn, message=message.message)
        self.send_message(message.msisdn, "got it, thanks")

    def handle_SEQ(self, message):
        say("seq", msisdn=message.msisdn, sequence=message.sequence)

    def handle_DR(self, message):
        say("dr", msisdn=message.msisdn, sequence=message.sequence, ret_code=message.ret_code)

    def handle_LOGOUT(self, message):
        say("remote-logout", ip=message.ip)


def failed(failure):
    failure.printTraceback()
    reactor.stop()


def connected(application, password):
    def logged_in(answer):
        say("login", command=answer.command_name, authenticated=application.authenticated)
        if not application.authenticated:
            return
        checked = application.event_queue.get()
        checked.addCallback(lambda ack: say("link-check", command=ack.command_name, ack_type=ack.ack_type))
        checked.addCallback(lambda _: application.imsi_lookup("27831112222", imsi=""))
        checked.addCallback(lambda reply: say("imsi", imsi=reply.imsi, spid=reply.spid))
        checked.addErrback(failed)
        application.send_link_request()

    application.authenticate("richmond", password).addCallback(logged_in)


port, password = int(sys.argv[1]), sys.argv[2]
dialled = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Application())
dialled.addCallback(connected, password)
dialled.addErrback(failed)
reactor.run()
