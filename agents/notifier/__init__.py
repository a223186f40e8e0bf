"""The notifier: opens what the web tier sealed for the world outside, and takes it there."""
