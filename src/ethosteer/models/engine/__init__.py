"""Sampling by vLLM, a process of its own that is spoken to over HTTP and never imported.

Its pins of transformers and torch clash with this package's, so it has an environment of its own.
The server holds the base; the arms' adapters are written in PEFT's format and loaded at run time.
"""
