"""Routes of the page, and nothing else: parse, ask one function in a thread, answer."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from curator.admin.history import history
from curator.admin.maintenance import verify
from curator.errors import CuratorError, IndexLocked, PictureError, UnknownName, UsageError
from curator.index import Index
from curator.index.thumbnails import Thumbnails
from curator.search.facts import skipped
from curator.texts import to_json
from curator.web import cleaning, image, runs, search, selection
from curator.web.body import Body, ids_of, object_in, read_body
from curator.web.changing import Changes
from curator.web.choices import read_choice
from curator.web.jobs import Tasks
from curator.web.maps import Maps
from curator.web.pack import Packed, pack_blobs
from curator.web.place import Place, few_ids, ids_in
from curator.web.pool import AskingPool
from curator.web.suspects import Suspects

logger = logging.getLogger("curator")

STATIC = Path(__file__).parent / "static"
VIEWS = (
    "/", "/image/{id:int}", "/duplicates", "/issues", "/map", "/selections", "/selections/{name}", "/runs",
    "/runs/{name}", "/runs/{name}/lens", "/activity",
)  # fmt: skip
_BODY, _PICTURE = 8 << 20, 32 << 20  # bytes of a request at most
_SKIPPED = 1_000  # files that could not be read, in one answer
_SHOWN = 24  # thumbnails in one answer
_A_WHILE = {"cache-control": "private, max-age=600"}

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


def make_app(index: Index, *, read_only: bool = False) -> Starlette:
    """The page of one index, without its guard; `read_only` has no route that changes anything."""
    page = _Page(index, read_only=read_only)
    changing = [] if read_only else page.changing()
    shells = (Route(view, _shell) for view in VIEWS)
    routes = [*shells, *page.asking(), *changing, Mount("/static", StaticFiles(directory=STATIC))]
    app = Starlette(routes=routes, exception_handlers={Exception: _failed, CuratorError: _failed})
    app.state.pool, app.state.close = page.pool, page.close
    return app


async def _shell(_: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _failed(_: Request, error: Exception) -> Response:
    return as_error(error)


class _Page:
    """The endpoints, around one index and its threads."""

    def __init__(self, index: Index, *, read_only: bool) -> None:
        self.index, self.read_only = index, read_only
        self.pool = AskingPool(index)
        self.facets = search.Facets(index, remember=not read_only)
        self.thumbnails = Thumbnails(index.reader)
        self.tasks = Tasks()
        self.suspects = Suspects(index, self.tasks)
        self.trainings = runs.Trainings(index)
        self.choosing = selection.Choosing(index, read_only=read_only)
        self.maps = Maps(index, self.tasks, remember=not read_only)

    def close(self) -> None:
        """End the threads, and give files back."""
        self.tasks.close()
        self.trainings.close()
        self.pool.close()
        self.thumbnails.close()

    def asking(self) -> list[Route]:
        """Routes that change nothing."""
        return [
            Route("/api/status", self._json(lambda _: search.describe(self.index) | {"read_only": self.read_only})),
            Route("/api/changes", self._json(lambda _: {"changes": search.changes(self.index)})),
            Route("/api/list", self._packed(self._listed)),
            Route("/api/facts", self._json(lambda asked: search.facts(self.index, few_ids(asked.get("ids", ""))))),
            Route("/api/facet", self._json(self._facet)),
            Route("/api/image/{id:int}", self.one_image),
            Route("/api/duplicates", self._json(lambda _: cleaning.overview(self.index))),
            Route("/api/groups", self._json(self._groups)),
            Route("/api/aligned", self._json(self._aligned)),
            Route("/api/issues", self._json(lambda _: cleaning.list_issues(self.index))),
            Route("/api/quarantine", self._json(lambda _: cleaning.would_move(self.index))),
            Route("/api/map", self._packed(self.maps.places)),
            # Laying out and stopping that change nothing of the index.
            Route("/api/map", self._change(self.maps.lay_out), methods=["POST"]),
            Route("/api/stop", self._change(self._stop), methods=["POST"]),
            Route("/api/colours", self._packed(self.maps.colours)),
            Route("/api/clusters", self._json(self.maps.clusters)),
            Route("/api/selections", self._json(lambda _: selection.list_selections(self.index))),
            Route("/api/selections/{name}", self._named(selection.describe_selection)),
            Route("/api/attempt", self._json(self.choosing.attempt, kind="choose")),
            Route("/api/difference", self._json(self._difference)),
            Route("/api/runs", self._json(lambda _: runs.list_all(self.index))),
            Route("/api/runs/{name}", self._named(runs.describe_run)),
            Route("/api/runs/{name}/lens", self._named(runs.lens, told=True)),
            Route("/samples/{name}/{number:int}", self.sample),
            Route("/api/trainings", self._json(self.trainings.describe)),
            Route("/api/skipped", self._json(self._skipped)),
            Route("/api/rules", self._json(self.suspects.rules)),
            Route("/api/listed", self._json(self.suspects.listed)),
            Route("/api/leaks", self._json(self.suspects.leaks)),
            Route("/api/tasks", self._json(lambda _: self.tasks.describe())),
            Route("/api/activity", self._json(self._activity)),
            Route("/thumb/{id:int}", self.thumbnail),
            Route("/thumbs", self.pack_of_thumbnails),
            Route("/picture/{id:int}", self.picture),
        ]

    def changing(self) -> list[Route]:
        """Routes that change the index; none touches a picture's file."""
        changes: dict[str, Callable[[Body], Any]] = {
            **Changes(self.index).routes(),
            "/api/clusters": self.maps.find, "/api/clusters/verdict": self.maps.judge,
            "/api/train": self.trainings.start, "/api/train/stop": self.trainings.stop,
            "/api/audit": partial(runs.start_audit, self.index, self.tasks),
            "/api/lens": partial(runs.judge_made, self.index),
            "/api/verify": self._verify, "/api/dedupe": self.suspects.look, "/api/leaks": self.suspects.find_leaks,
        }  # fmt: skip
        return [
            *(Route(path, self._change(do), methods=["POST"]) for path, do in changes.items()),
            Route("/api/picture", self.drop_picture, methods=["POST"]),
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
        return as_json(await self.pool.run("ask", image.describe_image, self.index, request.path_params["id"]))

    async def sample(self, request: Request) -> Response:
        """A sheet of samples of a run, by its number."""
        data = await self.pool.run(
            "picture", runs.sample, self.index, request.path_params["name"], request.path_params["number"]
        )
        return Response(data, headers=_A_WHILE, media_type="image/png")

    async def thumbnail(self, request: Request) -> Response:
        """One thumbnail, which the browser keeps for a while."""
        image_id = request.path_params["id"]
        data = (await self.pool.run("picture", self._thumbnails, [image_id]))[image_id]
        if isinstance(data, PictureError):
            raise data
        return Response(data, headers=_A_WHILE, media_type=_media(data))

    async def pack_of_thumbnails(self, request: Request) -> Response:
        """Several in one answer, in the order asked for; an empty one where a picture cannot be read."""
        ids = few_ids(request.query_params.get("ids", ""))
        if len(ids) > _SHOWN:
            raise UsageError(f"at most {_SHOWN} thumbnails at a time, not {len(ids)}")
        data = await self.pool.run("picture", self._thumbnails, list(ids))
        blobs = [b"" if isinstance(data[i], PictureError) else data[i] for i in ids]
        return Response(pack_blobs(blobs), media_type="application/octet-stream")

    def _thumbnails(self, ids: list[int]) -> dict[int, Any]:
        return self.thumbnails.of(self.index.images(ids))

    async def picture(self, request: Request) -> Response:
        """A picture at its own size."""
        data, media = await self.pool.run("picture", image.original, self.index, request.path_params["id"])
        return Response(data, media_type=media, headers={"cache-control": "private, max-age=60"})

    async def drop_picture(self, request: Request) -> Response:
        """Encode a picture that is not in the index → the term that stands for it in a query."""
        data = await read_body(request, _PICTURE)
        return as_json({"term": await self.pool.run("encode", search.remember_picture, self.index, data)})

    def _place(self, parameters: Mapping[str, str]) -> Place:
        return Place.of(parameters, lambda name: read_choice(self.index.folder, name))

    def _listed(self, parameters: Mapping[str, str]) -> Packed:
        asked = self._place(parameters)
        answer = search.list_images(self.index, asked, remember=not self.read_only)
        facts = {"clear": answer.clear, "searched": answer.searched, "notes": answer.notes, "command": asked.command()}
        return Packed(facts, {n: getattr(answer, n) for n in ("ids", "scores", "confidence", "background")})

    def _skipped(self, _: Mapping[str, str]) -> Any:
        return [asdict(f) for f in skipped(self.index, limit=_SKIPPED)]

    def _verify(self, _: Body) -> Any:
        return self.tasks.start(
            "verify", "verifying", lambda _: [asdict(f) for f in verify(self.index.folder)]
        ).describe()

    def _stop(self, body: Body) -> Any:
        self.tasks.stop(ids_of({"task": [body.get("task")]}, "task")[0])
        return self.tasks.describe()

    def _facet(self, parameters: Mapping[str, str]) -> Any:
        return asdict(self.facets.of(self._place(parameters), parameters.get("column", "label")))

    def _groups(self, parameters: Mapping[str, str]) -> Any:
        kinds = [k for k in parameters.get("kind", "").split(",") if k]
        return cleaning.list_groups(self.index, kinds, ids_in(parameters.get("keepers", "")))

    def _aligned(self, parameters: Mapping[str, str]) -> Any:
        (first,), (second,) = (few_ids(parameters.get(name, ""))[:1] or (0,) for name in ("first", "second"))
        return {"aligned": cleaning.aligned(self.index, self.thumbnails, first, second)}

    def _activity(self, parameters: Mapping[str, str]) -> Any:
        before = ids_in(parameters.get("before", ""))
        return [asdict(a) for a in history(self.index, 100, before=before[0] if before else None)]

    def _difference(self, parameters: Mapping[str, str]) -> Any:
        return selection.compare_selections(self.index, parameters.get("first", ""), parameters.get("second", ""))


def _media(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
