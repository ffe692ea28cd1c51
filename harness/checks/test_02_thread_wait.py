"""Stage 2: another thread waits; main looks at the data."""

from single_read_waits import WaitingReadChecks


class TestThreadWait(WaitingReadChecks):
    stage = 2
    program = "thread_wait"
