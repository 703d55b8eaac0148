"""Routes of the page, and nothing else: parse, ask one function in a thread, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from curator.errors import CuratorError, PictureError
from curator.index import Index
from curator.index.thumbnails import Thumbnails
from curator.search.facts import skipped
from curator.web import cleaning, image, runs, search, selection
from curator.web.asking import answer_query
from curator.web.beside import ASK
from curator.web.body import Body, ids_of, object_in, read_body
from curator.web.changing import Changes
from curator.web.endpoints import A_WHILE, Endpoints, as_error, as_json
from curator.web.jobs import Tasks
from curator.web.maps import Maps
from curator.web.place import few_ids, ids_in
from curator.web.served import ServedPage, read_file
from curator.web.suspects import Suspects

STATIC = Path(__file__).parent / "static"
VIEWS = (
    "/", "/image/{id:int}", "/duplicates", "/issues", "/map", "/selections", "/selections/{name}", "/runs",
    "/runs/{name}", "/runs/{name}/lens", "/activity",
)  # fmt: skip
_PICTURE = 32 << 20  # bytes of a request at most
_QUERY = 1 << 20  # bytes of a query at most
_SKIPPED = 1_000  # files that could not be read, in one answer


def make_app(index: Index, *, read_only: bool = False, read: Callable[[str], bytes] | None = None) -> Starlette:
    """The page of one index, without its guard; `read_only` has no route that changes anything.

    `read` gets the bytes of a picture by its uri, for an index that a service answers for.
    """
    page = ServedPage(index, read or read_file) if index.is_served else _Page(index, read_only=read_only)
    changing = page.changing() if isinstance(page, _Page) and not read_only else []
    shells = (Route(view, _shell) for view in VIEWS)
    routes = [*shells, *page.asking(), *changing, Mount("/static", StaticFiles(directory=STATIC))]
    app = Starlette(routes=routes, exception_handlers={Exception: _failed, CuratorError: _failed})
    app.state.pool, app.state.close = page.pool, page.close
    return app


async def _shell(_: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _failed(_: Request, error: Exception) -> Response:
    return as_error(error)


class _Page(Endpoints):
    """The endpoints of an index of this machine."""

    def __init__(self, index: Index, *, read_only: bool) -> None:
        super().__init__(index, read_only=read_only)
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
        super().close()
        self.thumbnails.close()

    def describe(self) -> dict[str, Any]:
        """See `Endpoints`."""
        return search.describe(self.index)

    def describe_image(self, image_id: int) -> dict[str, Any]:
        """See `Endpoints`."""
        return image.describe_image(self.index, image_id)

    def facts(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """See `Endpoints`."""
        return search.facts(self.index, ids)

    def thumbnails_of(self, ids: Sequence[int]) -> Mapping[int, bytes | PictureError]:
        """See `Endpoints`."""
        return self.thumbnails.of(self.index.images(ids))

    def original(self, image_id: int) -> tuple[bytes, str]:
        """See `Endpoints`."""
        return image.original(self.index, image_id)

    def asking(self) -> list[Route]:
        """Routes that change nothing."""
        return [
            *super().asking(),
            Route(ASK, self._answer, methods=["POST"]),
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
        ]

    async def _answer(self, request: Request) -> Response:
        """A query of the command line."""
        body = object_in(await read_body(request, _QUERY))
        ask = partial(answer_query, self.index, body, remember=not self.read_only)
        return as_json(await self.pool.run("ask", ask))

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

    async def sample(self, request: Request) -> Response:
        """A sheet of samples of a run, by its number."""
        data = await self.pool.run(
            "picture", runs.sample, self.index, request.path_params["name"], request.path_params["number"]
        )
        return Response(data, headers=A_WHILE, media_type="image/png")

    async def drop_picture(self, request: Request) -> Response:
        """Encode a picture that is not in the index → the term that stands for it in a query."""
        data = await read_body(request, _PICTURE)
        return as_json({"term": await self.pool.run("encode", search.remember_picture, self.index, data)})

    def _skipped(self, _: Mapping[str, str]) -> Any:
        return [asdict(f) for f in skipped(self.index, limit=_SKIPPED)]

    def _verify(self, _: Body) -> Any:
        return self.tasks.start(
            "verify", "verifying", lambda _: [asdict(f) for f in verify(self.index.folder)]
        ).describe()

    def _stop(self, body: Body) -> Any:
        self.tasks.stop(ids_of({"task": [body.get("task")]}, "task")[0])
        return self.tasks.describe()

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
