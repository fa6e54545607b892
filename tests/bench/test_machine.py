"""Which number format pays on a machine."""

from __future__ import annotations

import pytest
import torch

from ethosteer.bench.machine import Precision, measure_precision


def test_overall_speed_by_hand():
    # of 100 s, 86 s of products take 20 s, 14 s of attention take 20 s
    precision = Precision(products=4.3, attention=0.7)
    assert precision.overall == pytest.approx(100 / (20 + 20))
    assert precision.pays
    assert str(precision) == (
        "bfloat16 is 2.5 times as fast as float32 here (matrix products 4.3, attention 0.7)"
    )
    assert not Precision(products=1.1, attention=1.1).pays


def test_both_formats_are_measured():
    measured = measure_precision(torch.device("cpu"))
    assert measured.products > 0
    assert measured.attention > 0
