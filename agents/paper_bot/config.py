"""The hand-over document: everything a bot needs, secrets included, as one JSON document on standard input."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from . import timestamps
from .fields import ConfigError, Fields
from .market import Market, read_market
from .money import ZERO, money
from .orders import Fees, Strategy
from .records import CashFlow
from .strategies import TYPES, read_strategy

CAPITAL_FLOW_ID = "capital"
_LARGEST_AMOUNT = "1000000000000"
_MOST_FLOWS = 100_000
_SHORTEST_TOKEN = 8
_DEFAULT_STRATEGY = "dca"
_DEFAULT_CURRENCY = "USDT"
_DEFAULT_SYMBOL = "BTC/USDT"


@dataclass(frozen=True, slots=True)
class Config:
    """A checked hand-over document. Of the token only a digest is kept, enough to recognise it and nothing more."""

    bot_id: str
    token_digest: bytes
    host: str
    port: int
    data_dir: Path
    cash_flows: tuple[CashFlow, ...]
    currency: str
    symbol: str
    strategy_type: str
    strategy: Strategy
    market: Market
    interval: timedelta
    fees: Fees
    #: Full names of configuration members that this bot has no use for.
    ignored: tuple[str, ...] = ()

    def identity(self) -> dict[str, str]:
        """What a ledger belongs to and what may therefore never change for a data directory."""
        return {
            "bot_id": self.bot_id,
            "currency": self.currency,
            "symbol": self.symbol,
            "strategy type": self.strategy_type,
        }


def digest(token: str) -> bytes:
    """What is kept of a token. Comparing digests takes the same time whatever the lengths of the tokens are."""
    return hashlib.sha256(token.encode()).digest()


def parse(text: str) -> Config:
    """Read and check a hand-over document; raises ConfigError, which names the field and the remedy."""
    if not text.strip():
        raise ConfigError("document", "standard input is empty; hand the configuration over as one JSON document")
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise ConfigError("document", "standard input is not valid JSON; hand over one JSON object") from None
    return _read(Fields(value))


def _read(document: Fields) -> Config:
    listen, config = document.optional_child("listen"), document.child("config")
    strategy = config.optional_child("strategy", short="type")
    market, fees = config.optional_child("market"), config.optional_child("fees")
    kind = strategy.choice("type", TYPES, _DEFAULT_STRATEGY)
    bot_id = document.text("bot_id")
    decider = read_strategy(kind, strategy)
    checked = Config(
        bot_id=bot_id,
        token_digest=_token(document),
        host=listen.text("host", "0.0.0.0"),  # noqa: S104 - inside its container, where the published port decides
        port=listen.integer("port", 8080, least=0, most=65535),
        data_dir=Path(document.text("data_dir", "/data", longest=4000)),
        cash_flows=_flows(document, config),
        currency=config.text("currency", _DEFAULT_CURRENCY, longest=20),
        symbol=strategy.text("symbol", _DEFAULT_SYMBOL, longest=50),
        strategy_type=kind,
        strategy=decider,
        market=read_market(market, venues=decider.venues, seed=_seed_of(bot_id)),
        interval=timedelta(seconds=float(market.decimal("interval_seconds", "1", least="0.01", most="86400"))),
        fees=Fees(
            maker=fees.decimal("maker", "0.001", least="0", most="0.1"),
            taker=fees.decimal("taker", "0.001", least="0", most="0.1"),
        ),
        ignored=tuple(name for part in (config, strategy, market, fees) for name in part.leftover()),
    )
    # Of the configuration, more may be meant for others (a creator's notes, keys of an exchange): it is passed over and
    # named in the log. The document around it is ours, and there a strange member is a mistake.
    for part in (listen, document):
        part.done()
    return checked


def _seed_of(bot_id: str) -> int:
    """A market of its own for each bot that was given none, the same at every start."""
    return int.from_bytes(hashlib.sha256(bot_id.encode()).digest()[:4], "big")


def _token(document: Fields) -> bytes:
    token = document.text("token", longest=4000)
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or " " in token:
        raise ConfigError(
            "token", f"must be at least {_SHORTEST_TOKEN} ASCII characters without spaces; make a random one"
        )
    return digest(token)


def _flows(document: Fields, config: Fields) -> tuple[CashFlow, ...]:
    """The cash flows of the document; without any, `config.capital` as one deposit."""
    capital = config.optional_decimal("capital", least="0", most=_LARGEST_AMOUNT)
    items = document.items("cash_flows")
    if len(items) > _MOST_FLOWS:
        raise ConfigError("cash_flows", f"must be at most {_MOST_FLOWS} cash flows")
    flows = tuple(_flow(Fields(item, f"cash_flows[{position}]")) for position, item in enumerate(items))
    if len({flow.id for flow in flows}) < len(flows):
        raise ConfigError("cash_flows", "must have a different id each")
    if flows or not capital:
        return flows
    return (CashFlow(CAPITAL_FLOW_ID, money(capital), timestamps.now()),)


def _flow(fields: Fields) -> CashFlow:
    amount = fields.decimal("amount", least=f"-{_LARGEST_AMOUNT}", most=_LARGEST_AMOUNT)
    if amount == ZERO:
        raise ConfigError(fields.name("amount"), "must be positive for a deposit or negative for a withdrawal")
    flow = CashFlow(fields.text("id"), money(amount), fields.moment("at"))
    fields.done()
    return flow


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose names are different: with a name twice, two readers could see two different documents."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name appears twice in one object")
    return made
