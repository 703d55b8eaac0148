"""An index that a service answers for: it searches, shows and filters, and changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from curator.errors import UnknownName, UsageError
from curator.records import Ids, Image, Space, Vectors
from curator.vectors import CONDITIONS, Service


class ServedReader:
    """What an `Index` asks of its database, answered by a service; what a service has not is refused in words."""

    def __init__(self, url: str, service: Service) -> None:
        self.url, self.service = url, service

    def __getattr__(self, name: str) -> NoReturn:
        """Everything else."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(
            f"a service such as {self.url.partition('?')[0]} searches, shows and filters; for all the rest bring a "
            "selection to this machine: `curator scale bring`"
        )

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Nothing: each question is of its own moment, and a part may go between two."""
        yield

    def active_space(self) -> Space:
        """The space of the set."""
        return self.service.space

    def images(self, ids: Ids | Sequence[int]) -> list[Image]:
        """Records in the order of `ids`. Raises `UnknownName`."""
        return self.service.images([int(i) for i in ids])

    def is_present(self, image_id: int) -> bool:
        """Whether there is an image of this id."""
        try:
            return bool(self.service.images([image_id]))
        except UnknownName:
            return False

    def vectors(self, _: Space, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 in the order of `ids`."""
        return self.service.vectors(ids)

    def ids_where(self, where: str) -> Ids:
        """Ascending ids for which a condition holds. Raises `WhereError`."""
        return self.service.ids_where("true" if where == "1" else where)

    def counts(self) -> dict[str, int]:
        """How many images there are."""
        return {"images": self.service.count()}

    def columns(self) -> list[str]:
        """What a condition may name."""
        return list(CONDITIONS)

    def cached_query(self, _: Space, __: str) -> None:
        """Nothing is remembered elsewhere."""

    def find(self, _: Path) -> None:
        """A file of this machine is none of the service's."""

    def close(self) -> None:
        """Give connections back."""
        self.service.close()
