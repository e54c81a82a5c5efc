from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from leakwarden.core.errors import ConfigError
from leakwarden.messaging.store.connect import DATABASE
from leakwarden.messaging.store.datadir import LOCK, DataDir, network_file_system
from leakwarden.messaging.store.engine import Engine
from leakwarden.messaging.store.messages import Messages
from leakwarden.settings import StoreSettings
from storing import new_message, opened


def refused(directory: Path) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        Engine(directory, StoreSettings()).open()
    return error.value


def damage_last_page(path: Path) -> None:
    """As a broken disk would: in a place that opening alone does not read."""
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path: Path):
    with opened(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_second_owner_is_refused_and_told_the_first(tmp_path: Path):
    with opened(tmp_path):
        error = refused(tmp_path)
        assert f"in use by process {os.getpid()}" in error.message
        assert "--data-dir" in error.hint
    with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be used" in refused(tmp_path / "file" / "data").message


def test_only_an_orderly_close_leaves_the_directory_clean(tmp_path: Path):
    first = DataDir(tmp_path)
    first.acquire()
    assert not first.was_clean
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    first.release(clean=False)
    second = DataDir(tmp_path)
    second.acquire()
    assert not second.was_clean
    second.release(clean=True)
    third = DataDir(tmp_path)
    third.acquire()
    assert third.was_clean
    third.release(clean=True)


def test_a_damaged_database_is_found_after_an_unclean_stop_and_named_with_what_to_do(tmp_path):
    with opened(tmp_path) as engine:
        Messages(engine).enqueue([new_message() for _ in range(100)])
    damage_last_page(tmp_path / DATABASE)
    with opened(tmp_path):
        pass  # after an orderly stop nothing is read that is not needed
    (tmp_path / LOCK).write_text("12345\n")
    error = refused(tmp_path)
    assert str(tmp_path / DATABASE) in error.message
    assert "damaged" in error.message
    assert "VACUUM INTO" in error.hint
    assert ".recover" in error.hint


def test_a_refused_start_holds_nothing(tmp_path: Path):
    (tmp_path / DATABASE).write_bytes(b"this is no database" * 100)
    assert "damaged" in refused(tmp_path).message
    assert "damaged" in refused(tmp_path).message
    (tmp_path / DATABASE).unlink()
    with opened(tmp_path):
        pass


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path):
    with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / DATABASE)) as outside:
        outside.execute("PRAGMA user_version = 99")
    error = refused(tmp_path)
    assert "newer leakwarden (version 99, this one knows 1)" in error.message
    with closing(sqlite3.connect(tmp_path / DATABASE)) as outside:
        assert outside.execute("PRAGMA user_version").fetchone() == (99,)


def test_a_database_of_another_program_is_refused(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / DATABASE)) as outside:
        outside.execute("CREATE TABLE theirs (a)")
    assert "another program" in refused(tmp_path).message


def test_an_empty_database_left_by_a_start_that_was_killed_is_finished(tmp_path: Path):
    (tmp_path / DATABASE).touch()
    with opened(tmp_path) as engine:
        Messages(engine).enqueue([new_message()])


MOUNTS = """\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 24 0:40 / /mnt/team rw shared:5 - nfs4 server:/team rw,vers=4.2
31 30 0:41 / /mnt/team/local rw - xfs /dev/sdb rw
32 24 0:42 / /mnt/my\\040share rw - fuse.sshfs me@host: rw
33 24 0:43 / /over rw - ext4 /dev/sdc rw
34 24 0:44 / /over rw - cifs //host/over rw
a line that is too short
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/lib/leakwarden", None),
        ("/mnt/team", "nfs4"),
        ("/mnt/team/a/b", "nfs4"),
        ("/mnt/teammate", None),
        ("/mnt/team/local/a", None),
        ("/mnt/my share/a", "fuse.sshfs"),
        ("/over/a", "cifs"),
    ],
)
def test_a_network_file_system_is_known_by_the_nearest_mount(path, found):
    assert network_file_system(path, MOUNTS) == found


def test_a_data_directory_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch):
    from leakwarden.messaging.store import datadir  # noqa: PLC0415

    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / {os.path.realpath(tmp_path)} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(datadir, "_MOUNTS", mounts)
    error = refused(tmp_path / "data")
    assert "network file system (nfs4)" in error.message
    assert "local disk" in error.hint
