"""Pages and their cursors."""

from __future__ import annotations

import base64

import pytest

from election_core import Invalid, Page, page_of, read_cursor


def a_page(rows: list[str], limit: int) -> Page[str]:
    """A page of texts that are their own keys."""
    return page_of(rows, limit, str.upper, lambda row: (row,))


def test_a_page_goes_on_behind_its_last_item() -> None:
    """The cursor holds the key of the last item that was given."""
    page = a_page(["a", "b", "c"], 2)

    assert page.items == ("A", "B")
    assert page.next_cursor is not None
    assert read_cursor(page.next_cursor, str) == ["b"]


@pytest.mark.parametrize("rows", [[], ["a"], ["a", "b"]])
def test_the_last_page_has_no_cursor(rows: list[str]) -> None:
    """A page that is not followed by more says so."""
    assert a_page(rows, 2).next_cursor is None


def test_a_key_of_several_parts_comes_back() -> None:
    """Whole numbers and texts come back as they were."""
    cursor = page_of([(7, "ä"), (8, "b")], 1, str, lambda row: row).next_cursor

    assert cursor is not None
    assert read_cursor(cursor, int, str) == [7, "ä"]


@pytest.mark.parametrize(
    "document",
    ["", "{}", "[", '["a", 1]', "[true]", "[1.5]", '["\\u0000"]', "[9223372036854775808]"],
)
def test_another_cursor_is_refused(document: str) -> None:
    """What was not given out, or for another list, is refused by name."""
    cursor = base64.urlsafe_b64encode(document.encode()).decode()

    for kind in (str, int):
        with pytest.raises(Invalid, match="cursor"):
            read_cursor(cursor, kind)
