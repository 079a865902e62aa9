"""A sample of the damaged files of ``make fuzz``: no crash, no hang, no file left behind, little memory."""

from fuzz import KINDS, fuzz


def test_damaged_files_end_well() -> None:
    assert fuzz(range(len(KINDS) + 4), seed=7) == {}
