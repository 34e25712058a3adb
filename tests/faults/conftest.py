import time

import pytest
from load import INI, SITE, Load
from nodes import OwnNode


@pytest.fixture
def load():
    with Load() as load:
        yield load


@pytest.fixture
def loaded(load, install):
    """Starts an installation under load, and returns when it is warm."""

    def start(**options):
        richmond = install(**{"workers": INI, "ssmi": load.section, **options})
        (richmond.site / "answerer.py").write_text(SITE)
        richmond.start()
        load.begin()
        return richmond

    return start


@pytest.fixture
def audit(load, record_property):
    """Ends the load, checks the ledger, and writes down what was measured."""

    def check(name, richmond, since, twice, *, back=None, asked_for=0, lost=0):
        """`since`, `back`: when the fault began and ended. `twice`: may be answered so; `asked_for`: has to be."""
        ledger = load.finish(richmond)
        duplicates = ledger.duplicates - asked_for
        seconds = time.monotonic() - next(iter(ledger.lines.values())).sent
        record_property(
            "fault",
            f"{name:<46} {len(ledger.lines):>6} sent {len(ledger.lines) / seconds:>4.0f}/s {len(ledger.lost):>4} lost "
            f"{duplicates:>4} twice (of {twice:>4}) {ledger.apologies:>5} apologies {ledger.dead_only:>4} dead "
            f"silence {ledger.silence(since):5.2f} s, served {ledger.served(since, back or since):5.2f} s after "
            f"{ledger.reasons or ''}"
            + (f" the oldest lost sent {since - ledger.lost[0].sent:.3f} s before" if ledger.lost else ""),
        )
        assert not load.unexpected
        assert len(ledger.lost) <= lost, f"lost: {ledger.lost[:10]}"
        assert 0 <= duplicates <= twice
        return ledger

    return check


@pytest.fixture(scope="session")
def own_node(tmp_path_factory):
    node = OwnNode(tmp_path_factory.mktemp("mine"))
    yield node
    node.stop()
