"""Attacks: kills, damage, foreign models and malformed inputs; each counts what they come to."""
