"""Mails: put into the outbox sealed, in the transaction of what they tell of; the notifier agent sends them."""
