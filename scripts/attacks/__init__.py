"""Attacks on ethosteer: kills, damage and malformed input, with what came of each."""
