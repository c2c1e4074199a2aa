"""What is not worth building is said before it is built."""

from __future__ import annotations

from ansor_mini.admission import CODE_LIMIT, LOCAL_LIMIT, local_bytes, not_worth_building
from runtime.loop_nest_text import parse


def nest(size, scope="local", copies=1):
    stores = "\n".join(f"            C[{i}] = S[{i}] * 2.0 + {i}.0" for i in range(copies))
    return parse(
        f"def f() -> (C: float32[{max(copies, 1)}]):\n    with {scope}(float32[{size}]) as S:\n"
        f"        for i in parallel(1):\n{stores}"
    )


def test_scratch_buffers_that_fit_are_worth_it():
    assert not_worth_building(nest(1000)) == ""
    assert local_bytes(nest(1000)) == 4000


def test_scratch_buffers_that_fit_no_cache():
    assert not_worth_building(nest(LOCAL_LIMIT // 4 + 1)) == "local buffers are too large"


def test_the_workspace_is_no_scratch_buffer():
    assert not_worth_building(nest(LOCAL_LIMIT, scope="workspace")) == ""


def test_text_that_keeps_a_compiler_busy():
    assert not_worth_building(nest(2000, copies=CODE_LIMIT // 20)) == "too much code"
