"""The agents: what makes the desired state so and records what is seen."""
