"""The one table of metrics: what the page, the generated reference and the tests are made from.

Names, types and label sets are an API: they are added to and never renamed. A row appears with
the part that can measure it; what was not measured has no sample, and is never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from leakwarden.exporters import catalog_process, catalog_resources
from leakwarden.exporters.catalog_family import Family, Label, Sample, Value
from leakwarden.exporters.catalog_messages import MESSAGES, STORE
from leakwarden.exporters.catalog_self import ON_THE_PAGE_ITSELF, SELF

__all__ = ["CATALOG", "FAMILIES", "Family", "Label", "Sample", "Value"]

# By subject, in the order of the page. The last subject is read after all the others.
CATALOG: Mapping[str, tuple[Family, ...]] = MappingProxyType(
    {
        "Headline": (*catalog_resources.HEADLINE, *catalog_process.HEADLINE),
        "Every kind": catalog_resources.BACKBONE,
        "Messages": MESSAGES,
        "Store": STORE,
        "Heap": catalog_process.HEAP,
        "Process": catalog_process.PROCESS,
        "leakwarden itself": SELF,
        "The page itself": ON_THE_PAGE_ITSELF,
    }
)

FAMILIES: tuple[Family, ...] = tuple(family for families in CATALOG.values() for family in families)
