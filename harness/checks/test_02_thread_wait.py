"""Stage 2: another thread waits; main looks at the data."""

from single_read import SingleReadChecks


class TestThreadWait(SingleReadChecks):
    stage = 2
    program = "thread_wait"
