"""Which number format pays on a machine."""

from __future__ import annotations

import pytest
import torch

from ethosteer.bench.machine import Precision, measure_precision


def test_overall_speed_by_hand():
    # of 4 s, 3 s of products take 1 s, 1 s of attention takes 2 s
    precision = Precision(products=3.0, attention=0.5)
    assert precision.overall == pytest.approx(4 / (1 + 2))
    assert precision.pays
    assert str(precision) == (
        "bfloat16 is 1.3 times as fast as float32 here (matrix products 3.0, attention 0.5)"
    )
    assert not Precision(products=1.1, attention=1.1).pays


def test_both_formats_are_measured():
    measured = measure_precision(torch.device("cpu"))
    assert measured.products > 0
    assert measured.attention > 0
