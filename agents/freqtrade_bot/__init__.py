"""What runs freqtrade inside the container that TradeWise hosts it in: takes the hand-over, writes files, watches.

It is copied alone into its image, so it uses the standard library only and imports nothing else of the project, nor
anything of freqtrade, which it starts as a program of its own.
"""

__version__ = "0.1.0"
