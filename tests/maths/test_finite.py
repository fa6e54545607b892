import pytest

from ethosteer.errors import InputError
from ethosteer.maths.finite import check_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(InputError, match=rf"^item 1 is {value}, not a finite number; mend$"):
        check_finite([0.0, value, value], lambda index: f"item {index}", "mend")


def test_finite_numbers_pass() -> None:
    check_finite([0.0, -1e300], lambda index: f"item {index}", "mend")
    check_finite([], lambda index: f"item {index}", "mend")
