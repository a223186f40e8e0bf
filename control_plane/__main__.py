"""``python -m control_plane`` is ``tradewise``: what a process starts its own children with."""

from control_plane.cli import main

main()
