#!/usr/bin/env python3
"""Runs a command as an older kernel would: with an older Landlock, and without calls that came later.

usage: older_kernel.py [--landlock N] [--missing CALL] [--refused CALL] [--no-idmap] [--no-userxattr] [--no-attributes] -- COMMAND...

A filter of system calls (seccomp) is put on the command and inherited by all that it starts. What it cannot decide by
numbers is asked of this process, which answers in the kernel's place. The numbers are the same on all architectures of
64 bits but for that of seccomp(2) itself.
"""
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys

CALLS = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437, "pidfd_getfd": 438, "faccessat2": 439,
    "mount_setattr": 442, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    "memfd_secret": 447, "statmount": 457, "listmount": 458,
}
CALLS["getxattr"] = {"x86_64": 191}.get(platform.machine(), 8)
CALLS["sethostname"] = {"x86_64": 170}.get(platform.machine(), 161)
SECCOMP = {"x86_64": 317}.get(platform.machine(), 277)
ALLOW, ASK, ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
SET_FLAG = 0  # FSCONFIG_SET_FLAG
IDMAP = 0x00100000  # MOUNT_ATTR_IDMAP
libc = ctypes.CDLL(None, use_errno=True)


def die(what):
    sys.exit(f"older_kernel: {what}: {os.strerror(ctypes.get_errno())}")


def program(landlock, failing, idmap, userxattr):
    """The filter, as (code, jump if true, jump if false, constant)."""
    load = lambda offset: (0x20, 0, 0, offset)
    unless = lambda value, skipped: (0x15, 0, skipped, value)
    answer = lambda action: (0x06, 0, 0, action)
    code = [load(0)]
    for name, error in failing:
        code += [unless(CALLS[name], 1), answer(ERRNO | error)]
    if landlock is not None:
        # The version is asked for with a flag, the third argument.
        code += [unless(CALLS["landlock_create_ruleset"], 3), load(32), unless(1, 1), answer(ASK), load(0)]
    if not idmap:
        code += [unless(CALLS["mount_setattr"], 1), answer(ASK)]
    if not userxattr:
        # Nothing but overlays is given a setting without a value (fsconfig(2), the second argument).
        code += [unless(CALLS["fsconfig"], 3), load(24), unless(SET_FLAG, 1), answer(ERRNO | errno.EINVAL), load(0)]
    return b"".join(struct.pack("HBBI", *line) for line in code + [answer(ALLOW)])


def install(code, asks):
    """Puts the filter on this process, and returns the descriptor at which it asks."""
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        die("no_new_privs")
    text = ctypes.create_string_buffer(code)
    line = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(text))
    listener = libc.syscall(SECCOMP, 1, 8 if asks else 0, ctypes.create_string_buffer(line))
    if listener < 0:
        die("seccomp")
    return listener


def serve(listener, landlock):
    """Answers in the kernel's place until everything that has the filter is gone."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        [(_, events)] = poll.poll()
        if not events & select.POLLIN:
            return
        question = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, question)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                continue
            return
        number, process, _, call = struct.unpack_from("QIIi", question)
        arguments = struct.unpack_from("6Q", question, 32)
        value, error, flags = 0, 0, CONTINUE
        if call == CALLS["landlock_create_ruleset"]:
            value, flags = landlock, 0
        elif asks_for_idmap(process, arguments[3]):
            error, flags = -errno.EINVAL, 0
        try:
            fcntl.ioctl(listener, SEND, struct.pack("QqiI", number, value, error, flags))
        except OSError:
            pass  # It was killed meanwhile.


def asks_for_idmap(process, address):
    try:
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return struct.unpack("Q", memory.read(8))[0] & IDMAP != 0
    except (OSError, struct.error):
        return False  # The kernel finds what is wrong with it.


def main():
    words, landlock, failing, idmap, userxattr = sys.argv[1:], None, [], True, True
    while words and words[0] != "--":
        word = words.pop(0)
        if word == "--landlock":
            landlock = int(words.pop(0))
        elif word == "--missing":
            failing.append((words.pop(0), errno.ENOSYS))
        elif word == "--refused":
            failing.append((words.pop(0), errno.EPERM))
        elif word == "--no-attributes":
            failing.append(("getxattr", errno.EOPNOTSUPP))
        elif word == "--no-idmap":
            idmap = False
        elif word == "--no-userxattr":
            userxattr = False
        else:
            sys.exit(__doc__)
    if landlock == 0:
        landlock, failing = None, failing + [("landlock_create_ruleset", errno.ENOSYS)]
    code = program(landlock, failing, idmap, userxattr)
    if landlock is None and idmap:
        install(code, False)
        os.execvp(words[1], words[1:])
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        listener = install(code, True)
        socket.send_fds(theirs, [b"!"], [listener])
        os.close(listener)
        theirs.close()
        os.execvp(words[1], words[1:])
    theirs.close()
    _, [listener], _, _ = socket.recv_fds(ours, 1, 1)
    serve(listener, landlock)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.WEXITSTATUS(status))


main()
