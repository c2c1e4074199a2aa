"""What the machine says about itself, and what is believed when it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import machine


def test_detection_gives_usable_numbers() -> None:
    found = machine.detect()
    assert found.cores >= 1
    assert found.vector_bytes in (16, 32, 64)
    assert found.lanes * 4 == found.vector_bytes
    assert found.lanes_of("float64") * 8 == found.vector_bytes
    assert found.l1_bytes <= found.l2_bytes
    assert str(found.cores) in found.line and found.cpu in found.line


def test_every_number_can_be_overridden() -> None:
    other = machine.detect(cores=7, vector_bytes=32, l3_bytes=0, cpu="other")
    assert (other.cores, other.lanes, other.l3_bytes, other.cpu) == (7, 8, 0, "other")
    assert machine.detect().cpu != "other"


@pytest.mark.parametrize(
    ("overrides", "word"), [({"core": 2}, "core"), ({"cores": 0}, "cores"), ({"cores": "2"}, "cores")]
)
def test_an_override_that_makes_no_sense_is_named(overrides: dict[str, int | str], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        machine.detect(**overrides)


def cache(folder: Path, number: int, level: int, kind: str, size: str) -> None:
    entry = folder / f"index{number}"
    entry.mkdir()
    for name, text in {"level": str(level), "type": kind, "size": size, "coherency_line_size": "128"}.items():
        (entry / name).write_text(text + "\n")


def test_instruction_caches_do_not_count(tmp_path: Path) -> None:
    cache(tmp_path, 0, 1, "Data", "48K")
    cache(tmp_path, 1, 1, "Instruction", "64K")
    cache(tmp_path, 2, 2, "Unified", "2M")
    facts = machine._sysfs_caches(tmp_path)
    assert facts == {"l1_bytes": 48 << 10, "l2_bytes": 2 << 20, "l3_bytes": 0, "cache_line": 128}


def test_a_silent_system_leaves_the_common_values(tmp_path: Path) -> None:
    assert machine._sysfs_caches(tmp_path) == {}
    assert machine._cpuinfo_facts("") == {}
