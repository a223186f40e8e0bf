"""Which entries of a tenant's list are shown as open, and which as closed all the same."""

import pytest

from control_plane.dashboard.reach import closed, listed
from control_plane.tenants.egress import BlockedView, EffectiveView


@pytest.mark.parametrize(
    ("place", "operator", "opened", "words"),
    [
        ("45.67.89.10/32:443", [], True, "It is on your list."),
        ("10.1.2.3/32", [], False, "stays closed: Private network."),
        ("10.1.2.3/32:9000", ["10.1.2.0/24"], True, "It is on your list."),
        ("10.1.2.3/32:9000", ["10.1.2.3/32:9000"], True, "It is on your list."),
        ("10.1.2.3/32:9001", ["10.1.2.3/32:9000"], False, "stays closed: Private network."),
        ("10.1.2.3/32", ["10.1.2.3/32:9000"], False, "stays closed: Private network."),
        ("10.1.0.0/16", ["10.1.2.0/24"], False, "stays closed: Private network."),
        ("169.254.169.254/32", ["169.254.0.0/16"], False, "credentials of the machine."),
        ("169.254.0.0/16", ["169.254.0.0/16"], True, "Parts of it stay closed"),
        ("0.0.0.0/0", [], True, "Parts of it stay closed"),
    ],
)
def test_an_entry_that_a_closed_range_holds_is_not_shown_as_open(
    place: str, operator: list[str], *, opened: bool, words: str
) -> None:
    found = listed(EffectiveView("listed", [place], operator, []))
    assert [bool(one) for one in found] == [opened, not opened]
    ((shown, said),) = found[0] or found[1]
    assert shown == place
    assert said.endswith(words) or words in said


def test_what_is_closed_for_one_reason_is_told_in_one_line() -> None:
    rules = [BlockedView("10.0.0.0/8", "private network"), BlockedView("::/0", "IPv6: none")]
    rules.append(BlockedView("192.168.0.0/16", "private network"))
    assert closed(rules) == [("Private network.", ["10.0.0.0/8", "192.168.0.0/16"]), ("IPv6: none.", ["::/0"])]
