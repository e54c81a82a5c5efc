from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from storing import opened


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path / "data") as engine:
        yield engine


@pytest.fixture
def messages(engine: Engine) -> Messages:
    return Messages(engine)
