"""A project, its user, its agent, and what happens to them."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import zlib

# The longest that one command may take.
PATIENCE = 60

# How many ports of the host lead into sandboxes: few, so that two want the same one.
PORTS = 3

# In a network of its own a sandbox has one interface.
INTERFACES = "grep -c : /proc/net/dev"

CONFIG = """\
runtime: node:22
provider: chaos
workdir: /app
stop_timeout: 2s
copy:
  - src:/app
  - extra:/home/extra
mount:
  - work:/work:cow
install:
  - "cat list >/app/made-by-install"
"""

PROVIDER = """\
#!/bin/sh
for prefix; do :; done
answer='{"version": "22.0.0", "fingerprint": "chaos", "source": "chaos", "packages": []}'
if [ "$1" != --resolve ]; then
    mkdir -p "$prefix/bin" "$prefix/lib" || exit 1
    printf '#!/bin/sh\\nexec sh "$@"\\n' >"$prefix/bin/node" && chmod +x "$prefix/bin/node" || exit 1
    head -c 300000 /dev/zero | tr '\\0' "x" >"$prefix/lib/data" || exit 1
    echo "$prefix" >"$prefix/lib/path" || exit 1
fi
echo "$answer"
"""


class Command:
    """A command that was started, and how it ended."""

    def __init__(self, words, process, allowed, expected=None):
        self.words, self.process, self.allowed, self.expected = words, process, allowed, expected
        self.out = self.err = self.code = None

    def end(self):
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            self.code = "hangs"
        else:
            self.code = self.process.returncode
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    def __str__(self):
        return f"sbox {' '.join(self.words)} -> {self.code}"


class World:
    def __init__(self, work, programs, verbose):
        self.work, self.programs, self.verbose = work, programs, verbose
        self.home, self.temporary, self.root = work / "home", work / "tmp", work / "p"
        self.story, self.commands, self.killed, self.was_full, self.applied = [], [], [], False, False
        self.sources, self.users, self.contents, self.count = {}, {}, {}, 0
        self.ports = free_ports(PORTS, str(work))
        self.environment = {
            "HOME": str(self.home), "TMPDIR": str(self.temporary), "LANG": "C.UTF-8",
            "PATH": f"{work / 'providers'}:/usr/local/bin:/usr/bin:/bin", "USER": "chaos",
        }

    def say(self, text):
        self.story.append(text)
        if self.verbose:
            print(f"    {text}", flush=True)

    def begin(self):
        for place in [self.home, self.temporary, self.root / "src/deep", self.root / "extra", self.root / "work",
                      self.work / "providers"]:
            place.mkdir(parents=True)
        provider = self.work / "providers/sbox-mkenv-chaos"
        provider.write_text(PROVIDER)
        provider.chmod(0o755)
        for number in range(12):
            self.write_source(f"src/deep/f{number}", f"{number}\n" * 2000)
        self.write_source("src/list", "list\n")
        for name in ("user-0", "user-1", "shared-0", "shared-1"):
            self.write_work(name, f"{name}\n")
        self.init()
        built = self.sbox("build")
        if built.code:
            raise SystemExit(f"chaos: cannot build a project: {built.err}")

    def init(self):
        """A configuration that `sbox init` made is the user's own; what it asks for is accepted with `sbox trust`."""
        (self.root / ".sbox").mkdir()
        (self.root / ".sbox/config.yaml").write_text(CONFIG)
        self.sbox("trust")

    # What the user does.

    def write_source(self, place, text):
        (self.root / place).parent.mkdir(parents=True, exist_ok=True)
        (self.root / place).write_text(text)
        self.sources[place] = text

    def edit(self, rng):
        """One edit of the sources, some of them without another size or time."""
        what = rng.choice(["change", "change", "new", "secret", "remove", "same size", "extra"])
        if what == "new":
            self.write_source(f"src/new-{rng.randrange(6)}", self.text(rng))
        elif what == "secret":
            self.write_source("src/.env", self.text(rng))
        elif what == "extra":
            self.write_source(f"extra/e{rng.randrange(3)}", self.text(rng))
        elif what == "remove" or not self.sources:
            place = rng.choice(sorted(place for place in self.sources if place != "src/list"))
            (self.root / place).unlink()
            del self.sources[place]
        else:
            place = rng.choice(sorted(self.sources))
            old = (self.root / place).stat()
            same = what == "same size"
            text = self.sources[place][::-1].replace("\n", "~") if same else self.text(rng)
            self.write_source(place, text)
            if same:
                os.utime(self.root / place, ns=(old.st_atime_ns, old.st_mtime_ns))
        self.say(f"edit: {what}")

    def write_work(self, name, text):
        (self.root / "work" / name).write_text(text)
        self.users[name] = text
        self.contents.setdefault(name, set()).add(text)

    def text(self, rng):
        self.count += 1
        return f"{self.count}\n" * rng.choice([1, 50, 3000])

    # Commands.

    def start(self, words, allowed, expected=None):
        process = subprocess.Popen(
            [self.programs / "sbox", *words], cwd=self.root, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        return Command(words, process, allowed, expected)

    def sbox(self, *words):
        """One command alone, in peace."""
        command = self.start(list(words), {0})
        command.end()
        self.say(str(command))
        return command

    def some_command(self, rng):
        name = f"d{rng.randrange(3)}"
        code = rng.randrange(10)
        agent, text = rng.choice(["agent-0", "agent-1", "agent-2", "shared-0", "shared-1"]), self.text(rng)
        port = f"{rng.choice(self.ports)}:8080"
        lines = {
            "build": (["build"], {0, 1}),
            "force": (["build", "--force"], {0, 1}),
            "run": (["run", f"echo hello; exit {code}"], {code, 125}, "hello\n"),
            "exec": (["exec", "sh", "-c", f"echo hello; exit {code}"], {code, 125}, "hello\n"),
            "agent": (["run", f"printf %s '{text}' >/work/{agent}.part && mv -f /work/{agent}.part /work/{agent}"], {0, 1, 2, 125}),
            "daemon": (["run", "-d", "-n", name, rng.choice(["exec sleep 1000", "sleep 0.3; exit 3", "yes | head -c 99999"])],
                       {0, 125, 126, 127}),
            "agent dir": (["run", f"mkdir -p /work/dir/sub && printf %s '{text}' >/work/dir/sub/{agent}.part"
                           f" && mv -f /work/dir/sub/{agent}.part /work/dir/sub/{agent}"], {0, 1, 2, 125}),
            "nested": (["run", "--nested", "unshare -U echo hello"], {0, 125}, "hello\n"),
            "no network": (["run", "--network", "none", INTERFACES], {0, 125}, "1\n"),
            "network": (["run", "--network", "example.com", INTERFACES], {0, 125}, "1\n"),
            "port": (["run", "--network", "none", "--port", port, INTERFACES], {0, 125}, "1\n"),
            "port daemon": (["run", "-d", "-n", name, "--network", "example.com", "--port", port, "exec sleep 1000"], {0, 125}),
            "join": (["exec", "--in", name, "sh", "-c", f"echo hello; exit {code}"], {code, 1, 125}, "hello\n"),
            "stop": (["stop", *rng.choice([[name], ["--all"]])], {0, 1}),
            "restart": (["restart", name], {0, 1, 125}),
            "ps": (["ps", "-a", "-j"], {0}),
            "ps -g": (["ps", "-g", "-j"], {0}),
            "logs": (["logs", name], {0, 1}),
            "status": (["status", "-j"], {0}),
            "clean": (["clean"], {0, 1}),
            "diff": (["diff", "--stat"], {0, 1}),
            "apply": (["apply"], {0, 1}),
            "discard": (["discard", "--force", f"/work/{agent}"], {0, 1, 2}),
            "pack": (["pack", "-f", "-o", str(self.work / "packed.tar.gz")], {0, 1}),
            "validate": (["validate"], {0, 1}),
            "trust": (["trust"], {0, 1}),
            "info": (["info"], {0}),
        }
        rare = {"clean", "force", "pack", "trust", "info", "validate"}
        kind = rng.choice(sorted(lines) + sorted(set(lines) - rare) * 2)
        if kind.startswith("agent"):
            self.contents.setdefault(agent, set()).add(text)
        self.applied |= kind == "apply"
        return kind, lines[kind]

    def ours(self):
        """Every process of the namespace but those of this program and of the kernel."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in (1, os.getpid()):
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z":
                found.append((int(entry.name), b" ".join(words).decode(errors="replace").strip()))
        return found

    def kill(self, rng):
        victims = [process for process in self.ours() if not process[1].startswith(("sleep", "yes", "head"))]
        if not victims:
            return
        pid, line = rng.choice(victims)
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        try:
            os.kill(pid, number)
        except OSError:
            return
        self.killed.append(pid)
        self.say(f"kill -{number.name} {pid} ({line[:70]})")

    def fill(self, rng):
        """Takes all space, or leaves a little."""
        left = rng.choice([0, 0, 4096, 50_000])
        with open(self.work / "ballast", "wb", buffering=0) as ballast:
            for size in (1 << 20, 4096):
                try:
                    while ballast.write(b"\0" * size):
                        pass
                except OSError:
                    pass
            ballast.truncate(max(0, ballast.tell() - left))
        self.was_full = True
        self.say(f"the disk is full but for {left} bytes")

    def move(self):
        new = self.work / ("q" if self.root.name == "p" else "p")
        self.root.rename(new)
        self.root = new
        self.say(f"the project moves to {new.name}")

    def round(self, rng):
        self.story, self.commands, self.killed, self.was_full, self.applied = [], [], [], False, False
        did = []
        for _ in range(rng.randrange(3)):
            self.edit(rng)
        if rng.random() < 0.05:
            self.move()
            did.append("move")
        if rng.random() < 0.3:
            self.write_work(rng.choice(["user-0", "user-1", "shared-0", "shared-1"]), self.text(rng))
        if rng.random() < 0.2:
            self.fill(rng)
            did.append("full disk")
        for _ in range(rng.randrange(1, 5)):
            kind, line = self.some_command(rng)
            did.append(kind)
            self.commands.append(self.start(*line))
            time.sleep(rng.choice([0, 0, 0.02, 0.1, 0.3]))
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 4)):
                time.sleep(rng.random() ** 2 * 0.5)
                self.kill(rng)
                did.append("kill")
        if rng.random() < 0.2 and not self.was_full:
            self.edit(rng)
        for command in self.commands:
            command.end()
            self.say(str(command) + "".join(f"\n        {line}" for line in command.err.splitlines()[-3:]))
        (self.work / "ballast").unlink(missing_ok=True)
        return did

    def end(self):
        for pid, _ in self.ours():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def staged(self):
        """What is in the sandbox of what is in the sources, by the source's place."""
        found = {}
        for source, place in (("src", "app"), ("extra", "home/extra")):
            top = self.root / ".sbox/rootfs" / place
            for path in top.rglob("*") if top.is_dir() else []:
                if path.is_file() and not path.name.startswith("made-"):
                    found[f"{source}/{path.relative_to(top)}"] = path.read_text(errors="replace")
        return found


def free_ports(count, whose):
    """Ports of the loopback that nobody listens on, far from those that the kernel gives, and other ones for each run."""
    start = 20000 + zlib.crc32(whose.encode()) % 11000
    return [port for port in range(start, start + 500) if can_listen(port)][:count]


def can_listen(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def lines_of_panic(text):
    return [line for line in text.splitlines() if re.search(r"panicked|RUST_BACKTRACE|os error|core dumped|unwrap\(\)", line)]
