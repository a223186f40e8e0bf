"""Keeps what bots reach within the rules: a firewall table of our own, beside whatever the engine and others have."""
