"""The way to a Qdrant: its address, a client, and its errors in our words. The only module with `qdrant_client`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from curator.errors import CuratorError, EngineRefused, NoEngine, UsageError
from curator.registry import extra
from curator.vectors.services import NAME, is_loopback

_GRPC = 6334
_KEY = "QDRANT_API_KEY"


def connect(host: str, port: int) -> Any:
    """A client for a server, by gRPC at port 6334 and by HTTP elsewhere; encrypted beyond this machine."""
    client = extra("qdrant_client", "qdrant").QdrantClient
    how = {"grpc_port": port} if port == _GRPC else {"port": port}
    return client(
        host=host, prefer_grpc=port == _GRPC, api_key=os.environ.get(_KEY), https=not is_loopback(host), timeout=60,
        check_compatibility=False, **how,
    )  # fmt: skip


def split_address(url: str) -> tuple[str, int, str]:
    """`qdrant://HOST:6333/photos`, or `…?set=photos` → host, port and the set's name. Raises `UsageError`."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    name, other = parts.path.strip("/"), options.pop("set", "")
    if parts.password is not None or parts.username is not None or any("key" in o or "token" in o for o in options):
        raise UsageError(f"a key in a URL stays in the shell's history; leave it out, and put it into {_KEY}")
    if options or (name and other):
        raise UsageError(f"{url}: a set of a Qdrant is named once, as qdrant://HOST:PORT/NAME, and nothing else is")
    if not NAME.fullmatch(name or other):
        raise UsageError(f"{url} names no set; end it with /NAME, of small letters, digits and _")
    try:
        return parts.hostname or "localhost", parts.port or 6333, name or other
    except ValueError as error:
        raise UsageError(f"{url} has no port that there can be") from error


@contextlib.contextmanager
def telling(client: Any) -> Iterator[Any]:
    """The client, whose errors become ours. Raises `NoEngine` for one that does not answer, `EngineRefused`."""
    import grpc
    import httpx
    from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

    try:
        yield client
    except CuratorError:
        raise
    except (ResponseHandlingException, httpx.TransportError, ConnectionError) as error:
        raise NoEngine(f"Qdrant does not answer: {_line(error)}") from error
    except UnexpectedResponse as error:
        said = bytes(error.content or b"").decode("utf-8", "replace")
        raise _refusal(f"{error.status_code} {error.reason_phrase}: {said[:300]}", error.status_code) from error
    except grpc.RpcError as error:
        code, words = error.code(), str(error.details())
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise NoEngine(f"Qdrant does not answer: {words.splitlines()[0] if words else code.name}") from error
        denied = code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        raise _refusal(f"{code.name}: {words[:300]}", 403 if denied else 400) from error
    except (ApiException, ValueError, RuntimeError) as error:
        raise EngineRefused(f"Qdrant: {_line(error)}") from error


def _refusal(words: str, status: int) -> EngineRefused:
    way = f"; the key belongs into {_KEY}" if status in (401, 403) else ""
    return EngineRefused(f"Qdrant refuses: {words}{way}")


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
