"""The addresses of the review page and what answers them; security.py stands before all of them.

A frame is named by its id alone, a number; no path from outside is opened. Errors are JSON, {"error": sentence}. The
ledger is asked in threads; pictures come as finished files from who draws them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from loguru import logger
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from spotlessd import __version__
from spotlessd.configuration.settings import Settings
from spotlessd.errors import LedgerError, PublishError
from spotlessd.job import JobState
from spotlessd.review.bodies import clear_uploads, read_json, received_mask
from spotlessd.review.decisions import BY_FILE, Answer, Decisions, NotNowError, check_choice, check_state
from spotlessd.review.edits import Choice, EditsError, parse_edits
from spotlessd.review.events import Events, EventStream, TooManyListenersError
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.frames import FrameFacts, Frames
from spotlessd.review.mask_check import MaskRefusedError, keep_mask_apart
from spotlessd.review.picture_source import PictureError, PictureSource
from spotlessd.review.roll import MOST_ITEMS, WAITING, RollQuery
from spotlessd.review.security import Access, Guard, Refused
from spotlessd.review.static_files import StaticFiles

HERE = Path(__file__).parent
LAYERS = {"before": "jpg", "after": "jpg", "mask": "png"}
KINDS = {"jpg": "image/jpeg", "png": "image/png"}
MOST_ID = 10**15
MOST_TILE = 100_000
MOST_TEXT = 200
STATES = frozenset({*map(str, JobState), WAITING})
FOR_EVER = "private, max-age=31536000, immutable"
LEDGER_THREADS = 4
UPLOADS_AT_ONCE = 2

Value = TypeVar("Value")


def make_app(
    settings: Settings, pictures: PictureSource, frames: Frames, decisions: Decisions, access: Access, events: Events
) -> ASGIApp:
    """Return the page of one station as an ASGI application, behind its guard."""
    page = ReviewPage(settings, pictures, frames, decisions, access, events)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        clear_uploads(settings.state_dir)
        try:
            yield
        finally:
            events.leave()
            pictures.close()

    app = Starlette(
        routes=[
            Route("/", page.roll_page),
            Route("/frame/{id}", page.frame_page),
            Route("/static/{file}", page.static),
            Route("/api/roll", page.roll),
            Route("/api/frame/{id}", page.frame),
            Route("/thumb/{id}.jpg", page.thumb),
            Route("/tiles/{id}/{layer}/{level}/{col}_{row}.{suffix}", page.tile),
            Route("/events", page.listen),
            Route("/api/frame/{id}/decide", page.decide, methods=["POST"]),
            Route("/api/frame/{id}/mask", page.mask, methods=["POST"]),
            Route("/api/frame/{id}/retry", page.retry, methods=["POST"]),
            Route("/api/frame/{id}/bump", page.bump, methods=["POST"]),
        ],
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_error,
            LedgerError: partial(_said, status=503),
            PublishError: partial(_said, status=507),
            PictureError: partial(_said, status=404),
            EditsError: partial(_said, status=400),
            MaskRefusedError: partial(_said, status=400),
            NotNowError: partial(_said, status=409),
            Exception: _mistake,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return Guard(app, access)


class ReviewPage:
    """What answers the addresses, for one station."""

    def __init__(
        self,
        settings: Settings,
        pictures: PictureSource,
        frames: Frames,
        decisions: Decisions,
        access: Access,
        events: Events,
    ) -> None:
        self._settings = settings
        self._pictures = pictures
        self._frames = frames
        self._decisions = decisions
        self._access = access
        self._static = StaticFiles(HERE / "static")
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.globals["static"] = self._static.address
        self._threads = CapacityLimiter(LEDGER_THREADS)
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._events = events

    async def roll_page(self, _: Request) -> Response:
        """GET /."""
        return self._page("roll.html", roots=[root.name for root in self._settings.roots])

    async def frame_page(self, request: Request) -> Response:
        """GET /frame/{id}."""
        frame = await self._facts(request)
        return self._page("frame.html", id=frame.id, name=frame.rel.rpartition("/")[2])

    async def static(self, request: Request) -> Response:
        """GET /static/{file}."""
        found = self._static.get(request.path_params["file"])
        if found is None:
            raise HTTPException(404)
        is_of_hash = request.query_params.get("v") == found.digest
        headers = {"cache-control": FOR_EVER if is_of_hash else "no-cache", "etag": f'"{found.digest}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(found.body, media_type=found.kind, headers=headers)

    async def roll(self, request: Request) -> Response:
        """GET /api/roll."""
        return JSONResponse(await self._ask(self._frames.roll, _query(request)))

    async def frame(self, request: Request) -> Response:
        """GET /api/frame/{id}."""
        job_id = _id(request)
        found = await self._ask(self._frames.frame, job_id)
        if found is None:
            raise HTTPException(404)
        layout, trouble = None, ""
        files = await self._ask(self._frames.files, job_id)
        if files is not None:
            try:
                layout = await self._pictures.layout(files)
            except PictureError as error:
                trouble = str(error)
        if layout is not None:
            found["width"], found["height"] = layout.width, layout.height
        return JSONResponse(
            {
                **found,
                "tiles": None if layout is None else {"size": layout.size, "levels": layout.levels},
                "layers": [] if layout is None else list(layout.layers),
                "trouble": trouble,
            }
        )

    async def thumb(self, request: Request) -> Response:
        """GET /thumb/{id}.jpg."""
        files = await self._files(request)
        return await _picture(request, files, await self._pictures.thumb(files), "image/jpeg")

    async def tile(self, request: Request) -> Response:
        """GET /tiles/{id}/{layer}/{level}/{col}_{row}.{suffix}."""
        words = request.path_params
        layer = words["layer"]
        if LAYERS.get(layer) != words["suffix"]:
            raise HTTPException(404)
        level, col, row = (_number(words[name], MOST_TILE) for name in ("level", "col", "row"))
        files = await self._files(request)
        path = await self._pictures.tile(files, layer, level, col, row)
        return await _picture(request, files, path, KINDS[words["suffix"]])

    async def listen(self, _: Request) -> Response:
        """GET /events."""
        try:
            return EventStream(self._events)
        except TooManyListenersError:
            raise Refused(503, "too many pages are open; close one.") from None

    async def decide(self, request: Request) -> Response:
        """POST /api/frame/{id}/decide."""
        frame = await self._facts(request)
        value = await read_json(request)
        check_state(frame)
        edits = await self._ask(parse_edits, value, frame.width, frame.height, len(frame.defect_boxes))
        check_choice(frame, edits.choice)
        mask = None
        if edits.choice is Choice.EDITED and frame.files is not None:
            try:
                mask = await self._pictures.draw_mask(frame.files, edits, frame.defect_boxes)
            except PictureError as error:
                raise NotNowError(str(error)) from error
        write = partial(self._decisions.decide, mask=mask, sensitivity=edits.sensitivity)
        return _accepted(await self._ask(write, frame, edits.choice))

    async def mask(self, request: Request) -> Response:
        """POST /api/frame/{id}/mask."""
        frame = await self._facts(request)
        check_choice(frame, Choice.EDITED)
        if self._uploads.locked():
            raise Refused(503, "other masks are being read; try again in a moment.")
        async with self._uploads, received_mask(request, self._settings.state_dir) as path:
            assert frame.files is not None  # noqa: S101 - check_choice
            kept = await self._ask(keep_mask_apart, path, frame.files.scan, self._settings.state_dir)
        write = partial(self._decisions.decide, mask=kept, via=BY_FILE)
        return _accepted(await self._ask(write, frame, Choice.EDITED))

    async def retry(self, request: Request) -> Response:
        """POST /api/frame/{id}/retry."""
        return _accepted(await self._ask(self._decisions.retry, await self._facts(request)))

    async def bump(self, request: Request) -> Response:
        """POST /api/frame/{id}/bump."""
        return _accepted(await self._ask(self._decisions.bump, await self._facts(request)))

    async def _ask(self, ask: Callable[..., Value], *values: object) -> Value:
        """Ask the ledger, or do other work that takes a moment, in a thread."""
        return await to_thread.run_sync(ask, *values, limiter=self._threads)

    async def _facts(self, request: Request) -> FrameFacts:
        found = await self._ask(self._frames.facts, _id(request))
        if found is None:
            raise HTTPException(404)
        return found

    async def _files(self, request: Request) -> FrameFiles:
        found = await self._ask(self._frames.files, _id(request))
        if found is None:
            raise HTTPException(404)
        return found

    def _page(self, template: str, **values: object) -> Response:
        context = {"csrf": self._access.csrf, "version": __version__, "station": self._settings.station_id, **values}
        return HTMLResponse(self._templates.get_template(template).render(context))


def _id(request: Request) -> int:
    return _number(request.path_params["id"], MOST_ID)


def _number(text: str, most: int) -> int:
    """Return a number from an address; anything else is an address that is not there."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))) or int(text) > most:
        raise HTTPException(404)
    return int(text)


def _query(request: Request) -> RollQuery:
    """Read what a roll is asked for.

    Raises:
        Refused: a value is not one that is known.
    """
    words = request.query_params
    root, state, day, text = (words.get(name, "") for name in ("root", "state", "day", "q"))
    if state and state not in STATES:
        raise Refused(400, f"no such state; one of {', '.join(sorted(STATES))} expected.")
    if max(len(root), len(day), len(text)) > MOST_TEXT:
        raise Refused(400, f"at most {MOST_TEXT} characters are searched for.")
    offset, limit = words.get("offset", "0"), words.get("limit", "200")
    for number in (offset, limit):
        if not (number.isascii() and number.isdecimal() and len(number) <= len("1000000000")):
            raise Refused(400, "offset and limit are whole numbers.")
    return RollQuery(root, state, day, text, int(offset), min(int(limit), MOST_ITEMS))


def _accepted(answer: Answer) -> Response:
    return JSONResponse(answer.to_dict(), 202)


async def _picture(request: Request, files: FrameFiles, path: Path, kind: str) -> Response:
    """Return a finished picture; under its own key it may be kept for ever."""
    try:
        body = await to_thread.run_sync(path.read_bytes)
    except FileNotFoundError:
        raise HTTPException(404) from None
    is_of_key = request.query_params.get("k") == files.key
    return Response(body, media_type=kind, headers={"cache-control": FOR_EVER if is_of_key else "no-store"})


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    return error.answer()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    sentence = "there is no such page." if error.status_code == 404 else f"{error.detail}."
    return JSONResponse({"error": sentence}, error.status_code)


async def _said(_: Request, error: Exception, status: int) -> Response:
    return JSONResponse({"error": str(error)}, status)


async def _mistake(request: Request, error: Exception) -> Response:
    logger.opt(exception=error).error("review page: {} {} failed", request.method, request.url.path)
    return JSONResponse({"error": "the page made a mistake; the station's log has it."}, 500)
