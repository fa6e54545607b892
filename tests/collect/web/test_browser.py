"""The pages in a browser: mouse, keyboard and telephone, with and without script or connection."""

from __future__ import annotations
