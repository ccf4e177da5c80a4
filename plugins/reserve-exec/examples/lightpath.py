#!/usr/bin/python3 -IS
"""Lightpaths from ODIN for reserve-exec, by its client `oclient`: how to wrap a client that remembers nothing.

ODIN names a path once and knows nothing of our keys. So the intent is on disk before the client runs, the path's
id before anybody hears of it, and a request whose client was killed is looked up in the server's list by its two
ends and its lambda, since two ends have one path at most.

Options:
    client    the client's words: ["/usr/bin/oclient"]
    server    the server's socket, handed to the client as ODIN_SERVER
    list      the words of the administrator's command: ["/usr/bin/odin-server", "--list", "--socket", "…"]
    lambdas   how many there are (4)
    settle    seconds after which a killed client's request has reached the server or never will (5)

Protocol: README.md of the plugin reserve-exec. Python's standard library only.
"""

import fcntl
import json
import os
import subprocess
import sys
import time

FILE = "circuits.json"
RATE = 1_000_000_000

REFUSED, UNAVAILABLE, NO_SUCH, UNSUPPORTED, UNKNOWN = 10, 13, 14, 15, 16


class Complaint(Exception):
    """An answer that is not a yes: the exit code and what is said with it."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Record:
    """The circuits by key. The lock is held for as long as it takes to read and write, not while ODIN works:
    the plugin never runs two processes for one key."""

    def __init__(self, directory):
        self.path = os.path.join(directory, FILE)

    def __enter__(self):
        self.lock = open(self.path + ".lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            with open(self.path) as file:
                self.circuits = json.load(file)
        except FileNotFoundError:
            self.circuits = {}
        return self.circuits

    def __exit__(self, kind, error, trace):
        if kind is None:
            new = self.path + ".new"
            with open(new, "w") as file:
                json.dump(self.circuits, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        self.lock.close()


class Odin:
    def __init__(self, options, directory):
        self.options = {"client": ["/usr/bin/oclient"], "lambdas": 4, "settle": 5, **options}
        self.record = Record(directory)

    def run(self, words):
        """Runs the client or the list: exit code and output. The plugin kills it with us, if it kills us."""
        env = dict(os.environ)
        if "server" in self.options:
            env["ODIN_SERVER"] = self.options["server"]
        try:
            done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.PIPE)
        except OSError as error:
            raise Complaint(UNAVAILABLE, f"{words[0]}: {error}")
        return done.returncode, done.stdout, done.stderr.strip()

    def client(self, *words):
        return self.run(self.options["client"] + list(words))

    def paths(self):
        """What the server has, or nothing at all if its list cannot be read to its end."""
        if "list" not in self.options:
            raise Complaint(UNAVAILABLE, "no list is configured")
        code, out, error = self.run(self.options["list"])
        if code != 0:
            raise Complaint(UNAVAILABLE, f"the list failed with code {code}: {error}")
        found = []
        for line in out.splitlines():
            # path <id> <state> <source> <destination> lambda <n> …
            word, path, state, a, z, name, number = line.split()[:7]
            if (word, name) != ("path", "lambda"):
                raise Complaint(UNAVAILABLE, f"the list has a line that says: {line:.80}")
            found.append({"id": path, "state": state, "ends": sorted([a, z]), "lambda": int(number)})
        return found

    def look(self, circuit, paths):
        """What the list says of a circuit: the circuit as it is now, or None if the server has nothing of it."""
        same = [p for p in paths if (p["ends"], p["lambda"]) == (sorted([circuit["a"], circuit["z"]]), circuit["lambda"])]
        if not same:
            settled = time.time() - circuit["asked"] > self.options["settle"]
            return None if circuit["path"] or settled else circuit
        path = same[0]
        if path["state"] == "up" and circuit["state"] != "releasing":
            return dict(circuit, path=path["id"], state="active")
        return dict(circuit, path=circuit["path"] or (path["id"] if path["id"] != "0" else None))

    def resolve(self, keys=None):
        """Looks the circuits up that the keys name, and puts on record what the list says."""
        with self.record as circuits:
            before = {key: c for key, c in circuits.items() if keys is None or key in keys}
        if not before:
            return {}
        paths = self.paths()
        now = {key: self.look(circuit, paths) for key, circuit in before.items()}
        with self.record as circuits:
            for key, circuit in now.items():
                if circuits.get(key) != before[key]:
                    continue
                circuits[key] = circuit
                if circuit is None:
                    del circuits[key]
        return {key: circuit for key, circuit in now.items() if circuit}

    def put(self, circuit):
        with self.record as circuits:
            circuits[circuit["key"]] = circuit

    def forget(self, key):
        with self.record as circuits:
            circuits.pop(key, None)

    def submit(self, question):
        request = question["request"]
        known = self.resolve([request["key"]]).get(request["key"])
        if known:
            return {"observed": observed(known)}
        with self.record as circuits:
            used = {c["lambda"] for c in circuits.values()}
        reason = "there is no lambda"
        for number in sorted(range(1, self.options["lambdas"] + 1), key=lambda n: n in used):
            circuit = {name: request[name] for name in ("key", "owner", "a", "z")}
            circuit.update({"lambda": number, "path": None, "state": "unknown", "asked": time.time()})
            self.put(circuit)
            code, out, error = self.client("-c", request["a"], request["z"], str(number))
            words = out.split()
            if code == 0 and words[:1] == ["path"] and words[2:3] == ["up"]:
                circuit.update(path=words[1], state="active")
                self.put(circuit)
                return {"observed": observed(circuit)}
            if code not in (1, 2, 3):
                raise Complaint(UNKNOWN, f"oclient ended with code {code}: {error}")
            self.forget(request["key"])
            reason = error
            if code != 1:
                raise Complaint(UNAVAILABLE, reason)
            if "lambda-busy" not in error:
                break
        raise Complaint(REFUSED, reason)

    def cancel(self, question):
        key = question["handle"]["key"]
        circuit = self.resolve([key]).get(key)
        if circuit is None:
            raise Complaint(NO_SUCH, f"there is no circuit {key}")
        if circuit["path"] is None:
            raise Complaint(UNKNOWN, "the path's id is not known yet")
        self.put(dict(circuit, state="releasing"))
        code, _, error = self.client("-t", circuit["path"])
        if code in (0, 4):
            self.forget(key)
            return {}
        if code in (1, 2, 3):
            self.put(circuit)
            raise Complaint(REFUSED if code == 1 else UNAVAILABLE, error)
        raise Complaint(UNKNOWN, f"oclient ended with code {code}: {error}")

    def query(self, question):
        key = question["handle"]["key"]
        circuit = self.resolve([key]).get(key)
        return {"observed": observed(circuit) if circuit else None}

    def find(self, question):
        return {"observed": [observed(circuit) for circuit in self.resolve([question["key"]]).values()]}

    def list_owned(self, question):
        owner = question["owner"]
        ours = [c for c in self.resolve().values() if c["owner"] == owner or c["owner"].startswith(owner + "/")]
        return {"observed": [observed(circuit) for circuit in ours]}

    def gc(self, question):
        stale = [key for key in self.resolve() if key not in question["valid"]]
        for key in stale:
            try:
                self.cancel({"handle": {"key": key}})
            except Complaint as complaint:
                if complaint.code != NO_SUCH:
                    raise
        return {"cancelled": stale}

    def status(self, question):
        self.paths()
        return {}

    def version(self, question):
        capabilities = {"fused_activation": True, "serial": True, "find": True, "list": True, "fixed_rate": RATE}
        times = {name: self.options[name] for name in ("setup_time", "teardown_time") if name in self.options}
        return {"protocols": [1], "name": "lightpath.py", "version": "1", "capabilities": {**capabilities, **times}}


def observed(circuit):
    return {
        "key": circuit["key"],
        "native_id": circuit["path"],
        "state": circuit["state"],
        "native_state": circuit["state"],
        "rate": RATE,
        "labels": {"lambda": str(circuit["lambda"])},
    }


VERBS = {
    "VERSION": Odin.version,
    "STATUS": Odin.status,
    "SUBMIT": Odin.submit,
    "CANCEL": Odin.cancel,
    "QUERY": Odin.query,
    "FIND": Odin.find,
    "LIST": Odin.list_owned,
    "GC": Odin.gc,
}


def main():
    verb, question = os.environ["VRESERVE_VERB"], json.load(sys.stdin)
    try:
        if verb not in VERBS:
            raise Complaint(UNSUPPORTED, f"there is no {verb}")
        odin = Odin(question["options"], os.environ["VRESERVE_STATE_DIR"])
        document, code = VERBS[verb](odin, question), 0
    except Complaint as complaint:
        document, code = {"reason": complaint.reason}, complaint.code
    # Any other exception ends Python with code 1: nobody knows what has happened, which is the truth.
    json.dump(document, sys.stdout)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
