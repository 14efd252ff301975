"""Alerts: what needs a person's eye, said once on every page and to a webhook or ntfy, until it is over."""
