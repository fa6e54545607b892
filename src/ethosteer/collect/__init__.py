"""Human preferences: pairs of answers are judged on a page, stored, weighed and exported."""
