"""Which messages kill their workers."""

from richmond.supervisor.poison import Deaths


def test_the_second_death_with_the_same_message_in_hand_is_one_too_many():
    deaths = Deaths()
    assert not deaths.count(7)
    assert not deaths.count(8)
    assert deaths.is_last(7)
    assert not deaths.is_last(9)
    assert deaths.count(7)


def test_only_so_many_messages_are_remembered():
    deaths = Deaths()
    for message in range(5000):
        deaths.count(message)
    assert deaths.count(4999)
    assert not deaths.count(0)
