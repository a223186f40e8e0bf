"""The notifier agent: what leaves the platform for people, and what asks their identity providers."""
