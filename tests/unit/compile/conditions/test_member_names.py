"""The names of the members of an object are read once for each list of names that comes again."""

from extauthz.compile.conditions.member_names import known_names, names_of


def test_names_that_are_sent_once_replace_none_that_come_again() -> None:
    members = {"query": 1, "limit": 2, "fields": 3}
    names = names_of(members)
    assert known_names(members) is names

    for number in range(5_000):
        names_of({f"{number}": 1})
        if number % 100 == 0:
            assert known_names(members) is names
    assert known_names(members) is names


def test_names_in_another_order_or_with_another_are_not_the_known_ones() -> None:
    names_of({"one": 1, "two": 2})

    assert known_names({"two": 2, "one": 1, "three": 3}) is None
