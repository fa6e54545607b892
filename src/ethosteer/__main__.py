"""``python -m ethosteer``: the command line."""

from __future__ import annotations

from ethosteer.cli.app import main

if __name__ == "__main__":
    main()
