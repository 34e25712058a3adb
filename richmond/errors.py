"""The error tree: one class for each thing that a caller can act on.

A message says what happened, to what, and what to do next. It never holds a password.
"""


class RichmondError(Exception):
    """The root. The command line prints its text, without a traceback, and exits with `exit_code`."""

    exit_code = 1


class UsageError(RichmondError):
    """The operator asked for something that cannot be: an unknown class, a count out of bounds."""

    exit_code = 2


class ConfigError(RichmondError):
    """The ini cannot be used. `problems` holds one line for each thing that is wrong with it."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InstallationError(RichmondError):
    """The installation's own files cannot be written where the ini puts them."""


class AlreadyRunning(RichmondError):
    """Another master holds this installation; the text names its pid."""


class NotRunning(RichmondError):
    """No master answers on the control socket."""

    exit_code = 3


class ControlError(RichmondError):
    """The master refused a request, or its answer made no sense."""


class Unreachable(RichmondError):
    """A server that the ini names does not answer, or refuses us."""


class RabbitMQMissing(RichmondError):
    """No RabbitMQ server program on this host; the text says how to install it."""


class RabbitMQError(RichmondError):
    """The private RabbitMQ node could not be started or stopped; the text names its log."""


class AMQPError(RichmondError):
    """RabbitMQ cannot be used now; the text is what an operator needs to read in status."""


class AMQPUnreachable(AMQPError):
    """Nobody answers there, or the connection broke. Trying again may help."""


class AMQPRefused(AMQPError):
    """RabbitMQ answered and said no: user, virtual host or permission. The text has the rabbitmqctl command."""


class AMQPMismatch(AMQPError):
    """A queue or exchange exists with other arguments (406). The text has the command that removes it."""


class MessageError(RichmondError):
    """A message from a queue cannot be used. `reason` is short and stable: it is counted and goes into headers."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail or reason


class SSMIUsageError(RichmondError):
    """We were asked to encode what SSMI cannot carry. `reason` is short and stable."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail or reason
