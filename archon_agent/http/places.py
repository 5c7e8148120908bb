"""A bounded number of places, shared fairly between peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Places(Generic[Member]):
    """At most `most` members at a time. When all places are taken, a newcomer replaces an older member.

    Only members that `may_go` says yes to are replaced: the oldest such member of the peer that has most.
    So a peer that opens many loses its own first, and one that is new and quick always gets in.
    """

    def __init__(self, most: int, may_go: Callable[[Member], bool]) -> None:
        self._most = most
        self._may_go = may_go
        self._members: dict[Member, str] = {}

    def __contains__(self, member: Member) -> bool:
        return member in self._members

    def enter(self, member: Member, peer: str) -> Member | None:
        """Give `member` a place. Returns who has to go for it: `member` itself if nobody else may."""
        loser = None
        if len(self._members) >= self._most:
            loser = self._choose()
            if loser is None:
                return member
            del self._members[loser]
        self._members[member] = peer
        return loser

    def leave(self, member: Member) -> None:
        """Free the place of `member`, if it still has one."""
        self._members.pop(member, None)

    def _choose(self) -> Member | None:
        idle = {member: peer for member, peer in self._members.items() if self._may_go(member)}
        if not idle:
            return None
        (greediest, _), *_ = Counter(idle.values()).most_common(1)
        return next(member for member, peer in idle.items() if peer == greediest)
