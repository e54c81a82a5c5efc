"""What a message may hold: the rules, in one table, and who may write to whom.

A body is pasted or typed into somebody's window, shown in terminals and read by
people and by language models. What would act there instead of being read is
refused; what can be taken away or replaced without changing what a reader
understands is cleaned. Nothing else is altered: not trailing blanks (Markdown
breaks lines with them), not tabs, not the form of accents. The sender is told
what was cleaned.

Body rules apply in the order of the table, and refusals look at the cleaned
text. So taking one sequence away cannot put another together unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from leakwarden.core.errors import Refused
from leakwarden.managers.validation_history import ValidationRecord
from leakwarden.messaging.agents import Agent, check_agent_id


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule about the text of a body.

    `pattern` finds what the rule is about: a set of characters where the action is refused; where
    it is cleaned, `replacement` stands there afterwards. `what` and `why` are for people: the
    refusal and the documentation.
    """

    code: str
    action: Literal["cleaned", "refused"]
    what: str
    why: str
    pattern: str
    replacement: str = ""


RULES: tuple[Rule, ...] = (
    Rule(
        "line_ends",
        "cleaned",
        "CR LF, CR, U+2028 and U+2029 become LF",
        "systems end lines differently; the lines stay the same lines",
        "\r\n?|[\u2028\u2029]",
        "\n",
    ),
    Rule(
        "terminal_colours",
        "cleaned",
        "colours and styles of a terminal (ESC [ ... m) and erase-to-end-of-line (ESC [ K) go",
        "compilers and grep put them into what people paste; the words are the same without",
        "\x1b\\[(?:[0-9;:]*m|0?K)",
    ),
    Rule(
        "escape_sequence",
        "refused",
        "any other escape sequence",
        "it moves the cursor, hides text, sets titles or links: without it the text would read "
        "differently, with it a terminal acts on it",
        "[\x1b]",
    ),
    Rule(
        "control_character",
        "refused",
        "control characters (C0 but tab and LF, DEL, C1)",
        "typed into a window they are keys (U+0008 deletes, U+0003 interrupts), and U+009B begins "
        "an escape sequence",
        "[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    ),
    Rule(
        "bidirectional_override",
        "refused",
        "bidirectional embeddings, overrides and isolates (U+202A to U+202E, U+2066 to U+2069)",
        "they show text in another order than it is stored (CVE-2021-42574); the marks U+200E, "
        "U+200F and U+061C stay, since Arabic and Hebrew need them and they reorder no letters",
        "[\u202a-\u202e\u2066-\u2069]",
    ),
    Rule(
        "invisible_text",
        "refused",
        "tag characters (U+E0000 to U+E007F)",
        "people cannot see them and language models read them as letters",
        "[\U000e0000-\U000e007f]",
    ),
    Rule(
        "lone_surrogate",
        "refused",
        "half of a UTF-16 pair (U+D800 to U+DFFF)",
        "it is no character and has no UTF-8; the text was cut or decoded wrongly",
        "[\ud800-\udfff]",
    ),
    Rule(
        "noncharacter",
        "refused",
        "noncharacters (U+FDD0 to U+FDEF, and each plane's last two such as U+FFFE and U+FFFF)",
        "Unicode keeps them for a program's own use; U+FFFE is a byte order mark read backwards",
        "[\ufdd0-\ufdef"
        + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
        + "]",
    ),
)

_CLEANING = tuple((rule, re.compile(rule.pattern)) for rule in RULES if rule.action == "cleaned")
_REFUSING = tuple((rule, re.compile(rule.pattern)) for rule in RULES if rule.action == "refused")
_REFUSED_SET = "".join(rule.pattern[1:-1] for rule, _ in _REFUSING)
_REFUSED = re.compile(f"[{_REFUSED_SET}]")
# What is refused up to U+FFFF, and everything above. `re` looks such a set up in a table, five
# times as fast as the exact one (200 characters: 1.3 against 7 us), and most texts end here.
_REFUSED_LOW = re.sub("[\U00010000-\U0010ffff]-?", "", _REFUSED_SET)
_SUSPECT = re.compile(f"[{_REFUSED_LOW}\U00010000-\U0010ffff]")
# Most bodies are of these alone, and no rule is about them: half the price of the search above.
_PLAIN = re.compile(r"[\t\n -~]*\Z")
# Something to see: neither blank nor of no width.
_VISIBLE = re.compile(r"[^\s\u00ad\u180e\u200b-\u200f\u2060-\u2064\u3164\ufe00-\ufe0f\ufeff]")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much a body may hold, in code points, exactly the limit included.

    10,000 characters are four pages, what a chat input still takes. 1,000 a line, because
    terminals in canonical mode cut a line at 4,096 bytes and a character has up to four.
    """

    characters: int = 10_000
    line_characters: int = 1_000


@dataclass(frozen=True, slots=True)
class Validated:
    """What may be sent: the cleaned body, and the codes of the rules that cleaned it."""

    recipients: tuple[str, ...]
    body: str
    cleaned: tuple[str, ...]


class Validator:
    """Judges messages by the rules and keeps a record of each judgement.

    `record` is ValidationHistory.record; records hold who, how large and which rule, not text.
    """

    def __init__(
        self, record: Callable[[ValidationRecord], object], limits: BodyLimits | None = None
    ) -> None:
        self._record = record
        self._limits = limits or BodyLimits()

    def validate(
        self,
        *,
        sender: str,
        recipients: Sequence[str] | None,
        body: str,
        agents: Mapping[str, Agent],
        now: float,
    ) -> Validated:
        """What may be sent, or Refused with the code, the field and the place.

        `recipients` None means every active agent but the sender. `now` is Unix time.
        """
        code = None
        try:
            check_agent_id(sender, "from")
            to = check_recipients(sender, recipients, agents)
            text, cleaned = clean_body(body)
            check_body(text, self._limits)
        except Refused as refused:
            code = refused.code
            raise
        finally:
            self._record(
                ValidationRecord(
                    at=now,
                    sender=sender[:64],  # what is no id may be of any length
                    recipients=len(agents) if recipients is None else len(recipients),
                    outcome="accepted" if code is None else "refused",
                    code=code,
                    size_bytes=_size_bytes(body),
                )
            )
        return Validated(to, text, cleaned)


def clean_body(body: str) -> tuple[str, tuple[str, ...]]:
    """`body` with what the cleaning rules say done to it, and the codes of those that did any."""
    if body.isascii() and "\r" not in body and "\x1b" not in body:
        return body, ()  # what every cleaning pattern begins with is missing; 0.2 us against 2.8
    cleaned = []
    for rule, pattern in _CLEANING:
        body, count = pattern.subn(rule.replacement, body)
        if count:
            cleaned.append(rule.code)
    return body, tuple(cleaned)


def check_body(body: str, limits: BodyLimits) -> None:
    """Nothing where `body`, already cleaned, may be sent; else Refused.

    Places are counted in the cleaned text: lines and columns from 1, columns in code points.
    """
    if len(body) > limits.characters:
        raise Refused(
            "body_too_long",
            f"the body has {len(body)} characters of at most {limits.characters}",
            "send less, or put the text into a file and send its path",
            "body",
        )
    if not _VISIBLE.search(body):
        raise Refused("empty_body", "the body is empty or blank", "say what the message is", "body")
    if not _PLAIN.match(body):
        found = _SUSPECT.search(body) and _REFUSED.search(body)
        if found:
            _refuse_character(body, found.start())
    if len(body) > limits.line_characters:
        for number, line in enumerate(body.split("\n"), start=1):
            if len(line) > limits.line_characters:
                raise Refused(
                    "line_too_long",
                    f"line {number} has {len(line)} characters of at most {limits.line_characters}",
                    "break the line",
                    "body",
                )


def check_recipients(
    sender: str, recipients: Sequence[str] | None, agents: Mapping[str, Agent]
) -> tuple[str, ...]:
    """The ids to write to, at least one and each once; else Refused.

    An agent that is not active is left out of a broadcast and refused where it is named: nobody
    would read the message. A sender may name itself.
    """
    if recipients is None:
        to = tuple(agent.id for agent in agents.values() if agent.active and agent.id != sender)
        hint = "set an agent besides the sender to active in the agents file"
    else:
        to = tuple(recipients)
        hint = "name at least one agent"
    if not to:
        raise Refused("no_recipient", "there is nobody to send to", hint, "to")
    if recipients is not None:
        for agent_id in to:
            _check_recipient(agent_id, agents)
        if len(set(to)) < len(to):
            twice = next(agent_id for agent_id in to if to.count(agent_id) > 1)
            raise Refused("duplicate_recipient", f"{twice} is named twice", "name it once", "to")
    return to


def _check_recipient(agent_id: str, agents: Mapping[str, Agent]) -> None:
    agent = agents.get(agent_id)
    if agent is None:
        near = _nearest(agent_id, agents)
        raise Refused(
            "unknown_agent",
            f"there is no agent {agent_id[:64]!r}",
            f"did you mean {near}?" if near else "GET /v1/agents lists them",
            "to",
        )
    if not agent.active:
        raise Refused(
            "inactive_agent",
            f"{agent_id} is not active: nobody would read the message",
            "set it to active in the agents file",
            "to",
        )


def _nearest(agent_id: str, agents: Iterable[str]) -> str | None:
    folded = {known.lower(): known for known in agents}
    near = get_close_matches(agent_id[:64].lower(), folded, n=1, cutoff=0.8)
    return folded[near[0]] if near else None


def _size_bytes(body: str) -> int:
    """The size of its UTF-8, in which half of a UTF-16 pair counts as a character."""
    return len(body) if body.isascii() else len(body.encode(errors="surrogatepass"))


def _refuse_character(body: str, at: int) -> None:
    rule = next(rule for rule, pattern in _REFUSING if pattern.match(body, at))
    line = body.count("\n", 0, at) + 1
    column = at - body.rfind("\n", 0, at)
    raise Refused(
        rule.code,
        f"line {line}, column {column} has U+{ord(body[at]):04X}: {rule.what}",
        f"take it out; {rule.why}",
        "body",
    )
