import pytest


@pytest.fixture
def richmond(install):
    """One that runs, with EchoWorker and FooBarWorker."""
    return install().start()
