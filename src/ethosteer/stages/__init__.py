"""Stages of a study. Each reads and writes artifacts; none passes a live model to the next."""
