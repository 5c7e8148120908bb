"""How much work of all requests is done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import AnalysisFailed
from core.events.record import Analysis
from core.events.request import Carrier, RequestedFile
from core.fetchers.inline import InlineFetcher
from core.fetchers.resolver import Resolver
from core.intelligence.base import FileToAnalyze
from core.outcome_events import BatchOutcome
from core.record_maker import RecordMaker
from tests.requests import request_for


class Counting:
    """An analyzer that knows how many files it had at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def analyze_many(self, files: Sequence[FileToAnalyze]) -> Sequence[Analysis | AnalysisFailed]:
        self.now += len(files)
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= len(files)
        return [AnalysisFailed("not asked for") for _ in files]


@pytest.mark.parametrize(("held_files", "most"), [(10, 10), (1, 1), (512, 75)])
async def test_files_at_work_are_bounded_for_all_requests_together(held_files: int, most: int) -> None:
    analyzer = Counting()
    maker = RecordMaker(Resolver([InlineFetcher()]), analyzer, held_files=held_files)
    files = [RequestedFile(f"{n}.py", Carrier.INLINE, content="x = 1\n", size_bytes=6) for n in range(25)]
    request = request_for(*files)
    made = await asyncio.gather(
        *(maker.make(request, list(enumerate(files)), BatchOutcome()) for _ in range(3))
    )
    assert [len(failures) for _, failures in made] == [25] * 3
    assert analyzer.most == most
