"""Preferences in files of the user's: recognised by their columns, one file per family."""
