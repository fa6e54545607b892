"""The roofline of a study on a GPU that is not at hand."""

from __future__ import annotations

import pytest

from ethosteer.algorithms.algorithm import Cost
from ethosteer.data.sources import Origin
from ethosteer.study import devices
from ethosteer.study.durations import Roofline
from ethosteer.study.estimate import estimate
from ethosteer.study.footprint import Footprint, Machine
from ethosteer.study.load import load_study
from ethosteer.study.text_sizes import read_texts

LLAMA = ("base.dtype=bfloat16", "finetune.enabled=false", "seeds=[0]")


def roofline(name: str, *overrides: str) -> Roofline:
    settings = load_study("llama2-13b", overrides)
    device = devices.device(name)
    shape = settings.base.shape
    assert shape is not None
    texts = read_texts(settings, Origin("hub"), [])
    return Roofline(Footprint(settings, shape, texts, Machine(True, device.memory)), device)


def test_a_token_takes_the_longest_of_reading_multiplying_and_launching() -> None:
    measured = roofline("h100-80")
    # of a few rows the weights: 12.85 billion that are multiplied, in two bytes
    weights = 2 * 12.85e9 / (0.85 * 3.35e12)
    # an answer's cache: 384 tokens of 2 * 40 * 5,120 numbers in two bytes
    cache = 384 * 2 * 40 * 5120 * 2 / (0.23 * 3.35e12)
    for rows in (1, 64):
        assert measured.token_seconds(rows) == pytest.approx(weights + rows * cache, rel=0.002)
    small = roofline("h100-80", "base.shape={hidden=64, layers=40, intermediate=64, vocabulary=99}")
    assert small.token_seconds(1) == pytest.approx(40 * 57 * devices.LAUNCH)
    consumer = roofline("rtx3090-24")
    ratio = consumer.token_seconds(1) / measured.token_seconds(1)
    assert ratio == pytest.approx(3350 / 936)


def test_products_in_float32_have_the_rate_of_plain_cores() -> None:
    plain = roofline("a100-80", "base.dtype=float32").seconds(Cost(trained_tokens=1e9), 1)
    half = roofline("a100-80").seconds(Cost(trained_tokens=1e9), 1)
    assert plain / half == pytest.approx(312 / 19.5)
    autocast = roofline("a100-80", "base.dtype=float32", "base.autocast=true")
    assert autocast.flops == roofline("a100-80", "base.dtype=float16").flops == 312e12


def test_time_falls_with_a_faster_card_and_grows_with_seeds() -> None:
    seconds = {name: sum(roofline(name).stages().values()) for name in devices.DEVICES}
    assert seconds["h200-141"] < seconds["h100-80"] < seconds["a100-80"] < seconds["l4-24"]
    three, one = roofline("h100-80").stages(), roofline("h100-80", "seeds=[0]").stages()
    assert three["steer"] == pytest.approx(3 * one["steer"])
    assert three["finetune"] == one["finetune"]


def test_a_price_is_paid_by_the_hour() -> None:
    settings = load_study("llama2-13b")
    free, paid = (estimate(settings, Origin("hub"), "h100-80", price) for price in (None, 2.5))
    assert (free.cost, free.seconds) == (0.0, paid.seconds)
    assert paid.cost == pytest.approx(paid.seconds / 3600 * 2.5)
