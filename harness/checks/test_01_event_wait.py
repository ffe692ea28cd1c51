"""Stage 1: the thread that asks also waits."""

from single_read import SingleReadChecks


class TestEventWait(SingleReadChecks):
    stage = 1
    program = "event_wait"
