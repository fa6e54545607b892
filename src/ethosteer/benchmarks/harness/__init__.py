"""Tasks of lm-evaluation-harness as benchmarks, called ``lm-eval:TASK``.

The harness's own task makes the requests and turns answers into scores; models are asked here.
"""

PREFIX = "lm-eval:"
"""What the name of a task's benchmark starts with."""
