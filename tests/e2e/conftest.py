import pytest
from installation import Installation


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


@pytest.fixture
def richmond(install):
    """One that runs, with EchoWorker and FooBarWorker."""
    return install().start()
