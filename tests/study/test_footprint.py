from __future__ import annotations

from ethosteer.settings import ModelShape
from ethosteer.study.footprint import adapter_parameters, base_parameters
from ethosteer.study.load import load_study

SHAPE = ModelShape(hidden=4, layers=3, intermediate=10, vocabulary=50)


def test_parameters_by_hand():
    # a layer: 4 * 4^2 of attention and 3 * 4 * 10 of the MLP; embeddings of 50 * 4, twice
    assert base_parameters(SHAPE) == 3 * (64 + 120) + 2 * 200
    assert base_parameters(SHAPE.model_copy(update={"tied": True})) == 3 * (64 + 120) + 200
    lora = load_study("demo").steer.lora.model_copy(
        update={"r": 2, "targets": ("q_proj", "up_proj")}
    )
    assert adapter_parameters(SHAPE, lora) == 3 * 2 * ((4 + 4) + (4 + 10))
    everywhere = lora.model_copy(update={"targets": "all-linear"})
    assert adapter_parameters(SHAPE, everywhere) == 3 * 2 * (4 * (4 + 4) + 3 * (4 + 10))
