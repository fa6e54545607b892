"""Metrics, estimates, paired differences and verdicts, over items and seeds, on plain arrays."""
