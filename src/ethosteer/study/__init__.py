"""A study: its file, plan, run, estimate of cost, export, and comparison with other studies."""
