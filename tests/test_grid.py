"""grid(...): the rows of a table."""

from fieldtrial.sweep import grid


def test_a_single_value_is_the_only_choice() -> None:
    assert grid(model="cnn", batch_size=range(2), filters=(8, 16), dropout=None) == [
        {"model": "cnn", "batch_size": number, "filters": (8, 16), "dropout": None}
        for number in (0, 1)
    ]
    assert grid(filters=((8,), (16, 32)), model=("cnn",)) == [
        {"filters": filters, "model": "cnn"} for filters in ((8,), (16, 32))
    ]
