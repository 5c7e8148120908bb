"""Analysis processes that have grown too large, where the system does not limit them."""

from __future__ import annotations

import pytest

from core.intelligence import worker
from core.intelligence.base import FileToAnalyze
from core.intelligence.worker import TOO_LARGE, analyze_to_json, run_group

GROUP = [FileToAnalyze("a.py", b"x = 1\n")]


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("limit", "ends"), [(1, True), (1 << 60, False), (None, False)])
def test_a_process_that_has_grown_ends_before_its_next_group(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, ends: bool
) -> None:
    codes = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr(worker, "_growth", worker._Growth())
    worker._growth.limit = limit
    run_group(analyze_to_json, GROUP, 20)
    assert not codes, "the first group is always analyzed"
    if ends:
        with pytest.raises(Ended):
            run_group(analyze_to_json, GROUP, 20)
    else:
        run_group(analyze_to_json, GROUP, 20)
    assert codes == [TOO_LARGE] * ends
