"""What the end of freqtrade means. The lines are as freqtrade 2026.9 writes them."""

from __future__ import annotations

import pytest

from agents.freqtrade_bot.verdict import exit_status

_AT = "2026-11-26 13:47:26,628"
_STARTING = f"{_AT} - freqtrade.worker - INFO - Starting worker 2026.9"
_REVIEW = "Please make sure to review the documentation at https://www.freqtrade.io/en/stable."


@pytest.mark.parametrize(
    ("status", "lines", "expected"),
    [
        # It ends with 0 for a wrong configuration.
        (
            0,
            [_STARTING, f"{_AT} - freqtrade - ERROR - Configuration error: EUR is not available as stake", _REVIEW],
            (78, "EUR is not available as stake"),
        ),
        (
            0,
            [
                f"{_AT} - freqtrade.configuration.config_validation - CRITICAL - Invalid configuration. Reason: 3 is …",
                "On instance['exchange']['name']:",
                "    3",
                f"{_AT} - freqtrade - ERROR - Configuration error: 3 is not of type 'string'",
            ],
            (78, "exchange.name: 3 is not of type 'string'"),
        ),
        # And with 2 for a strategy that cannot be loaded as well as for an exchange that is away.
        (
            2,
            [f"{_AT} - freqtrade - ERROR - Impossible to load Strategy 'Eager'.", "It has no such class."],
            (78, "Impossible to load Strategy 'Eager'. It has no such class."),
        ),
        (
            2,
            [
                "ccxt.base.errors.ExchangeNotAvailable: binance GET http://192.0.2.1/api/v3/exchangeInfo 503",
                f"{_AT} - freqtrade - ERROR - Could not load markets, therefore cannot start.",
            ],
            (2, None),
        ),
        (
            2,
            [
                "ccxt.base.errors.ExchangeError: binance said something else before",
                "ccxt.base.errors.AuthenticationError: binance Invalid API-key",
                f"{_AT} - freqtrade - ERROR - Could not get balance due to AuthenticationError.",
            ],
            (78, "Could not get balance due to AuthenticationError."),
        ),
        # A program that fails is a crash, not a configuration; so is one that is killed, or that ends by itself.
        (1, [f"{_AT} - freqtrade - ERROR - Fatal exception!", "Traceback (most recent call last):"], (1, None)),
        (2, [_STARTING], (2, None)),
        (-9, [_STARTING], (137, None)),
        (0, [_STARTING], (0, None)),
        (0, [], (0, None)),
        (130, [], (130, None)),
    ],
)
def test_an_end_that_nobody_asked_for(status: int, lines: list[str], expected: tuple[int, str | None]) -> None:
    assert exit_status(status, lines, asked=False) == expected


@pytest.mark.parametrize("status", [0, 130, -15])
def test_an_end_that_was_asked_for_is_a_clean_one(status: int) -> None:
    assert exit_status(status, [f"{_AT} - freqtrade - INFO - SIGINT received, aborting ..."], asked=True) == (0, None)


def test_a_fault_on_the_way_to_the_end_is_still_a_fault() -> None:
    assert exit_status(-11, [], asked=True) == (139, None)


def test_words_are_not_endless() -> None:
    _, words = exit_status(0, [f"{_AT} - freqtrade - ERROR - Configuration error: {'x' * 5000}"], asked=False)
    assert words is not None
    assert len(words) == 500
