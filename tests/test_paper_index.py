"""The README's paper index is true: functions import, files exist, and every section cited in code has a row."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.source import PLACE, ROOT, modules, paper_places, readme, table_under

ROWS = table_under("Paper index", readme())
NOT_YET = "not yet"


def row_places(row: list[str]) -> set[tuple[str, str]]:
    paper = row[0].split(" ")[0]
    return {(paper, place) for place in re.findall(PLACE, row[0])}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_is_complete(row):
    assert len(row) == 5, "columns: paper, what, code, test, tutorial"
    assert row[0].split(" ")[0] in ("Ansor", "TASO") and row_places(row)
    built = not row[2].startswith(NOT_YET)
    assert bool(quoted(row[2])) is built, "name the function, or say `not yet` and why"
    assert bool(quoted(row[3])) is built, "what is built is tested"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_rows_functions_import(row):
    if row[2].startswith(NOT_YET):
        return
    for dotted in quoted(row[2]):
        if dotted.endswith(".txt"):
            assert (ROOT / dotted).is_file(), dotted
            continue
        module, _, attribute = dotted.rpartition(".")
        try:
            found = importlib.import_module(dotted)
        except ModuleNotFoundError:
            found = getattr(importlib.import_module(module), attribute, None)
        assert found is not None, f"{module} has no {attribute}"
        assert (found.__doc__ or "").strip(), f"{dotted} has no docstring"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_rows_files_exist(row):
    for file in quoted(row[3]) + quoted(row[4]):
        assert (ROOT / file).is_file(), file


def test_every_section_cited_in_code_has_a_row():
    indexed = {place for row in ROWS for place in row_places(row)}
    cited = {place: path for path in modules() for place in paper_places(path.read_text(encoding="utf-8"))}
    missing = {f"{paper} {place} ({cited[paper, place].name})" for paper, place in set(cited) - indexed}
    assert not {entry for entry in missing if "Fig." not in entry}


def test_no_place_has_two_rows():
    places = [place for row in ROWS for place in row_places(row)]
    assert len(places) == len(set(places))
