"""The small process that starts one command, outlives Slipway, and writes down how the command ended.

Run as `python -I -S supervisor.py FOLDER` by `supervised.py`, which documents the files in the folder. It imports only
what is there in a few milliseconds, and nothing of Slipway, so that an upgrade of Slipway cannot disturb a supervisor
that is running. Everything is bytes: names and values need not be valid text.

Its standard input is the order (see `order`): what the command is given never appears in an argument list or a file.
On standard output it answers `started` or `taken`, once.
"""

# pathlib takes as long to import as all the rest.
# ruff: noqa: PTH104, PTH108, PTH109, PTH110, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

DEFAULT_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when nobody left a `stop` file: someone signalled the supervisor by hand."""
WAKERS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(folder: bytes) -> None:
    """Detach, take the order, claim the folder, run the command, record its end."""
    spec = order(sys.stdin.buffer.read())
    if spec is None:
        return  # the starter died while it was still writing: nothing is claimed, anybody may start
    if os.fork():
        os._exit(0)  # the starter waits for this process only, so the supervisor is nobody's zombie
    os.chdir(folder)
    umask = os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, WAKERS)
    with open(b"claim", "ab") as claim:
        # Held until the record is written, and given back by the kernel if this process dies before. A rival waits
        # these few milliseconds, then finds the record.
        fcntl.flock(claim, fcntl.LOCK_EX)
        if os.path.exists(b"started.json"):
            answer(b"taken")
            return
        job, go = hold(spec, umask, mask)
        record(job, spec.label)
    os.write(go, b"go")
    os.close(go)
    ring()  # before the answer: once a start is known to have happened, the watchers know of it too
    answer(b"started")
    end(watch(job))


class Order:
    """What to run: where, as what (`label`, for the watcher), with which arguments and environment."""

    def __init__(self, fields: list[bytes]) -> None:
        self.cwd, self.label, count = fields[:3]
        self.argv = fields[3 : 3 + int(count)]
        self.env = dict(field.split(b"=", 1) for field in fields[3 + int(count) :])


def order(stream: bytes) -> Order | None:
    """The order, None when it was cut short.

    The length in bytes of what follows, NUL, then NUL between: cwd, label, number of arguments, arguments, NAME=value.
    """
    length, _, rest = stream.partition(b"\0")
    return Order(rest.split(b"\0")) if length.isdigit() and int(length) == len(rest) else None


def hold(spec: Order, umask: int, mask: set[int | signal.Signals]) -> tuple[int, int]:
    """Fork the command's process, which waits: (its pid, where to write the word that lets it go).

    It leads its own process group. When this process dies before the word, so does it, having run nothing.
    """
    ready, go = os.pipe()
    log = os.open(b"log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    job = os.fork()
    if job:
        os.setpgid(job, job)
        os.close(ready)
        os.close(log)
        return job, go
    try:
        os.setpgid(0, 0)
        os.close(go)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if os.read(ready, 2) != b"go":
            os._exit(1)
        os.umask(umask)
        # Python ignores these two; a program expects them to work.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        become(spec)
    finally:
        os._exit(126)


def become(spec: Order) -> None:
    """Turn into the command. As a shell does: exit 127 when it is not there, 126 when it cannot be run."""
    try:
        os.chdir(spec.cwd)
    except OSError as error:
        give_up(spec.cwd, error, 126)
    try:
        os.execvpe(spec.argv[0], spec.argv, spec.env)  # noqa: S606  (no shell is the point)
    except (FileNotFoundError, NotADirectoryError) as error:
        give_up(spec.argv[0], error, 127)
    except OSError as error:
        give_up(spec.argv[0], error, 126)


def give_up(what: bytes, error: OSError, code: int) -> None:
    os.write(2, b"slipway: cannot run '%s': %s\n" % (what, (error.strerror or str(error)).encode()))
    os._exit(code)


def record(job: int, label: bytes) -> None:
    """Write who runs here, before the command may begin: whatever happens now, it is never started twice."""
    put(b"label", label)
    # The room for the last record is taken now: a job that fills the disk is the one whose end is asked about most.
    put(b"ended.tmp", b" " * 128)
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read().strip()
    me = os.getpid()
    who = b'"boot": "%s", "supervisor": [%d, %d], "job": [%d, %d]' % (boot, me, born(me), job, born(job))
    put(b"started.tmp", b'{%s, "at": %.6f}\n' % (who, time.time()))
    os.rename(b"started.tmp", b"started.json")


def born(pid: int) -> int:
    """When a process began, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[19])


def answer(word: bytes) -> None:
    """Tell the starter, and let go of its pipes: it waits for their end. Our own troubles go to the log from now on."""
    with suppress(OSError):  # the starter may be dead by now
        os.write(1, word)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(b"log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)


def ring() -> None:
    """Tell the watchers near by (see `watch.py`) that something new runs in this folder. They may miss it: the tick
    finds what they miss, so no trouble here is worth dying for."""
    here = above = os.getcwdb()
    for _ in range(3):
        above = os.path.dirname(above)
        with suppress(OSError):
            for name in os.listdir(os.path.join(above, b"watchers")):
                if not name.startswith(b"."):
                    ring_one(os.path.join(above, b"watchers", name), here)


def ring_one(bell: bytes, here: bytes) -> None:
    try:
        pipe = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody listens: its watcher was killed
            with suppress(OSError):
                os.unlink(bell)
        return
    with suppress(OSError):
        os.write(pipe, here + b"\n")
    os.close(pipe)


def watch(job: int) -> int:
    """Wait for the command to end; stop it when asked. Returns its wait status, with its whole group gone."""
    kill_at: float | None = None
    while not os.waitid(os.P_PID, job, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        # An hour is only a large number here: it goes round and waits again.
        woken = signal.sigtimedwait(WAKERS, 3600.0 if kill_at is None else max(0.0, kill_at - time.monotonic()))
        if woken is not None and woken.si_signo != signal.SIGCHLD:
            asked = time.monotonic() + grace()
            kill_at = asked if kill_at is None else min(kill_at, asked)
            signal_group(job, signal.SIGTERM)
        elif kill_at is not None and time.monotonic() >= kill_at:
            signal_group(job, signal.SIGKILL)
            kill_at = None
    # The leader is dead but not yet reaped, so its number cannot belong to a stranger's group.
    signal_group(job, signal.SIGKILL)
    return os.waitpid(job, 0)[1]


def signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def grace() -> float:
    try:
        with open(b"stop", "rb") as asked:
            return float(asked.read())
    except (OSError, ValueError):
        return DEFAULT_GRACE


def end(status: int) -> None:
    """Write the last record into the room kept for it."""
    with open(b"ended.tmp", "r+b") as room:
        room.write(b'{"code": %d, "at": %.6f}' % (os.waitstatus_to_exitcode(status), time.time()))
        room.flush()
        os.fsync(room.fileno())
    os.rename(b"ended.tmp", b"ended.json")


def put(name: bytes, content: bytes) -> None:
    with open(name, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(os.fsencode(sys.argv[1]))
    os._exit(0)  # without the interpreter's leave-taking: whoever waits for the end is told a little sooner
