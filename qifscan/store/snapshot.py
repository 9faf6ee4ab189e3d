"""A store as it is at one moment: chunks that are not finished then are not there for those who read it.

Without this a reader of a growing store may find no value of a point and, a moment later, that it was run.
"""

from __future__ import annotations

from typing import Any

from zarr.abc.store import Store
from zarr.storage import WrapperStore


class Snapshot(WrapperStore[Store]):  # type: ignore[misc]  # zarr has no types here
    """The files of a store without those of unfinished chunks; `shown` has the places of the finished."""

    def __init__(self, store: Store, shown: dict[str, frozenset[str]]) -> None:
        super().__init__(store)
        self._shown = shown

    def _with_store(self, store: Store) -> Snapshot:
        return Snapshot(store, self._shown)

    def _hides(self, key: str) -> bool:
        name, found, place = key.partition("/c/")
        return bool(found) and name in self._shown and place not in self._shown[name]

    async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
        """Return what is there, None of a chunk that is not finished."""
        return None if self._hides(key) else await self._store.get(key, *arguments, **options)

    async def exists(self, key: str) -> bool:
        """Whether a file is there, and not of a chunk that is not finished."""
        return not self._hides(key) and await self._store.exists(key)
