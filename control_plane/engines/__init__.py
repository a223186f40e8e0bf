"""What the platform knows of bot families without calling a bot: names, shapes, abilities, where figures come from."""
