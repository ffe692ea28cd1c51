"""The run in the Chrome trace event format, which Perfetto and chrome://tracing open."""

import json
from typing import Any

from labkit.picture import names
from labkit.picture.story import KERNEL, Story

PROCESS = 1
KERNEL_THREAD = 0


def chrome_json(story: Story) -> str:
    events: list[dict[str, Any]] = [_name("process_name", KERNEL_THREAD, story.title)]
    events.append(_name("thread_name", KERNEL_THREAD, "kernel"))
    events += [_name("thread_name", thread.id, thread.name) for thread in story.threads]
    last = max(story.times, default=0)
    for bar in story.bars:
        end = bar.call.end_us if bar.call.end_us is not None else last
        arguments = dict(names.parameters(bar.call)) | {"outcome": bar.outcome, "source": bar.source, "seq": bar.seq}
        common = {"name": bar.name, "cat": "call", "pid": PROCESS, "tid": story.threads[bar.thread].id}
        duration = max(0, end - bar.call.begin_us)
        events.append({**common, "ph": "X", "ts": bar.call.begin_us, "dur": duration, "args": arguments})
    for number, span in enumerate(story.flights, 1):
        # Asynchronous: requests overlap each other, and are nobody's call.
        common = {"name": span.text, "cat": "request", "id": number, "pid": PROCESS, "tid": KERNEL_THREAD}
        end = last if span.end is None else story.times[span.end]
        events.append({**common, "ph": "b", "ts": story.times[span.begin], "args": {"owner": "kernel"}})
        events.append({**common, "ph": "e", "ts": end, "args": {"seen": span.taker != KERNEL}})
    for mark in story.marks:
        place = {"pid": PROCESS, "tid": story.threads[mark.thread].id}
        moment = {"name": mark.name, "ph": "i", "s": "t", "ts": mark.note.us, "args": dict(mark.note.facts)}
        events.append(moment | place)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, ensure_ascii=False, indent=0) + "\n"


def _name(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": PROCESS, "tid": thread, "args": {"name": name}}
