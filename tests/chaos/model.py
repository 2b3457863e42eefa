"""What must be true when a round is over."""
import pathlib
import signal
import time

from world import can_listen, lines_of_panic, parsed

# What may be in a project, beside the user's own.
STATE = {
    "config.yaml", "env", "rootfs", "env.sh", "logs", "cow", "built.json", "stage.json", "processes.json", "processes.lock",
    "build.lock", "in-use.lock", ".gitignore", "slots.json", "sites.json", "ends", "apply.lock",
}
# Between a killed command and the next that repairs it.
UNFINISHED = {"trash", "env.new", "rootfs.new", "stage.new.json", "home.kept", "moving", ".processes.json.new"}
LIVE = {"starting", "running", "backing-off", "stopping"}
STOPPED = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGTERM}


class Model:
    def __init__(self, world):
        self.world, self.mounts, self.others = world, set(), set()

    def begin(self):
        self.mounts = mounts()

    def check(self, rng):
        """Everything that is not true, in words."""
        world, found = self.world, []
        for command in world.commands:
            found += self.ended_well(command)
        found += self.users_files()
        found += self.daemons("ps", "-a", "-j") + self.daemons("ps", "-g", "-a", "-j")
        found += self.status()
        rest = rng.random() < 0.5
        if rest:
            stopped = world.sbox("stop", "--all")
            if stopped.code:
                found.append(f"'stop --all' fails: {stopped.err}")
            found += self.nothing_left()
        built = world.sbox("build")
        if built.code and (rest or "still running" not in built.err):
            found.append(f"'build' fails in peace: {built.err}")
        if not built.code:
            found += self.built()
        if rest:
            found += self.applied(rng)
            found += self.leftovers()
        found += self.records()
        return [f"{line}" for line in found]

    def ended_well(self, command):
        found = [f"{command} says: {line}" for line in lines_of_panic(command.out + command.err)]
        allowed = set(command.allowed)
        if self.world.killed:
            allowed |= STOPPED | {1, 125}
        if command.code not in allowed:
            found.append(f"{command} is not among {sorted(allowed)}: {command.err}")
        elif command.code and command.code not in STOPPED and not command.err.strip():
            is_the_commands = command.expected is not None and command.code not in (1, 125)
            if not (is_the_commands or self.world.killed or command.words[0] in ("run", "exec")):
                found.append(f"{command} without a word")
        is_done = command.expected is not None and command.code not in {1, 125} | STOPPED
        if is_done and not self.world.killed and command.out != command.expected:
            found.append(f"{command} printed {command.out!r}")
        if "-j" in command.words and command.code == 0 and parsed(command.out) is None:
            found.append(f"{command} printed no JSON: {command.out!r}")
        return found

    def users_files(self):
        """No file of the user's is lost, cut, or changed without `apply`."""
        world, found = self.world, []
        for name, text in world.users.items():
            path = world.root / "work" / name
            if name.startswith("shared") and world.applied and path.is_file() and path.read_text() in world.contents[name]:
                world.users[name] = path.read_text()
            elif not path.is_file() or path.read_text() != text:
                found.append(f"the user's file work/{name} was changed")
        for path in (world.root / "work").rglob("*"):
            # What the agent did not end is a part, and brought over as one.
            if path.is_dir() or path.name in world.users or path.name.endswith(".part"):
                continue
            if path.name not in world.contents:
                found.append(f"there is a '{path.name}' in the user's tree")
            elif path.read_text() not in world.contents[path.name]:
                found.append(f"work/{path.name} has a part of its content")
        for place, text in world.sources.items():
            if (world.root / place).read_text() != text:
                found.append(f"the source {place} was changed")
        return found

    def daemons(self, *words):
        """`ps` lists the daemons that run, all of them, and no others. What just begins or ends is given a moment."""
        for _ in range(100):
            command = self.world.sbox(*words)
            told = parsed(command.out)
            if command.code or told is None:
                return [f"{command} fails in peace: {command.err}"]
            supervisors = {pid for pid, line in self.world.ours() if line.split(" ")[0].endswith("/sbox-supervise")}
            live = [one for one in told if one["status"] in LIVE]
            pids = {pid for pid, _ in self.world.ours()}
            wrong = [f"{one['name']} is {one['status']} and has no process {one['pid']}" for one in live
                     if one["pid"] and one["pid"] not in pids]
            wrong += [f"{one['name']} is starting for ever" for one in live if one["status"] == "starting"]
            if {one["supervisor"] for one in live} != supervisors:
                wrong.append(f"supervisors {supervisors} run, and {live} are listed")
            if not wrong:
                return []
            time.sleep(0.1)
        return [f"'{' '.join(words)}': {line}" for line in wrong]

    def status(self):
        command = self.world.sbox("status", "-j")
        status = parsed(command.out)
        if command.code or status is None:
            return [f"{command} fails in peace: {command.err}"]
        if status["up_to_date"] and self.world.staged() != self.world.sources:
            return [f"'status' says up to date: {self.difference()}"]
        return []

    def difference(self):
        staged, sources = self.world.staged(), self.world.sources
        more, fewer = sorted(set(staged) - set(sources)), sorted(set(sources) - set(staged))
        return f"more {more}, fewer {fewer}, other {[p for p in staged if p in sources and staged[p] != sources[p]]}"

    def built(self):
        found = [] if self.world.staged() == self.world.sources else [f"after a build: {self.difference()}"]
        made = self.world.root / ".sbox/rootfs/app/made-by-install"
        if not made.is_file() or made.read_text() != self.world.sources["src/list"]:
            found.append("what the install command makes is not there, or of another source")
        path = self.world.root / ".sbox/env/lib/path"
        if path.read_text().strip() != str(self.world.root / ".sbox/env"):
            found.append(f"the environment is for {path.read_text()}")
        check = self.world.sbox("build", "--check")
        if check.code:
            found.append(f"there is something to build after a build: {check.err}")
        return found

    def applied(self, rng):
        """What the agent made is brought over whole, or forgotten."""
        self.world.applied = True
        command = self.world.sbox("apply")
        if command.code and "in conflict" in command.err:
            # Both made the same file. The user's stays.
            command = self.world.sbox("discard", "--force")
        found = [f"{command} fails in peace: {command.err}"] if command.code else []
        diff = self.world.sbox("diff", "--stat")
        if diff.code or diff.out.strip():
            found.append(f"after 'apply' there is a difference: {diff.out}{diff.err}")
        return found + self.users_files()

    def nothing_left(self):
        for _ in range(100):
            left = self.world.ours()
            if not left:
                break
            time.sleep(0.1)
        found = [f"process {pid} is left: {line}" for pid, line in left]
        found += [f"port {port} is taken still" for port in self.world.ports if not can_listen(port)]
        return found + [f"mount {mount} is left" for mount in mounts() - self.mounts]

    def leftovers(self):
        """After a build, a stop and an apply in peace nothing lies around."""
        world = self.world
        state = {path.name for path in (world.root / ".sbox").iterdir()}
        found = [f".sbox/{name} is left" for name in state - STATE if not name.startswith("processes.json.broken")]
        found += [f"{name} was not repaired" for name in state & UNFINISHED]
        found += [f"{path.name} is left in the project" for path in world.root.iterdir()
                  if path.name not in {".sbox", "sbox.lock", "src", "extra", "work"}]
        found += [f"{path} is left" for path in world.temporary.iterdir()]
        found += [f"{path} is left" for path in (world.root / ".sbox/rootfs").rglob("*")
                  if ".sbox-" in path.name and not path.is_dir()]
        if any("packed" in path.name for path in world.work.iterdir()):
            packed = world.sbox("pack", "--force", "-o", str(world.work / "packed.tar.gz"))
            found += [f"{packed} fails in peace: {packed.err}"] if packed.code else []
        cache = world.home / ".sbox/cache/runtimes"
        found += [f"{path} is left" for path in cache.rglob(".draft-*")]
        found += [f"{path.name} is left beside the archive" for path in world.work.iterdir()
                  if path.name.startswith(".") and "packed" in path.name]
        return found

    def records(self):
        state, found = self.world.root / ".sbox", []
        for path in [state / "built.json", state / "stage.json", state / "processes.json", self.world.root / "sbox.lock"]:
            if path.exists() and parsed(path.read_text()) is None:
                found.append(f"{path.name} is broken")
        found += [f"{path.name}: a list was broken" for path in state.glob("processes.json.broken*")]
        return found

    def forget(self):
        """After an untruth: what is there is taken for what should be, so that it is told once."""
        world = self.world
        world.end()
        world.users = {name: (world.root / "work" / name).read_text() for name in world.users
                       if (world.root / "work" / name).is_file()}
        for path in (world.root / "work").rglob("*"):
            if path.is_file():
                world.contents.setdefault(path.name, set()).add(path.read_text())
        for path in world.temporary.iterdir():
            path.unlink() if path.is_file() else None
        for path in (world.root / ".sbox").glob("processes.json.broken*"):
            path.unlink()

    def after(self):
        """Once everything was killed."""
        return self.nothing_left()


def mounts():
    return {line.split(" - ")[0].split(" ", 3)[3] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
