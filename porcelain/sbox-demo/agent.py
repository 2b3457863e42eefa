"""A curious agent: tries everything in attempts.json, harmlessly, and prints what came of each as a line of JSON."""
import errno
import json
import os


def environments():
    yield "\0".join("%s=%s" % item for item in os.environ.items())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, errors="replace") as file:
                yield file.read()
        except OSError:
            pass


def attempt(kind, target):
    if kind == "list":
        return "%d entries" % len(os.listdir(target))
    if kind == "read":
        with open(target, "rb") as file:
            return "%d bytes" % len(file.read())
    if kind == "open":
        # For writing, but nothing is written: an attempt that succeeds does no harm.
        os.close(os.open(target, os.O_WRONLY | os.O_APPEND))
        return "open for writing"
    if kind == "signal":
        os.kill(int(target), 0)
        return "it can be signalled"
    if kind == "processes":
        seen = len([pid for pid in os.listdir("/proc") if pid.isdigit()])
        return "%d processes" % seen
    if kind == "token":
        if any(target in text for text in environments()):
            return "found it"
        raise OSError(errno.ENODATA, "not found anywhere")
    if kind == "make":
        with open(os.path.expanduser(target), "a") as file:
            file.write("made by the agent\n")
        return "written"
    raise ValueError(kind)


with open("/app/attempts.json") as file:
    attempts = json.load(file)
for each in attempts:
    try:
        result = {"reached": True, "got": attempt(each["kind"], each["target"])}
    except OSError as error:
        result = {"reached": False, "got": errno.errorcode.get(error.errno, str(error))}
    print(json.dumps(dict(result, id=each["id"])), flush=True)
