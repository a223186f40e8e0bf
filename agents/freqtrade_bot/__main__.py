"""`python3 -m freqtrade_bot`: read the hand-over document from standard input and run freqtrade until told to stop."""

from .app import main

if __name__ == "__main__":
    raise SystemExit(main())
