"""How much memory this process may use, from whoever limits it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")

# cgroup v1 says "no limit" as the largest page-aligned signed number (PAGE_COUNTER_MAX of the
# Linux kernel); no machine has half of that.
_V1_NO_LIMIT = 2**62


def memory_limit_bytes(
    proc: Path = Path("/proc"),
    cgroups: Path = _CGROUPS,
    address_space: int | None = None,
) -> int | None:
    """The lowest memory limit on this process in bytes, None where nothing limits it.

    Of the cgroup (v2 and v1, parents included, for the kernel charges them all) and RLIMIT_AS.
    The lowest wins, since it is met first. `address_space` stands in for RLIMIT_AS, which is
    read where it is None.
    """
    if address_space is None:
        address_space = _address_space_limit()
    limits = [] if address_space is None else [address_space]
    limits.extend(_cgroup_limits(proc, cgroups))
    return min(limits, default=None)


def _address_space_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - Windows has none

    soft, _hard = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Every limit on the way from this process's group up to the root of what is mounted.

    In a container without a cgroup namespace the path is the host's and only the root, which is
    the container's own group, is there: missing files are passed over for that reason.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _hierarchy, controllers, path = line.split(":", 2)
        if controllers == "":
            roots, name = [cgroups, cgroups / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            roots, name = [cgroups / "memory"], "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for root in roots:
            for folder in (group, *group.parents):
                limit = _read_limit(root / folder / name)
                if limit is not None:
                    yield limit


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    if text == "max" or int(text) >= _V1_NO_LIMIT:
        return None
    return int(text)
