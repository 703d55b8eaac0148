"""What every page has: answers in threads as JSON or arrays, lists, facets, images and thumbnails of one index."""

from __future__ import annotations

import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curator.errors import CuratorError, IndexLocked, PictureError, UnknownName, UsageError
from curator.index import Index
from curator.texts import to_json
from curator.web import search
from curator.web.body import Body, object_in, read_body
from curator.web.choices import read_choice
from curator.web.pack import Packed, pack_blobs
from curator.web.place import Place, few_ids
from curator.web.pool import AskingPool

logger = logging.getLogger("curator")

_BODY = 8 << 20  # bytes of a request at most
_SHOWN = 24  # thumbnails in one answer
A_WHILE = {"cache-control": "private, max-age=600"}

Endpoint = Callable[[Request], Awaitable[Response]]


def as_json(value: Any, status: int = 200) -> Response:
    """A value as JSON; numbers that are none become null."""
    return Response(to_json(value), status, {"cache-control": "no-store"}, "application/json")


def as_error(error: Exception) -> Response:
    """The error's own sentence, and what kind it is; of a bug its number, under which the terminal has the rest."""
    if not isinstance(error, CuratorError):
        number = secrets.token_hex(4)
        logger.error("the page failed (%s)", number, exc_info=error)
        return as_json({"error": f"a bug: the terminal says more, under {number}", "kind": "bug"}, 500)
    status = 404 if isinstance(error, UnknownName | PictureError) else 409 if isinstance(error, IndexLocked) else 400
    return as_json({"error": str(error), "kind": type(error).__name__}, status)


class Endpoints(ABC):
    """Around one index and its threads: what its pictures are to be asked by any page."""

    def __init__(self, index: Index, *, read_only: bool) -> None:
        self.index, self.read_only = index, read_only
        self.pool = AskingPool(index)
        self.facets = search.Facets(index, remember=not read_only)

    def close(self) -> None:
        """End the threads."""
        self.pool.close()

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The index in a few facts that every view needs."""

    @abstractmethod
    def describe_image(self, image_id: int) -> dict[str, Any]:
        """Everything that is known of an image. Raises `UnknownName`."""

    @abstractmethod
    def facts(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """What a cell of the grid says of each image."""

    @abstractmethod
    def thumbnails_of(self, ids: Sequence[int]) -> Mapping[int, bytes | PictureError]:
        """id → a JPEG or PNG, or why there is none."""

    @abstractmethod
    def original(self, image_id: int) -> tuple[bytes, str]:
        """A picture as it is, or as a PNG, and its media type. Raises `PictureError`, `UnknownName`."""

    def asking(self) -> list[Route]:
        """Routes that change nothing."""
        return [
            Route("/api/status", self._json(lambda _: self.describe() | {"read_only": self.read_only})),
            Route("/api/changes", self._json(lambda _: {"changes": search.changes(self.index)})),
            Route("/api/list", self._packed(self._listed)),
            Route("/api/facts", self._json(lambda asked: self.facts(few_ids(asked.get("ids", ""))))),
            Route("/api/facet", self._json(self._facet)),
            Route("/api/image/{id:int}", self.one_image),
            Route("/thumb/{id:int}", self.thumbnail),
            Route("/thumbs", self.pack_of_thumbnails),
            Route("/picture/{id:int}", self.picture),
        ]

    def _json(self, answer: Callable[[Mapping[str, str]], Any], kind: str = "ask") -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return as_json(await self.pool.run(kind, answer, dict(request.query_params)))

        return endpoint

    def _named(self, answer: Callable[..., Any], *, told: bool = False) -> Endpoint:
        """Of the thing that the path names; `told` hands the parameters on."""

        async def endpoint(request: Request) -> Response:
            more = (dict(request.query_params),) if told else ()
            return as_json(await self.pool.run("ask", answer, self.index, request.path_params["name"], *more))

        return endpoint

    def _packed(self, answer: Callable[[Mapping[str, str]], Packed]) -> Endpoint:
        """As arrays for a page that asks for them, else as JSON."""

        async def endpoint(request: Request) -> Response:
            packed = await self.pool.run("ask", answer, dict(request.query_params))
            if "octet-stream" in request.headers.get("accept", ""):
                return Response(packed.as_bytes(), media_type="application/octet-stream")
            return as_json(packed.as_lists())

        return endpoint

    def _change(self, do: Callable[[Body], Any]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return as_json(await self.pool.run("change", do, object_in(await read_body(request, _BODY))))

        return endpoint

    async def one_image(self, request: Request) -> Response:
        """Everything about an image."""
        return as_json(await self.pool.run("ask", self.describe_image, request.path_params["id"]))

    async def thumbnail(self, request: Request) -> Response:
        """One thumbnail, which the browser keeps for a while."""
        image_id = request.path_params["id"]
        data = (await self.pool.run("picture", self.thumbnails_of, [image_id]))[image_id]
        if isinstance(data, PictureError):
            raise data
        return Response(data, headers=A_WHILE, media_type=_media(data))

    async def pack_of_thumbnails(self, request: Request) -> Response:
        """Several in one answer, in the order asked for; an empty one where a picture cannot be read."""
        ids = few_ids(request.query_params.get("ids", ""))
        if len(ids) > _SHOWN:
            raise UsageError(f"at most {_SHOWN} thumbnails at a time, not {len(ids)}")
        data = await self.pool.run("picture", self.thumbnails_of, list(ids))
        blobs = [blob if isinstance(blob := data[i], bytes) else b"" for i in ids]
        return Response(pack_blobs(blobs), media_type="application/octet-stream")

    async def picture(self, request: Request) -> Response:
        """A picture at its own size."""
        data, media = await self.pool.run("picture", self.original, request.path_params["id"])
        return Response(data, media_type=media, headers={"cache-control": "private, max-age=60"})

    def _place(self, parameters: Mapping[str, str]) -> Place:
        return Place.of(parameters, lambda name: read_choice(self.index.folder, name))

    def _listed(self, parameters: Mapping[str, str]) -> Packed:
        asked = self._place(parameters)
        answer = search.list_images(self.index, asked, remember=not self.read_only)
        facts = {
            "clear": answer.clear,
            "searched": answer.searched,
            "notes": answer.notes,
            "command": asked.command(of_service=self.index.is_served),
        }
        return Packed(facts, {n: getattr(answer, n) for n in ("ids", "scores", "confidence", "background")})

    def _facet(self, parameters: Mapping[str, str]) -> Any:
        return asdict(self.facets.of(self._place(parameters), parameters.get("column", "label")))


def _media(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
