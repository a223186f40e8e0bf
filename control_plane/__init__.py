"""The web half of TradeWise: it says what should be so, seals secrets, and never opens them."""
