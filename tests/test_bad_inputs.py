"""Every row of the table of bad inputs is refused with a message that helps."""

from __future__ import annotations

import warnings

import pytest
from bad_inputs import Bad, fault, rows

TABLE = rows()


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 250


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_bad_inputs_are_refused(row: Bad) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the functions in the table
        assert fault(row) is None
