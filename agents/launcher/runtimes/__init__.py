"""Where hosted bots run: one file a kind of engine, behind the one interface of `base`."""
