"""Formulas of the algorithms: tensors in, tensors out. Nothing here knows models or files."""
