"""The frozen base, adapters of many arms on it, and training, sampling and scoring with them."""
