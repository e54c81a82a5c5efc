"""What leakwarden costs while nothing happens: resident memory it adds, and CPU of an idle service.

Memory: a process that serves HTTP with Starlette and uvicorn, against the same with a running
Warden beside it (all managers and monitors, no HTTP app of leakwarden's), in turn. CPU: the
whole service, scraped every 15 s as Prometheus would, from /proc of its process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

from table import Row, report

PAIRS = 7
SETTLE_SECONDS = 5
IDLE_SECONDS = 120
SCRAPE_SECONDS = 15

HOST = """
import sys, threading
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

def hello(request):
    return PlainTextResponse("hello")

app = Starlette(routes=[Route("/", hello)])
config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
server = uvicorn.Server(config)
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    pass
if "warden" in sys.argv:
    from leakwarden import Warden
    warden = Warden()
    warden.start()
print("ready", flush=True)
sys.stdin.read()
"""


def resident_bytes(*arguments: str) -> int:
    """RSS of the host, some seconds after it is ready."""
    command = [sys.executable, "-c", HOST, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(SETTLE_SECONDS)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        process.kill()
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory() -> list[Row]:
    """The median of the differences, pair by pair."""
    pairs = [(resident_bytes("warden"), resident_bytes()) for _ in range(PAIRS)]
    added = median(with_it - without for with_it, without in pairs)
    alone = median(without for _, without in pairs)
    return [
        Row(
            "resident memory that a running Warden adds to an HTTP service",
            added / 2**20,
            goal=8,
            unit="MiB",
            comment=f"the service alone has {alone / 2**20:.1f} MiB; {PAIRS} pairs",
        )
    ]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_cpu() -> list[Row]:
    """Share of a core, in percent, without and with a scrape every 15 s."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "leakwarden", "serve", "--listen", "127.0.0.1:0"),
            *("--data-dir", f"{folder}/data"),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            time.sleep(SETTLE_SECONDS)
            shares = []
            for scraped in (False, True):
                began, used = time.monotonic(), cpu_seconds(process.pid)
                while time.monotonic() - began < IDLE_SECONDS:
                    if scraped:
                        urllib.request.urlopen(f"{url}/metrics", timeout=10).read()
                    time.sleep(SCRAPE_SECONDS)
                taken = time.monotonic() - began
                shares.append((cpu_seconds(process.pid) - used) / taken * 100)
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
    comment = f"user and system time over {IDLE_SECONDS} s"
    return [
        Row("idle service, not scraped", shares[0], goal=0.5, unit="% of a core", comment=comment),
        Row(
            f"idle service, scraped every {SCRAPE_SECONDS} s",
            shares[1],
            goal=0.5,
            unit="% of a core",
            comment=comment,
        ),
    ]


def run() -> list[Row]:
    return memory() + idle_cpu()


if __name__ == "__main__":
    report("footprint", run())
