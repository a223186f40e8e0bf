"""The largest fall is the market's doing, never the doing of deposits and withdrawals."""

from decimal import Decimal

from agents.paper_bot.returns import ReturnIndex


def index_after(*steps: tuple[str, int]) -> ReturnIndex:
    index = ReturnIndex()
    for kind, equity in steps:
        if kind == "flow":
            index.flow(Decimal(equity))
        else:
            index.mark(Decimal(equity))
            index.close_tick()
    return index


def test_falls_from_the_highest_value() -> None:
    index = index_after(("flow", 100), ("tick", 120), ("tick", 90), ("tick", 150), ("tick", 120))
    assert index.deepest_fall == Decimal("0.25")  # 120 to 90; the later 150 to 120 is a fifth only
    assert index.value == Decimal("1.2")


def test_flows_move_nothing() -> None:
    index = index_after(("flow", 100), ("tick", 100), ("flow", 10), ("tick", 10), ("flow", 5000), ("tick", 5000))
    assert index.deepest_fall == 0
    assert index.value == 1


def test_a_fall_counts_the_same_with_any_capital() -> None:
    index = index_after(("flow", 100), ("tick", 90), ("flow", 1000), ("tick", 900))
    assert index.deepest_fall == Decimal("0.19")  # 1 - 0.9 x 0.9


def test_stands_still_without_capital() -> None:
    index = index_after(("tick", 0), ("flow", 100), ("tick", 110), ("flow", 0), ("tick", 0), ("flow", 50), ("tick", 55))
    assert index.value == Decimal("1.21")
    assert index.deepest_fall == 0
