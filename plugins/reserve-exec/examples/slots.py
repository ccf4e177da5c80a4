#!/usr/bin/python3 -IS
"""A small reservation system for reserve-exec: capacity between pairs of endpoints, now and in advance.

It keeps its reservations in one file, changed under a lock and replaced as a whole, so that a process that is
killed leaves either what was before or what is after. A request key is worked off once: whoever repeats one
gets the same reservation. Nothing is switched anywhere; a real one would do that where `provider` says so.

Options (the table `options` of the instance):
    capacity    bits per second between any two endpoints (1,000,000,000)
    two_phase   SUBMIT only holds, COMMIT or ABORT follows (false)
    hold        seconds that a hold lives without a commit (60)
    directory   where the file is (the instance's state directory)

Protocol: README.md of the plugin reserve-exec. Python's standard library only.
"""

import fcntl
import json
import os
import sys
import time

FILE = "slots.json"
EVENTS_WAIT = 10.0
FOREVER = 1 << 63

REFUSED, INVALID, UNAVAILABLE, NO_SUCH, UNSUPPORTED = 10, 11, 13, 14, 15


class Complaint(Exception):
    """An answer that is not a yes: the exit code and what is said with it."""

    def __init__(self, code, reason, **more):
        super().__init__(reason)
        self.code = code
        self.document = {"reason": reason, **more}


class Book:
    """The file with all reservations, locked while it is open."""

    def __init__(self, directory):
        self.path = os.path.join(directory, FILE)

    def __enter__(self):
        self.lock = open(self.path + ".lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            with open(self.path) as file:
                self.state = json.load(file)
        except FileNotFoundError:
            self.state = {"changes": 0, "removed": 0, "slots": {}}
        self.before = json.dumps(self.state)
        return self

    def __exit__(self, kind, error, trace):
        # After a failure nothing is written: what was before stays.
        if kind is None and json.dumps(self.state) != self.before:
            new = self.path + ".new"
            with open(new, "w") as file:
                json.dump(self.state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
            directory = os.open(os.path.dirname(self.path), os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        self.lock.close()

    @property
    def slots(self):
        return self.state["slots"]

    def change(self, slot, state=None, **values):
        """Changes a slot, and notes that it has changed."""
        self.state["changes"] += 1
        slot.update(values, changed=self.state["changes"])
        if state:
            slot["state"] = state
        self.slots[slot["key"]] = slot
        return slot

    def remove(self, slot):
        self.change(slot, "released")
        self.state["removed"] = slot["changed"]
        del self.slots[slot["key"]]


def now_ms():
    return int(time.time() * 1000)


def window(slot):
    return slot["start_ms"] or 0, slot["end_ms"] or FOREVER


def is_over(slot, now):
    """Its window has passed, or its hold has run out."""
    return window(slot)[1] <= now or (slot["state"] == "held" and slot["held_until_ms"] <= now)


def ends(slot):
    return sorted([slot["a"], slot["z"]])


def peak(slots, start, end):
    """The most that the slots take at any instant of a window: it can rise only where one of them begins."""
    instants = [start] + [window(s)[0] for s in slots if start <= window(s)[0] < end]
    return max(sum(s["rate"] for s in slots if window(s)[0] <= t < window(s)[1]) for t in instants)


def admit(book, slot, capacity):
    """Refuses a slot for which there is no room at some instant of its window."""
    start, end = window(slot)
    others = [s for s in book.slots.values() if s["key"] != slot["key"] and ends(s) == ends(slot)]
    taken = peak(others, max(start, now_ms()), end)
    if taken + slot["rate"] > capacity:
        room = max(capacity - taken, 0)
        raise Complaint(REFUSED, f"no room: {room} of {capacity} bit/s are left between {slot['a']} and {slot['z']}")


def observed(slot):
    return {
        "key": slot["key"],
        "native_id": slot["id"],
        "state": slot["state"],
        "native_state": slot["state"],
        "rate": slot["rate"],
        "start_ms": slot["start_ms"],
        "end_ms": slot["end_ms"],
        "data_plane": "up" if slot["state"] == "active" else "down",
        "labels": {"pair": "-".join(ends(slot))},
    }


def check(request):
    for name in ("a", "z"):
        if not request[name]:
            raise Complaint(INVALID, "an end has no name", key="request." + name)
    if request["a"] == request["z"]:
        raise Complaint(INVALID, "both ends are the same", key="request.z")
    if request["end_ms"] is not None and request["end_ms"] <= max(request["start_ms"] or 0, now_ms()):
        raise Complaint(REFUSED, "the window is over")


def named(book, question):
    """The slot of a handle. Its key decides; the id only has to fit."""
    handle = question["handle"]
    slot = book.slots.get(handle["key"])
    if slot is None or handle["native_id"] not in (None, slot["id"]):
        raise Complaint(NO_SUCH, f"there is no reservation {handle['key']}")
    return slot


def version(question, options):
    if 1 not in question["protocols"]:
        raise Complaint(UNSUPPORTED, "protocol 1 only")
    if not isinstance(options["capacity"], int) or options["capacity"] <= 0:
        raise Complaint(INVALID, "bits per second, more than none", key="options.capacity")
    return {
        "protocols": [1],
        "name": "slots.py",
        "version": "1",
        "capabilities": {
            "two_phase": options["two_phase"],
            "hold_time": f"{options['hold']}s" if options["two_phase"] else None,
            "advance": True,
            "modify": True,
            "list": True,
            "find": True,
            "events": True,
            "client_chosen_id": True,
            "setup_time": "100ms",
            "teardown_time": "100ms",
        },
    }


def status(book, question, options):
    return {}


def submit(book, question, options):
    request = question["request"]
    slot = book.slots.get(request["key"])
    if slot is None:
        check(request)
        keep = ("key", "owner", "a", "z", "rate", "start_ms", "end_ms")
        slot = {name: request[name] for name in keep}
        admit(book, slot, options["capacity"])
        # A real provider would be asked here, by the key, so that asking again finds what was made.
        held_until = now_ms() + int(options["hold"] * 1000)
        state = "held" if options["two_phase"] else "booked"
        book.change(slot, state, id=f"slot-{request['key']}", held_until_ms=held_until)
        print(f"{state} {slot['rate']} bit/s for {slot['key']}", file=sys.stderr)
    return {"observed": observed(slot)}


def commit(book, question, options):
    slot = named(book, question)
    if slot["state"] == "held":
        book.change(slot, "booked")
    return {"observed": observed(slot)}


def activate(book, question, options):
    slot = named(book, question)
    start, end = window(slot)
    if slot["state"] == "held":
        raise Complaint(REFUSED, "it is only held")
    if not start <= now_ms() < end:
        raise Complaint(REFUSED, "its window is not open")
    if slot["state"] != "active":
        book.change(slot, "active")
    return {"observed": observed(slot)}


def deactivate(book, question, options):
    slot = named(book, question)
    if slot["state"] == "active":
        book.change(slot, "booked")
    return {"observed": observed(slot)}


def modify(book, question, options):
    slot, request = named(book, question), question["request"]
    changed = dict(slot, rate=request["rate"], end_ms=request["end_ms"])
    admit(book, changed, options["capacity"])
    if changed != slot:
        book.change(slot, rate=changed["rate"], end_ms=changed["end_ms"])
    return {"observed": observed(slot)}


def cancel(book, question, options):
    book.remove(named(book, question))
    return {}


def query(book, question, options):
    return {"observed": observed(named(book, question))}


def find(book, question, options):
    slot = book.slots.get(question["key"])
    return {"observed": [observed(slot)] if slot else []}


def list_owned(book, question, options):
    owner = question["owner"]
    ours = [s for s in book.slots.values() if s["owner"] == owner or s["owner"].startswith(owner + "/")]
    return {"observed": [observed(slot) for slot in ours]}


def gc(book, question, options):
    stale = [slot for slot in book.slots.values() if slot["key"] not in question["valid"]]
    for slot in stale:
        book.remove(slot)
    return {"cancelled": [slot["key"] for slot in stale]}


def events(directory, question):
    """Waits until something is newer than `since`. What was removed is told by "missed": look everything up."""
    since = question["since"]
    until = time.monotonic() + min(EVENTS_WAIT, float(os.environ["VRESERVE_TIMEOUT"]) / 2)
    while True:
        with Book(directory) as book:
            expire(book)
            changes, removed = book.state["changes"], book.state["removed"]
            newer = [observed(s) for s in book.slots.values() if s["changed"] > since]
        # A number from the future is that of a file that was lost.
        missed = removed > since or since > changes
        if newer or missed or time.monotonic() >= until:
            return {"next": changes, "missed": missed, "observed": newer}
        time.sleep(0.1)


def expire(book):
    for slot in [slot for slot in book.slots.values() if is_over(slot, now_ms())]:
        book.remove(slot)


VERBS = {
    "STATUS": status,
    "SUBMIT": submit,
    "COMMIT": commit,
    "ABORT": cancel,
    "ACTIVATE": activate,
    "DEACTIVATE": deactivate,
    "MODIFY": modify,
    "CANCEL": cancel,
    "QUERY": query,
    "FIND": find,
    "LIST": list_owned,
    "GC": gc,
}


def answer(verb, question):
    options = {"capacity": 1_000_000_000, "two_phase": False, "hold": 60, **question["options"]}
    directory = options.get("directory", os.environ["VRESERVE_STATE_DIR"])
    if verb == "VERSION":
        return version(question, options)
    if verb == "EVENTS":
        return events(directory, question)
    if verb not in VERBS:
        raise Complaint(UNSUPPORTED, f"there is no {verb}")
    with Book(directory) as book:
        expire(book)
    with Book(directory) as book:
        return VERBS[verb](book, question, options)


def main():
    try:
        document, code = answer(os.environ["VRESERVE_VERB"], json.load(sys.stdin)), 0
    except Complaint as complaint:
        document, code = complaint.document, complaint.code
    # Any other exception ends Python with code 1: nobody knows what has happened, which is the truth.
    json.dump(document, sys.stdout)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
