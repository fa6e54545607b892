"""Models answer benchmarks; outcomes become summaries, comparisons and results."""
