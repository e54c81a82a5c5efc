"""The page that Prometheus scrapes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from leakwarden.service.context import Context
from leakwarden.service.threads import in_thread


async def page(context: Context, request: Request, _body: bytes) -> Response:
    """The metrics in the format that Accept prefers; with `name[]` given, those families alone."""
    body, content_type, encoding = await in_thread(
        context,
        context.exporter.page,
        request.headers.get("accept", ""),
        request.query_params.getlist("name[]"),
        accepts_gzip(request.headers.get("accept-encoding", "")),
    )
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return Response(body, headers=headers)


def accepts_gzip(accept_encoding: str) -> bool:
    """True where gzip, or else `*`, stands there with a weight above 0 (RFC 9110 section 12.5.3).

    A weight that is no number is 0: an uncompressed page is always understood.
    """
    weights = {}
    for part in accept_encoding.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights[name] = _weight(parameters)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
