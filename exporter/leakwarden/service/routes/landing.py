"""The front door: what this is, and where to go from here."""

from __future__ import annotations

from html import escape
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from leakwarden.service.context import Context
from leakwarden.service.page import json_response

DESCRIPTION = "A messaging service for desktop agents that cannot leak quietly."

# Path, what is there, and whether a token is needed even on loopback.
LINKS = (
    ("/metrics", "the page that Prometheus scrapes", False),
    ("/v1/snapshot", "everything true now, as JSON", False),
    ("/v1/messages", "messages, page by page", True),
    ("/v1/agents", "agents, and what waits for each", True),
    ("/v1/leases", "what is held, and where it was acquired", True),
    ("/-/healthy", "200 while the process lives", False),
    ("/-/ready", "200 while it can do its work, else the reason", False),
)

# Nothing is loaded from anywhere, and nobody may frame it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>leakwarden</title>
<style>
:root { --ground: #f7f7f5; --card: #ffffff; --line: #e3e3df; --ink: #1c1e21; --soft: #5d646d;
  --good: #2f7d6b; --bad: #b3261e; --link: #31527b; }
@media (prefers-color-scheme: dark) { :root { --ground: #15171a; --card: #1d2024; --line: #2d3136;
  --ink: #e8e9ea; --soft: #9aa2ab; --good: #6cc3ad; --bad: #ff8a80; --link: #8fb4e3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 3rem 1rem; }
h1 { margin: 0; font-size: 1.75rem; letter-spacing: -0.01em; }
h1 small { color: var(--soft); font-size: 1rem; font-weight: 400; letter-spacing: 0; }
p { margin: 0.25rem 0 1.5rem; color: var(--soft); }
p.ready { color: var(--good); } p.waiting { color: var(--bad); }
ul { list-style: none; margin: 0; padding: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; }
li { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: 0.7rem 1rem; }
li + li { border-top: 1px solid var(--line); }
a { color: var(--link); font-family: ui-monospace, monospace; min-width: 9rem; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 3px; border-radius: 2px; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: 0.875rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>leakwarden <small>$version</small></h1>
<p>$description</p>
<p class="$state" role="status">$sentence</p>
<ul>
$links
</ul>
<footer>Instance $instance_id. Routes marked &#8224; need
<code>Authorization: Bearer TOKEN</code>.</footer>
</main>
</body>
</html>
""")


async def page(context: Context, request: Request, _body: bytes) -> Response:
    """Name, version and links: a page for people, JSON where Accept asks for that."""
    root = request.scope.get("root_path", "")
    if prefers_json(request.headers.get("accept", "")):
        return json_response(
            {
                "name": "leakwarden",
                "description": DESCRIPTION,
                "version": context.version,
                "instance_id": context.instance_id,
                "links": [
                    {"path": root + path, "about": about, "token": token}
                    for path, about, token in LINKS
                ],
            }
        )
    reason = "it is stopping" if context.stopping.is_set() else context.ready()
    text = _PAGE.substitute(
        version=escape(context.version),
        description=DESCRIPTION,
        state="ready" if reason is None else "waiting",
        sentence="● ready" if reason is None else f"■ not ready: {escape(reason)}",
        instance_id=escape(context.instance_id),
        links="\n".join(
            f'<li><a href="{escape(root + path)}">{path}</a>'
            f"<span>{about}{' &#8224;' if token else ''}</span></li>"
            for path, about, token in LINKS
        ),
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})


def prefers_json(accept: str) -> bool:
    """True where Accept names application/json and does not name text/html before it."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if "application/json" not in kinds:
        return False
    return "text/html" not in kinds[: kinds.index("application/json")]
