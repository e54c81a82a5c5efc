from __future__ import annotations

import time
from pathlib import Path

import pytest

from leakwarden.core.errors import LimitExceeded, Refused
from leakwarden.core.resource import ResourceSettings
from leakwarden.managers.files import Files
from leakwarden.messaging.inbox import Inbox, UnsafePath
from leakwarden.messaging.message import Message, MessageType, Priority
from leakwarden.messaging.states import MessageState
from storing import IDS

DATA = b"From: Agent-1\n\ntea at four?"


def claimed(recipient: str = "Agent-2", message_id: str | None = None) -> Message:
    return Message(
        id=IDS.new(1.0) if message_id is None else message_id,
        sender="Agent-1",
        recipient=recipient,
        body="tea at four?",
        type=MessageType.TEXT,
        priority=Priority.NORMAL,
        accepted_at=1.0,
        row=1,
        state=MessageState.DELIVERING,
        attempts=1,
        due_at=1.0,
    )


@pytest.fixture
def files() -> Files:
    return Files(ResourceSettings(limit=10, ttl_seconds=60.0), time.monotonic)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "agents"


@pytest.fixture
def inbox(root: Path, files: Files) -> Inbox:
    root.parent.mkdir()
    return Inbox(root, files)


def test_a_message_becomes_one_file_in_the_inbox_of_its_agent(inbox, root, files):
    message = claimed()
    assert inbox.deliver(message, DATA) is True
    folder = root / "Agent-2" / "inbox"
    assert [path.name for path in folder.iterdir()] == [f"{message.id}.md"]
    assert (folder / f"{message.id}.md").read_bytes() == DATA
    assert (root / "Agent-2" / "done").is_dir()
    assert files.usage().in_use == 0


def test_a_repeat_writes_nothing(inbox, root):
    message = claimed()
    inbox.deliver(message, DATA)
    assert inbox.deliver(message, b"other bytes") is False
    assert (root / "Agent-2" / "inbox" / f"{message.id}.md").read_bytes() == DATA


def test_what_the_agent_has_finished_is_not_delivered_again(inbox, root):
    message = claimed()
    inbox.deliver(message, DATA)
    file = root / "Agent-2" / "inbox" / f"{message.id}.md"
    file.rename(root / "Agent-2" / "done" / file.name)
    assert inbox.deliver(message, DATA) is False
    assert not file.exists()


def test_what_a_crash_left_half_written_is_written_anew(inbox, root):
    message = claimed()
    folder = root / "Agent-2" / "inbox"
    folder.mkdir(parents=True)
    (folder / f".{message.id}.tmp").write_bytes(b"Fro")
    assert inbox.deliver(message, DATA) is True
    assert [path.name for path in folder.iterdir()] == [f"{message.id}.md"]
    assert (folder / f"{message.id}.md").read_bytes() == DATA


def test_a_link_in_place_of_a_temporary_file_is_not_written_through(inbox, root, tmp_path):
    message = claimed()
    folder = root / "Agent-2" / "inbox"
    folder.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / f".{message.id}.tmp").symlink_to(victim)
    assert inbox.deliver(message, DATA) is True
    assert victim.read_bytes() == b"precious"
    assert not (folder / f"{message.id}.md").is_symlink()


def test_at_start_the_temporary_files_go_and_nothing_else(inbox, root):
    message = claimed()
    inbox.deliver(message, DATA)
    folder = root / "Agent-2" / "inbox"
    (folder / f".{'0' * 32}.tmp").touch()
    (folder / ".notes.tmp").touch()
    (root / "Agent-2" / "done" / f".{'0' * 32}.tmp").touch()
    assert inbox.clean() == 1
    assert {path.name for path in folder.iterdir()} == {f"{message.id}.md", ".notes.tmp"}
    assert inbox.clean() == 0


def test_without_any_inbox_there_is_nothing_to_clean(inbox):
    assert inbox.clean() == 0


@pytest.mark.parametrize("linked", ["Agent-2", "Agent-2/inbox", "Agent-2/done"])
def test_a_folder_that_leads_out_of_the_root_is_refused_and_left_alone(
    inbox, root, tmp_path, linked
):
    outside = tmp_path / "outside"
    (outside / "inbox").mkdir(parents=True)
    (outside / "done").mkdir()
    leftover = outside / "inbox" / f".{'0' * 32}.tmp"
    leftover.touch()
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(outside if linked == "Agent-2" else outside / linked[8:])
    with pytest.raises(UnsafePath, match="symbolic link"):
        inbox.deliver(claimed(), DATA)
    inbox.clean()
    assert [path for path in outside.rglob("*") if path.is_file()] == [leftover]


def test_a_root_that_is_itself_reached_by_a_link_is_fine(tmp_path, files):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Inbox(tmp_path / "link" / "agents", files).deliver(claimed(), DATA) is True


@pytest.mark.parametrize("recipient", ["..", "a/b", "", ".hidden", "nul"])
def test_an_agent_id_that_is_no_folder_name_never_touches_a_path(inbox, root, recipient):
    with pytest.raises(Refused):
        inbox.deliver(claimed(recipient), DATA)
    assert not root.exists()


@pytest.mark.parametrize("message_id", ["../" + "0" * 32, "", "0" * 31, "A" * 32])
def test_a_message_id_that_is_no_file_name_never_touches_a_path(inbox, root, message_id):
    with pytest.raises(UnsafePath):
        inbox.deliver(claimed(message_id=message_id), DATA)
    assert not root.exists()


def test_where_no_file_may_be_opened_nothing_is_left(root):
    root.parent.mkdir()
    files = Files(ResourceSettings(limit=1, ttl_seconds=60.0), time.monotonic)
    with files.open(root.parent / "taken", "wb"), pytest.raises(LimitExceeded):
        Inbox(root, files).deliver(claimed(), DATA)
    assert list((root / "Agent-2" / "inbox").iterdir()) == []


def test_a_file_that_cannot_be_renamed_leaves_no_temporary_one(inbox, root):
    message = claimed()
    inbox.deliver(claimed(), DATA)
    folder = root / "Agent-2" / "inbox"
    # Data that cannot be written at all: whatever fails, the half of a file goes.
    with pytest.raises(TypeError):
        inbox.deliver(message, "no bytes")
    assert [path.name for path in folder.glob(".*")] == []


def test_of_a_batch_each_file_that_cannot_be_published_fails_alone(inbox, root):
    batch = inbox.batch()
    good, bad, other = claimed(), claimed(), claimed("Agent-3")
    for message in (good, bad, other):
        assert batch.stage(message, DATA) is True
    folder = root / "Agent-2" / "inbox"
    # Its place is taken by a folder meanwhile.
    (folder / f"{bad.id}.md").mkdir()
    failed = batch.publish()
    assert list(failed) == [bad.id]
    assert isinstance(failed[bad.id], OSError)
    assert {path.name for path in folder.iterdir()} == {f"{good.id}.md", f"{bad.id}.md"}
    assert (root / "Agent-3" / "inbox" / f"{other.id}.md").read_bytes() == DATA


def test_nothing_stands_in_an_inbox_before_its_batch_is_published(inbox, root):
    batch = inbox.batch()
    message = claimed()
    batch.stage(message, DATA)
    assert not (root / "Agent-2" / "inbox" / f"{message.id}.md").exists()
    assert batch.publish() == {}
    assert (root / "Agent-2" / "inbox" / f"{message.id}.md").exists()


def test_a_folder_that_goes_away_fails_what_was_meant_for_it_and_nothing_else(inbox, root):
    batch = inbox.batch()
    gone, stays = claimed(), claimed("Agent-3")
    batch.stage(gone, DATA)
    batch.stage(stays, DATA)
    (root / "Agent-2").rename(root / "elsewhere")
    assert list(batch.publish()) == [gone.id]
