"""Messages on their way, and the store that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from leakwarden.exporters.catalog_family import Family, Label, Read, Sample, Value, single
from leakwarden.messaging.reasons import REASONS
from leakwarden.snapshot import MessageSample, Snapshot, StoreSample

# Desktop comes with the transport of that name.
TRANSPORTS = ("inbox",)
PRIORITIES = ("low", "normal", "high", "urgent")

_TRANSPORT = Label("transport", TRANSPORTS)
_NO_DELIVERY = "the process delivers no messages, or delivery could not be read"
_NO_STORE = "the process has no store, or it could not be read"


def _messages(value: Callable[[MessageSample], Value | None]) -> Read:
    return single(lambda snapshot: None if snapshot.messages is None else value(snapshot.messages))


def _store(value: Callable[[StoreSample], Value]) -> Read:
    return single(lambda snapshot: None if snapshot.store is None else value(snapshot.store))


def _by(labels: Callable[[MessageSample], Mapping[str, Value]]) -> Read:
    """Reads one sample for each key of a mapping."""

    def read(snapshot: Snapshot) -> Iterable[Sample]:
        if snapshot.messages is not None:
            for label, value in labels(snapshot.messages).items():
                yield (label,), value

    return read


def _failures(snapshot: Snapshot) -> Iterable[Sample]:
    if snapshot.messages is not None:
        yield from snapshot.messages.failures_total.items()


def _queued(snapshot: Snapshot) -> Iterable[Sample]:
    if snapshot.messages is not None:
        for priority in PRIORITIES:
            yield (priority,), snapshot.messages.queued.get(priority, 0)


MESSAGES = (
    Family(
        "leakwarden_messages_total",
        "counter",
        "Attempts to deliver a message.",
        _by(lambda messages: messages.attempts_total),
        (_TRANSPORT,),
        absent=_NO_DELIVERY,
    ),
    Family(
        "leakwarden_message_failures_total",
        "counter",
        "Attempts to deliver a message that failed, by reason.",
        _failures,
        (_TRANSPORT, Label("reason", REASONS)),
        absent=_NO_DELIVERY,
    ),
    Family(
        "leakwarden_message_delivery_duration_seconds",
        "histogram",
        "Time that one attempt to deliver a message took.",
        _by(lambda messages: messages.duration_seconds),
        (_TRANSPORT,),
        absent=_NO_DELIVERY,
    ),
    Family(
        "leakwarden_messages_queued",
        "gauge",
        "Messages accepted and neither delivered nor given up.",
        _queued,
        (Label("priority", PRIORITIES),),
        absent=_NO_DELIVERY,
    ),
    Family(
        "leakwarden_message_oldest_queued_timestamp_seconds",
        "gauge",
        "Unix time at which the oldest message still queued was accepted; 0 when none is.",
        _messages(lambda messages: messages.oldest_queued_at or 0),
        absent=_NO_DELIVERY,
    ),
)

STORE = (
    Family(
        "leakwarden_store_commit_duration_seconds",
        "histogram",
        "Time that one commit of the store took, of however many messages.",
        _store(lambda store: store.commit_duration_seconds),
        absent=_NO_STORE,
    ),
    Family(
        "leakwarden_store_bytes",
        "gauge",
        "Size of the database and its write-ahead log.",
        _store(lambda store: store.bytes),
        absent=_NO_STORE,
    ),
)
