"""Stage 3: the context carries the buffer; the waiting thread shows the data."""

from single_read_waits import WaitingReadChecks


class TestOverlappedPlus(WaitingReadChecks):
    stage = 3
    program = "overlapped_plus"
