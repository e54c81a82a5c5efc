"""The agents, and how much waits for each."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from leakwarden.service.context import Context
from leakwarden.service.page import agent_to_dict, page_of, query
from leakwarden.service.threads import in_thread


async def listing(context: Context, request: Request, _body: bytes) -> Response:
    """Every agent of the agents file, in its order, on one page."""
    query(request)
    queued = await in_thread(context, context.messages.queued_by_recipient)
    agents = context.agents.values()
    return page_of([agent_to_dict(agent, queued.get(agent.id, 0)) for agent in agents], None)
