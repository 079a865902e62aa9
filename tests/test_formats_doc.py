"""The page of formats is made from the table of formats."""

from pathlib import Path

from videomatte.io.format_page import format_page

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == format_page(), "see the first lines of videomatte/io/format_page.py"
