"""Processors that never fall asleep while something is measured.

A processor with nothing to do stops, and on a virtual machine waking it costs more than most of what a server does for
a small message: with one client that is what is measured, and not the servers. A program that always has something to
do, and always gives way, keeps each of them awake.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil

GIVES_WAY = "while True: pass"


@contextlib.contextmanager
def processors_awake() -> Iterator[None]:
    spinners = [subprocess.Popen([sys.executable, "-c", GIVES_WAY]) for _ in range(os.cpu_count() or 1)]
    try:
        for spinner in spinners:
            if sys.platform == "win32":
                psutil.Process(spinner.pid).nice(psutil.IDLE_PRIORITY_CLASS)
            else:
                os.sched_setscheduler(spinner.pid, os.SCHED_IDLE, os.sched_param(0))
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
