"""The reference trading bot that TradeWise hosts: trades on paper, keeps an exact ledger, serves docs/bot-api.md.

It is copied alone into its image, so it uses the standard library only and imports nothing else of the project.
"""

__version__ = "0.1.0"
API_VERSION = "1.1"
