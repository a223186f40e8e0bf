"""Everything here runs on uvloop, as the agents do; the engines' tests take the same client over asyncio's own loop."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of the agents."""
    return {"uvloop": uvloop.new_event_loop}
