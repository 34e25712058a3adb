"""Fixtures that the whole suite shares."""

import pytest
from hypothesis import HealthCheck, settings
from installation import Installation

from richmond.rabbitmq import PrivateNode

# Hypothesis fails an example that takes 200 ms, and data that are slow to come: on a loaded machine any may be.
settings.register_profile("no duration asserted", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no duration asserted")


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """A RabbitMQ node of this test process's own. Where the server is missing, it fails and says how to install it."""
    private = PrivateNode(tmp_path_factory.mktemp("rabbitmq"))
    yield private.start(60)
    private.stop(10)


@pytest.fixture
def install(tmp_path, node):
    """Makes installations that share the suite's RabbitMQ node; ends them and sees that nothing is left."""
    made = []

    def make(**options):
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Installation(directory, **{"node": node, **options}))
        return made[-1]

    yield make
    for installation in made:
        print(installation.output())  # pytest shows it where the test failed
        installation.close()


def pytest_terminal_summary(terminalreporter):
    """What the fault tests measured; they assert no time."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    lines = [value for report in reports for name, value in report.user_properties if name == "fault"]
    if lines:
        terminalreporter.write_sep("=", "faults under load")
        for line in sorted(lines):
            terminalreporter.write_line(line)
