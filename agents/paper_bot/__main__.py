"""`python3 -m paper_bot`: read the hand-over document from standard input and trade until told to stop."""

from .app import main

if __name__ == "__main__":
    raise SystemExit(main())
