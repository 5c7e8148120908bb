"""What ingestion costs: usage times rates. Pure arithmetic; a GB is 10^9 bytes, as providers bill it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from core.events.common import ContentStrategy
from core.settings.operations import CostSettings

GB = 10**9
CPU_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is billed. `puts` and `gets` are requests to object storage.

    `cpu_seconds` is None where it is not known; a sum with an unknown is unknown.
    """

    stored_bytes: int = 0
    transferred_bytes: int = 0
    puts: int = 0
    gets: int = 0
    cpu_seconds: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        known = self.cpu_seconds is not None and other.cpu_seconds is not None
        return Usage(
            self.stored_bytes + other.stored_bytes,
            self.transferred_bytes + other.transferred_bytes,
            self.puts + other.puts,
            self.gets + other.gets,
            (self.cpu_seconds or 0.0) + (other.cpu_seconds or 0.0) if known else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure by its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars. `storage_month` is due every month that the content is kept, the rest once.

    `compute` is None where the CPU time is not known, and so are the sums it is part of.
    """

    storage_month: float
    transfer: float
    requests: float
    compute: float | None

    @property
    def once(self) -> float | None:
        """Everything but storage."""
        return None if self.compute is None else self.transfer + self.requests + self.compute

    @property
    def first_month(self) -> float | None:
        """Everything, with a month of storage."""
        return None if self.once is None else self.once + self.storage_month

    @property
    def known(self) -> dict[str, float]:
        """Dollars by component, those that are known."""
        parts = {"storage": self.storage_month, "transfer": self.transfer, "requests": self.requests}
        return parts if self.compute is None else {**parts, "compute": self.compute}

    def to_json(self) -> dict[str, float | None]:
        """Dollars, unrounded."""
        return {
            "storage_month_usd": self.storage_month,
            "transfer_usd": self.transfer,
            "requests_usd": self.requests,
            "compute_usd": self.compute,
            "once_usd": self.once,
            "first_month_usd": self.first_month,
        }


def price(usage: Usage, rates: CostSettings) -> Cost:
    """The dollars for `usage`."""
    cpu = usage.cpu_seconds
    return Cost(
        storage_month=usage.stored_bytes / GB * rates.storage_gb_month,
        transfer=usage.transferred_bytes / GB * rates.transfer_gb,
        requests=usage.puts / 1000 * rates.put_1000 + usage.gets / 1000 * rates.get_1000,
        compute=None if cpu is None else cpu / CPU_HOUR_S * rates.cpu_hour,
    )


def expected(
    strategy: ContentStrategy,
    files: int,
    size: int,
    *,
    encoded_bytes: int | None = None,
    cpu_s_per_byte: float | None = None,
) -> Usage:
    """What ingesting `files` of `size` raw bytes in all is going to use: an upper bound.

    It supposes that nothing is stored or cached yet and that Git sends blobs uncompressed. Inline content
    crosses the network as `encoded_bytes`. CPU time is known only where a rate was measured before.
    """
    is_object = strategy is ContentStrategy.OBJECT_STORAGE
    is_inline = strategy is ContentStrategy.INLINE
    return Usage(
        stored_bytes=size if is_object else 0,
        transferred_bytes=encoded_bytes if is_inline and encoded_bytes is not None else size,
        puts=files if is_object else 0,
        gets=files if is_object else 0,
        cpu_seconds=None if cpu_s_per_byte is None else cpu_s_per_byte * size,
    )


class Totals(Protocol):
    """Files published one way; the totals of a plan are such."""

    @property
    def files(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def encoded_bytes(self) -> int: ...


def estimate(
    by_strategy: Mapping[ContentStrategy, Totals], cpu_s_per_byte: float | None = None
) -> dict[ContentStrategy, Usage]:
    """What a plan is going to use, by strategy; see `expected`."""
    return {
        strategy: expected(
            strategy,
            totals.files,
            totals.bytes,
            encoded_bytes=totals.encoded_bytes,
            cpu_s_per_byte=cpu_s_per_byte,
        )
        for strategy, totals in by_strategy.items()
    }


def total(usages: Iterable[Usage]) -> Usage:
    """The sum."""
    return sum(usages, Usage())


def usd(amount: float | None) -> str:
    """Dollars for people: `$12.40`, `$0.0021`, `<$0.0001`, `$0`; `–` for None."""
    if amount is None:
        return "–"
    if amount == 0:
        return "$0"
    if amount < 0.0001:
        return "<$0.0001"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"
