"""Benchmarks that are a file of the user's: one module for each format."""
