"""The command line: commands (``app``, ``bench``), their options, and the tables they print."""
