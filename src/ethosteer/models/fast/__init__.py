"""Speed-ups: without these modules every result is the same, up to rounding."""

QUERY_BLOCK = 192
"""Queries of a row that a processor multiplies at once, with the keys up to the last of them.

Shorter blocks are slower on two cores; a whole row of 400 tokens overflows a cache.
"""

LONGEST = 512
"""Rows of more tokens are left to torch's attention, which keeps no scores."""
