"""What the files beside this one share. Each has one public object, ``DATASET``.

``contrast`` makes pairs of good and bad answers to one scenario.
"""

from ethosteer.data.contrast import Answer, contrast, spread
from ethosteer.data.pair_sets import Dataset, Dropped

__all__ = ["Answer", "Dataset", "Dropped", "contrast", "spread"]
