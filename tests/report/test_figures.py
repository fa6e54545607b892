import math
import re
from xml.etree import ElementTree as ET

import pytest

from ethosteer.report.figures import (
    LABEL_GAP,
    Bar,
    Scale,
    Series,
    interval_plot,
    line_chart,
    padded,
    spread,
    stacked_bars,
    ticks,
)


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (0, 1, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 400, 5, ["0", "100", "200", "300", "400"]),
        (-0.072, 0.041, 4, ["−0.05", "0.00"]),
        (-0.0021, 0.0083, 5, ["0.000", "0.005"]),
        (0, 12500, 5, ["0", "5,000", "10,000"]),
        (4.7, 4.83, 5, ["4.70", "4.75", "4.80"]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(
    low: float, high: float, most: int, labels: list[str]
) -> None:
    found = ticks(low, high, most)
    assert [label for _, label in found] == labels
    assert [place for place, _ in found] == [
        float(label.replace("−", "-").replace(",", "")) for label in labels
    ]


def test_padded_range_is_never_empty() -> None:
    assert padded([0.0, 1.0, math.nan]) == (-0.04, 1.04)
    assert padded([2.0, 2.0]) == (1.0, 3.0)
    assert padded([math.nan]) == (-0.5, 0.5)


def test_scale_maps_ends_to_ends() -> None:
    scale = Scale((-1, 3), (100, 20))
    assert (scale(-1), scale(3), scale(1)) == (100, 20, 60)


def test_spread_keeps_order_distance_and_bounds() -> None:
    moved = spread([100, 99, 98, 20], 10, 105)
    assert moved[3] == 20
    assert moved[2] < moved[1] < moved[0] <= 105
    assert moved[1] - moved[2] == pytest.approx(LABEL_GAP)


def _root(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def test_interval_plot_places_marks_by_value() -> None:
    bars = [Bar("a", 0, 0.1, 0.0, 0.2, "better"), Bar("b", 1, -0.1, -0.2, 0.0, "x", solid=False)]
    root = _root(interval_plot("n", bars, title="T", margin=0.05))
    zero = float(next(e for e in root.iter("line") if e.get("class") == "zero").get("x1") or "")
    assert root.findtext("desc[@id='n-desc']") == "a +0.100, better; b −0.100, x."
    right, left = (float(e.get("cx") or "") for e in root.iter("circle"))
    assert right - zero == pytest.approx(zero - left, abs=0.2)
    assert right > zero
    whisker = next(e for e in root.iter("line") if (e.get("class") or "").startswith("whisker"))
    assert float(whisker.get("x1") or "") == pytest.approx(zero)
    assert [e.get("class") for e in root.iter("circle")] == ["dot solid s0", "dot hollow s1"]
    band = next(root.iter("rect"))
    assert float(band.get("width") or "") == pytest.approx((right - zero) * 1.0, abs=0.2)


def test_line_chart_draws_means_seeds_and_labels() -> None:
    rising = ((0.0, 0.0), (1.0, 1.0))
    broken = ((0.0, 1.0), (1.0, math.nan))
    svg = line_chart(
        "n",
        [Series("one", 0, rising, (rising, rising)), Series("two", 8, broken)],
        title="T", x_label="step", y_label="reward",
    )  # fmt: skip
    root = _root(svg)
    kinds = [element.get("class") for element in root.iter("polyline")]
    assert kinds == ["line seed s0", "line seed s0", "line mean s0", "line mean s1"]
    points = [e.get("points") for e in root.iter("polyline")]
    first, last = ([float(n) for n in pair.split(",")] for pair in (points[2] or "").split())
    assert last[0] > first[0] and last[1] < first[1]
    assert "nan" not in svg
    assert root.findtext("desc[@id='n-desc']") == (
        "reward over step: one ends at 1.00; two ends at n/a."
    )
    texts = [element.text for element in root.iter("text")]
    assert {"one", "two", "step", "reward"} <= set(texts)


def test_figures_speak_to_screen_readers_and_escape() -> None:
    bad = '<script>alert("x")</script>'
    for svg in (
        interval_plot("n", [Bar(bad, 0, 0, 0, 0, bad)], title=bad),
        line_chart("n", [Series(bad, 0, ((0, 0), (1, 1)))], title=bad, x_label=bad, y_label=bad),
        line_chart("n", [], title=bad, x_label=bad, y_label=bad),
    ):
        root = _root(svg)
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == "n-title n-desc"
        assert root.findtext("title[@id='n-title']") == bad
        assert bad in (root.findtext("desc[@id='n-desc']") or "")
        assert not re.search(r"<script|style=", svg)


def test_stacked_bars_are_as_long_as_their_shares() -> None:
    rows = {"one": (0.5, 0.45, 0.05), "two": (math.nan, 1.0, 0.0)}
    root = _root(stacked_bars("n", rows, ("a", "b", "c"), title="T"))
    boxes = [(e.get("class"), e.get("width")) for e in root.iter("rect")]
    assert boxes[3:] == [
        ("part p0", "146.0"), ("part p1", "131.4"), ("part p2", "14.6"), ("part p1", "292.0"),
    ]  # fmt: skip
    shares = [e.text for e in root.iter("text") if (e.get("class") or "").startswith("share")]
    assert shares == ["50\u202f%", "45\u202f%", "100\u202f%"]
    text = "one: a 50 %, b 45 %, c 5 %; two: a n/a, b 100 %, c 0 %"
    assert (root.findtext("desc[@id='n-desc']") or "").replace("\u202f", " ") == text
