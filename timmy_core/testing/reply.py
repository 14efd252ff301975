"""How a `WireServer` carries out a turn: answering well, badly, slowly, by halves, or not at all."""

from __future__ import annotations

from http import HTTPStatus

from timmy_core.testing.formats import Format
from timmy_core.testing.formats.base import HALF
from timmy_core.testing.line import Line
from timmy_core.testing.turn import Received, Turn


async def reply(line: Line, turn: Turn, speaks: Format, request: Received) -> bool:
    """Carry out a turn; returns whether the connection stays open for another."""
    if turn.hang:
        await line.pause(None)
    if turn.drop:
        return line.reset()
    if turn.first_s:
        await line.pause(turn.first_s)
    if turn.status != HTTPStatus.OK:
        body = turn.body if turn.body is not None else speaks.error(turn)
        return await line.whole(turn.status, turn.content_type or "application/json", body, turn.headers)
    if turn.body is not None:
        kind = turn.content_type or (speaks.stream_type if request.streamed else "application/json")
        return await line.whole(HTTPStatus.OK, kind, turn.body, turn.headers)
    return await (_stream if request.streamed else _answer)(line, turn, speaks, request)


async def _answer(line: Line, turn: Turn, speaks: Format, request: Received) -> bool:
    """Send a whole answer, or what the ending leaves of it."""
    if turn.first_token_s:
        await line.pause(turn.first_token_s)
    if turn.ending == "error":
        body = speaks.error(turn)
    elif turn.ending == "malformed":
        body = HALF.encode()
    else:
        body = speaks.whole(turn, request.body.get("model", ""))
    kind = turn.content_type or "application/json"
    cut = turn.ending in ("reset", "close", "hang")
    if not cut and not turn.pause_s:
        return await line.whole(HTTPStatus.OK, kind, body, turn.headers)
    line.head(HTTPStatus.OK, {"content-type": kind, "content-length": str(len(body)), **turn.headers})
    sent = body[: len(body) // 2] if cut else body
    step = max(1, len(sent) // max(1, len(turn.pieces)))
    for start in range(0, len(sent), step):
        if turn.pause_s:
            await line.pause(turn.pause_s)
        await line.write(sent[start : start + step])
    if turn.ending == "hang":
        await line.pause(None)
    return line.reset() if turn.ending == "reset" else not cut


async def _stream(line: Line, turn: Turn, speaks: Format, request: Received) -> bool:
    """Send a stream up to its ending, and that."""
    kind = turn.content_type or speaks.stream_type
    line.head(HTTPStatus.OK, {"content-type": kind, "transfer-encoding": "chunked", **turn.headers})
    model = request.body.get("model", "")
    await line.chunk(speaks.opening(turn, model))
    if turn.first_token_s:
        await line.pause(turn.first_token_s)
    await line.chunk(speaks.thinking(turn, model))
    for piece in turn.pieces[: turn.after]:
        if turn.pause_s:
            await line.pause(turn.pause_s)
        await line.chunk(speaks.piece(turn, piece, model))
    if turn.after is None:
        for call in speaks.calls(turn, model):
            await line.chunk(call)
    return await _ending(line, turn, speaks, model)


async def _ending(line: Line, turn: Turn, speaks: Format, model: str) -> bool:
    if turn.ending == "hang":
        await line.pause(None)
    if turn.ending == "reset":
        return line.reset()
    if turn.ending == "close":
        return False
    if turn.ending == "error":
        await line.chunk(speaks.stream_error(turn))
    if turn.ending == "malformed":
        await line.chunk(speaks.malformed())
    if turn.ending in ("finish", "linger", "malformed"):
        await line.chunk(speaks.closing(turn, model))
    if turn.ending == "linger":
        await line.pause(None)
    return await line.end()
