"""Stage 1: the thread that asks also waits."""

from single_read_waits import WaitingReadChecks


class TestEventWait(WaitingReadChecks):
    stage = 1
    program = "event_wait"
