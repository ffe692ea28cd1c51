"""Stage 3: the context carries the buffer; the waiting thread shows the data."""

from single_read import SingleReadChecks


class TestOverlappedPlus(SingleReadChecks):
    stage = 3
    program = "overlapped_plus"
