"""This process as the operating system sees it: from /proc on Linux, from psutil elsewhere.

Every file is opened, read and closed again for a sample (some 100 us together, the limits and
the list of descriptors most of it). Descriptors kept open would save 20 us of that and could, in
a program that closes all its descriptors to become a daemon, come to be somebody else's file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leakwarden.monitors.samples import ProcessSample

# Positions in /proc/PID/stat, counted from the state that follows the name; proc(5) counts
# from the pid, two more.
_STAT_UTIME, _STAT_STIME, _STAT_THREADS, _STAT_START = 11, 12, 17, 19

# One line of proc(5)'s limits; what is unlimited has no number and so is not found.
_SOFT_LIMIT = re.compile(rb"^(Max address space|Max open files) +(\d+)", re.MULTILINE)

# stat, statm and limits of a process are each under 2 KiB.
_READ_BYTES = 8192


class ProcessMonitor:
    """Samples the process that calls it, whichever that is: a fork needs no care.

    `proc` is where procfs is mounted, or a tree of the same shape.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._process = str(proc / "self")
        self._boot_time = _boot_time(proc / "stat")

    def sample(self) -> ProcessSample:
        """The figures now. Each that cannot be read is None; none is ever 0 for that reason.

        Off Linux, without psutil, ImportError says so.
        """
        if sys.platform != "linux":
            return sample_with_psutil()
        # The name in brackets may itself hold spaces and brackets.
        stat = _read(self._process + "/stat").rpartition(b")")[2].split()
        statm = _read(self._process + "/statm").split()
        limits = dict(_SOFT_LIMIT.findall(_read(self._process + "/limits")))
        tick, page = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        user, system = _number(stat, _STAT_UTIME), _number(stat, _STAT_STIME)
        start, boot = _number(stat, _STAT_START), self._boot_time
        pages, resident_pages = _number(statm, 0), _number(statm, 1)
        return ProcessSample(
            cpu_seconds_total=None if user is None or system is None else (user + system) * tick,
            resident_memory_bytes=None if resident_pages is None else resident_pages * page,
            virtual_memory_bytes=None if pages is None else pages * page,
            virtual_memory_max_bytes=_number(limits, b"Max address space"),
            open_fds=_open_fds(self._process + "/fd"),
            max_fds=_number(limits, b"Max open files"),
            threads=_number(stat, _STAT_THREADS),
            start_time_seconds=None if start is None or boot is None else boot + start * tick,
        )


def sample_with_psutil() -> ProcessSample:
    """The same figures where there is no procfs; ImportError where psutil is not installed.

    On Windows the open descriptors are the open handles, which is what other exporters call
    `process_open_fds` there, and there are no limits.
    """
    import psutil  # noqa: PLC0415 - needed off Linux only

    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        if sys.platform == "win32":
            open_fds = process.num_handles()
        else:
            open_fds = process.num_fds()
        return ProcessSample(
            cpu_seconds_total=cpu.user + cpu.system,
            resident_memory_bytes=memory.rss,
            virtual_memory_bytes=memory.vms,
            virtual_memory_max_bytes=_rlimit("RLIMIT_AS"),
            open_fds=open_fds,
            max_fds=_rlimit("RLIMIT_NOFILE"),
            threads=process.num_threads(),
            start_time_seconds=process.create_time(),
        )


def _rlimit(name: str) -> int | None:
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    soft, _hard = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft


def _read(file: str) -> bytes:
    """The content, empty where it cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _READ_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _boot_time(file: Path) -> int | None:
    """Unix time of the boot. Read once: the kernel computes it anew from a clock that is set."""
    try:
        text = file.read_bytes()
    except OSError:
        return None
    found = re.search(rb"^btime (\d+)$", text, re.MULTILINE)
    return None if found is None else int(found.group(1))


def _open_fds(folder: str) -> int | None:
    """Open descriptors without the one that lists them, so that a count from outside agrees."""
    try:
        return len(os.listdir(folder)) - 1  # noqa: PTH208 - a third of iterdir's cost
    except OSError:
        return None


def _number(fields: Sequence[bytes] | Mapping[bytes, bytes], key: Any) -> int | None:
    """The field as a number, None where it is missing."""
    try:
        return int(fields[key])
    except LookupError:
        return None
