"""Numbers and times are written alike in tables, messages and pages."""

from tophub_registry import spelling


def test_numbers_have_three_digits_and_no_exponents() -> None:
    assert [spelling.number(value) for value in (None, 0.5, 12.345, 999.7, 1234.5)] == [
        "",
        "0.5",
        "12.3",
        "1,000",
        "1,234",
    ]
    assert [spelling.percent(share) for share in (None, 0.5)] == ["", "50.0%"]


def test_costs_have_a_unit_that_fits() -> None:
    costs = (None, 1.5, 0.0123, 2.5e-5, 9.997e-4, 1234.0)
    assert [spelling.seconds(cost) for cost in costs] == ["", "1.5 s", "12.3 ms", "25 µs", "1,000 µs", "1,234 s"]


def test_spans_of_time() -> None:
    assert [spelling.duration(span) for span in (None, 59.4, 61, 3660)] == ["", "59 s", "1 min 1 s", "1 h 1 min"]


def test_days() -> None:
    assert spelling.days(1535423916.7, 1535510316.7) == "2018-08-28 to 2018-08-29"
    assert spelling.days(1535423916.7, 1535423917.7) == "2018-08-28"
    assert spelling.days(None, None) == ""
    assert spelling.day(1e15) == "no date"
