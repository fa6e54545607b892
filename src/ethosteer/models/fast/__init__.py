"""Speed-ups: without these modules every result is the same, up to rounding."""
