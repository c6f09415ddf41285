"""Whole numbers as people type them."""

from __future__ import annotations

import pytest

from simnl.numbers import MOST, seeds_from, whole_number

WRONG = [
    "",
    " ",
    "²",
    "１６",
    "٣",
    "1e3",
    "1.0",
    "0x10",
    "1_000",
    "+1",
    "--1",
    "nan",
    "inf",
    "-1",
    "9" * 400,
    "9" * 5000,
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_whole_number_is_told_in_a_few_words(text):
    with pytest.raises(ValueError, match=r"^SHOTS is '.*'\. Give a whole number from 0\.$") as error:
        whole_number(text, name="SHOTS")
    assert len(str(error.value)) < 200


def test_bounds():
    assert whole_number("007") == 7
    assert whole_number(" 3 ") == 3
    assert whole_number(str(MOST)) == MOST
    assert whole_number("-1", least=-1) == -1
    for text, least, most in (("0", 1, MOST), (str(MOST + 1), 0, MOST), ("5", 0, 4)):
        with pytest.raises(ValueError, match=f"from {least}"):
            whole_number(text, least, most)


def test_seeds():
    assert seeds_from("1 2,3") == [1, 2, 3]
    for text in WRONG:
        with pytest.raises(ValueError, match="SEEDS is .* whole numbers from 0"):
            seeds_from(text)
    with pytest.raises(ValueError, match="with 1 more than once"):
        seeds_from("1 2 01")
