"""The fewest acknowledgements, none over something unfinished, none twice."""

from hypothesis import given
from hypothesis import strategies as st

from richmond.amqp.acks import Acks


def take(*tags, acks=None):
    acks = acks or Acks()
    for tag in tags:
        acks.settle(tag)
    return acks.take()


def test_a_row_without_gaps_is_one_acknowledgement():
    assert take(1, 2, 3) == [(3, True)]
    assert take(3, 1, 2) == [(3, True)]
    assert take(1) == [(1, False)]


def test_beyond_something_unfinished_each_is_acknowledged_alone():
    acks = Acks()
    assert take(1, 3, 4, acks=acks) == [(1, False), (3, False), (4, False)]
    assert take(5, acks=acks) == [(5, False)]
    assert take(2, 6, acks=acks) == [(6, True)]
    assert acks.take() == []


def test_what_was_rejected_leaves_no_gap_and_is_not_told_again():
    acks = Acks()
    acks.rejected(2)
    assert take(1, 3, acks=acks) == [(3, True)]
    acks.rejected(4)
    assert acks.take() == []
    assert take(5, acks=acks) == [(5, False)]


@given(st.permutations(range(1, 30)), st.lists(st.integers(0, 29), max_size=10), st.sets(st.integers(1, 29)))
def test_rabbitmq_as_it_counts_ends_with_nothing_unsettled_and_never_loses_what_is_unfinished(order, cuts, rejects):
    acks, settled, unacked = Acks(), set(), set(range(1, 30))
    for i, tag in enumerate(order):
        settled.add(tag)
        if tag in rejects:
            acks.rejected(tag)
            unacked.discard(tag)
        else:
            acks.settle(tag)
        if i in cuts or i == len(order) - 1:
            for told, multiple in acks.take():
                assert told in unacked, "RabbitMQ closes the channel for an unknown tag"
                gone = {t for t in unacked if t == told or (multiple and t <= told)}
                assert gone <= settled
                unacked -= gone
    assert not unacked
