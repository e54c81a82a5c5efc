"""What one row of the metrics catalog is, and the few ways in which rows read a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from leakwarden.core.histogram import HistogramSample
from leakwarden.snapshot import Snapshot

Type = Literal["gauge", "counter", "histogram", "info"]
Value = float | HistogramSample
# Label values in the order of the family's labels, and what was measured for them.
Sample = tuple[tuple[str, ...], Value]
Read = Callable[[Snapshot], Iterable[Sample]]

# What client_python adds to a family's base name in samples, and takes off a name given to it.
_SUFFIX = {"counter": "_total", "info": "_info"}
_HISTOGRAM_SUFFIXES = ("_bucket", "_count", "_sum")
_UNITS = ("seconds", "bytes")


@dataclass(frozen=True, slots=True)
class Label:
    """A label with its closed set of `values`; where those are not fixed here, `meaning`.

    `open_ended` says that users decide how many values there are, so that the cap on series
    has to watch it.
    """

    name: str
    values: tuple[str, ...] = ()
    meaning: str = ""
    open_ended: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: everything that the page, the reference and the tests need to know of it.

    `name` is the name as it is scraped, `_total` and `_info` included; of a histogram, without
    the suffixes. `read` gives its samples of a snapshot; what was not measured gives none, and
    `absent` says for people when that is.
    """

    name: str
    type: Type
    help: str
    read: Read
    labels: tuple[Label, ...] = ()
    absent: str = ""

    @property
    def base_name(self) -> str:
        """The name that OpenMetrics and client_python give the family."""
        return self.name.removesuffix(_SUFFIX.get(self.type, ""))

    @property
    def unit(self) -> str:
        """The base unit that the name ends in, empty where it counts things."""
        last = self.base_name.rpartition("_")[2]
        return last if last in _UNITS else ""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels' names, in the order of each sample's label values."""
        return tuple(label.name for label in self.labels)

    @property
    def sample_names(self) -> frozenset[str]:
        """Every name under which somebody may ask for this family."""
        suffixes = _HISTOGRAM_SUFFIXES if self.type == "histogram" else ()
        return frozenset({self.name, self.base_name, *(self.name + end for end in suffixes)})

    @property
    def subject_at(self) -> int | None:
        """The position of the label whose values users decide on; None where there is none."""
        return next((at for at, label in enumerate(self.labels) if label.open_ended), None)


def single(value: Callable[[Snapshot], Value | None]) -> Read:
    """Reads a family without labels: one sample, or none where `value` gives None."""

    def read(snapshot: Snapshot) -> Iterable[Sample]:
        measured = value(snapshot)
        return () if measured is None else (((), measured),)

    return read
