"""Run programs that may be hostile, such as a database server that restores somebody's backup.

A program in a sandbox has namespaces of its own (mounts, processes, network, IPC, host name) and a root file system with
only the host's programs and libraries, read-only, and one writable folder. Root runs it under a user id that owns nothing on
the host, other users run it in a user namespace. It has no capabilities and can get none. A filter of system calls forbids
access to all that no namespace isolates.

All of its processes end with the first process of their PID namespace, and that one ends with us. The folder of a dead run has
a free lock; the next run removes it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    Inconclusive,
    NoSpace,
    ProgramFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, Runner, RunningProgram, run
from ansible_collections.lastgood.database.plugins.module_utils._scratch import (
    scratch_folder,
    sweep_scratch_folders,
    temporary_directory,
)
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space, free_bytes
from ansible_collections.lastgood.database.plugins.module_utils._syscalls import forbid_calls

FILES = "/drill"  # the path of the writable folder inside

_PREFIX = "lastgood-drill-"
_USER = "postgres"  # the name of the account inside, for programs that ask
_INNER_ID = 1000
_PROGRAMS = ("env", "mkfifo", "mount", "pivot_root", "prlimit", "setpriv", "sh", "umount", "unshare")
_PROBE_SECONDS = 60.0
_MOST_PROCESSES = 500
_LOG_BYTES = 4000
_LARGEST_RESERVE = 1024**3
_SHARE_IN_RESERVE = 20  # a twentieth of the file system
_WATCH_SECONDS = 0.2
_LONGEST_FOLDER = 107 - len("/.s.PGSQL.5432")  # bytes: the path of a socket in it has to fit, see unix(7)

# Ids that no distribution gives to users, containers or services, and that directories such as SSSD's do not map either;
# second, for a container with few ids, those of systemd's dynamic users. https://systemd.io/UIDS-GIDS/
_FREE_IDS = ((2000200001, 2147352575), (61184, 65519))

_SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/share"),
    *("/usr/local/lib", "/usr/local/lib64", "/usr/local/share"),
    *("/etc/alternatives", "/etc/crypto-policies", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/localtime", "/etc/pki/tls/openssl.cnf", "/etc/ssl/openssl.cnf"),
    "/var/cache/postgresql/dicts",  # Debian's links to dictionaries for text search lead to it
)
_NO_CAPABILITIES = ("--inh-caps=-all", "--bounding-set=-all")
_DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
_KEPT_FLAGS = (
    (os.ST_NODEV, "nodev"),
    (os.ST_NOEXEC, "noexec"),
    (os.ST_NOATIME, "noatime"),
    (os.ST_NODIRATIME, "nodiratime"),
    (os.ST_RELATIME, "relatime"),
)

# setpriv ends what follows when the thread that started it ends. If that has ended already, the parent is another process.
_WITH_US = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'

# The first process of the namespaces. It remains as the program's parent, with the rights that the program lacks.
# Only a process with these rights can remove the old root, and a user namespace can be made only while /proc is visible:
# so the program first takes its final identity, and then waits for the removal.
_BUILD = r"""
set -eu
root=$1 files=$2 kept=$3 log=$4 account=$5 nested=$6; shift 6
mount -t tmpfs -o mode=755,size=1m,nosuid,nodev,noexec tmpfs "$root"
cd "$root"
mkdir etc old dev tmp drill
mount --bind "$files" drill
mount -o "remount,bind,$kept" drill
mount --bind "$files/tmp" tmp
mount -o "remount,bind,$kept" tmp
while [ "$1" != -- ]; do
    case $1 in
        link) ln -s "$3" "$root$2" ;;
        folder) mkdir -p "$root$2"; mount --rbind "$2" "$root$2"; mount -o "remount,bind,$3" "$root$2" ;;
        file) mkdir -p "$root${2%/*}"; : >"$root$2"; mount --bind "$2" "$root$2"; mount -o "remount,bind,$3" "$root$2" ;;
        device) : >"$root$2"; mount --bind "$2" "$root$2" ;;
        below) mount -o "remount,bind,$3" "$root$2" ;;
    esac
    shift 3
done
shift
printf '%s\n' "$account" >etc/passwd
printf 'passwd: files\ngroup: files\nhosts: files\n' >etc/nsswitch.conf
printf '127.0.0.1 localhost\n' >etc/hosts
ln -s old/proc proc
mkfifo ready go
echo 1000 >/proc/self/oom_score_adj
[ -z "$nested" ] || echo 1 >/proc/sys/user/max_user_namespaces
exec 3<>ready 4<>go
mount -o remount,bind,ro "$root"
pivot_root . old
cd /
[ -z "$log" ] || exec >>"/old$log" 2>&1
{ status=0; "$@" </dev/null || status=$?; echo ended >&3; exit $status; } &
read -r answer <&3
if [ "$answer" = ready ]; then umount -l /old; echo go >&4; fi
wait $!
exit $?
"""
_WAIT = 'echo ready >&3; read -r answer <&4; exec 3>&- 4>&-; cd /drill; exec "$@"'


@dataclass(frozen=True)
class Sandbox:
    """The sandbox of this host. ``uid`` and ``gid`` own what programs write in it."""

    runner: Runner
    programs: t.Mapping[str, str]
    uid: int
    gid: int

    @property
    def has_own_user(self) -> bool:
        """Whether programs run under a user id of their own, as only root can do."""
        return self.uid != os.geteuid()

    @contextlib.contextmanager
    def room(self, needed_bytes: int = 0) -> t.Iterator[Room]:
        """Make a folder for one program and the files that it writes, and remove it afterwards."""
        parent = _parent()
        check_space(
            parent,
            free_bytes(parent, parent),
            needed_bytes,
            "a server to restore into, before anything is in it,",
            "Make room there, or set TMPDIR for the task to a directory with more, whose path is short.",
        )
        with scratch_folder(parent, _PREFIX) as folder:
            with store_errors(f"Making a folder in {folder}"):
                room = Room(self, folder)
                os.mkdir(room.root, 0o700)
                for path in (room.files, os.path.join(room.files, "tmp")):
                    os.mkdir(path, 0o700)
                    os.chown(path, self.uid, self.gid)
            yield room

    def sweep(self) -> None:
        """Remove the folders of dead runs; their programs ended with them."""
        sweep_scratch_folders(_parent(), _PREFIX)


@dataclass(frozen=True)
class Room:
    """The folder of one sandbox. Only ``files`` can be seen from inside, as FILES."""

    sandbox: Sandbox
    folder: str

    @property
    def root(self) -> str:
        return os.path.join(self.folder, "root")

    @property
    def files(self) -> str:
        return os.path.join(self.folder, "files")

    @property
    def log(self) -> str:
        return os.path.join(self.folder, "log")

    def command(
        self, arguments: t.Sequence[str], readable: t.Iterable[str] = (), *, seconds: float | None = None, logged: bool = False
    ) -> Command:
        """Return the command that runs a program in the sandbox, in the folder FILES.

        ``readable`` are paths that it needs besides the system's. With ``logged``, its output goes to the file ``log``.
        """
        sandbox, programs = self.sandbox, self.sandbox.programs
        identity: tuple[str, ...] = ()
        become: tuple[str, ...] = ()
        if sandbox.has_own_user:
            inner = (sandbox.uid, sandbox.gid)
            rights: tuple[str, ...] = (f"--reuid={sandbox.uid}", f"--regid={sandbox.gid}", "--clear-groups", *_NO_CAPABILITIES)
        else:
            inner = (_INNER_ID, _INNER_ID)
            identity = ("--user", "--map-root-user")
            become = (programs["unshare"], "--user", f"--map-user={_INNER_ID}", f"--map-group={_INNER_ID}", "--")
            rights = ()  # it has no capabilities: it is not the root of its user namespace
        limits = (programs["prlimit"], f"--nproc={_MOST_PROCESSES + _processes_of(sandbox.uid)}", "--core=0")
        return Command(
            (
                *(programs["setpriv"], "--pdeathsig=KILL", "--", programs["sh"], "-c", _WITH_US, "sh", str(os.getpid())),
                *(programs["unshare"], *identity, "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--"),
                *(programs["sh"], "-c", _BUILD, "sh", self.root, self.files, _options(self.files, "nosuid,nodev,noexec")),
                *(self.log if logged else "", f"{_USER}:x:{inner[0]}:{inner[1]}::/tmp:/bin/sh", "nested" if identity else ""),
                *_mounts(readable),
                "--",
                *(programs["env"], "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/tmp", "LC_ALL=C"),
                *become,
                *(*limits, programs["setpriv"], *rights, "--no-new-privs", "--"),
                *(programs["sh"], "-c", _WAIT, "sh", *arguments),
            ),
            seconds=seconds,
            directory="/",
            prepare=forbid_calls,
        )

    def link(self, name: str) -> None:
        """Make a hard link to a file inside, which stays valid whatever the program does with the file's name.

        Call it before anything hostile runs: a program that can change the folder could replace the file by a link.
        """
        with store_errors(f"Linking {name} in {self.folder}"):
            os.link(os.path.join(self.files, name), os.path.join(self.folder, name), follow_symlinks=False)

    @contextlib.contextmanager
    def watched(self, running: RunningProgram) -> t.Iterator[None]:
        """End a program that leaves too little free space. Raises NoSpace then, Inconclusive if the free space is unknown."""
        size = self._file_system()
        reserve = min(_LARGEST_RESERVE, size.f_blocks * size.f_frsize // _SHARE_IN_RESERVE)
        files = size.f_files // _SHARE_IN_RESERVE  # 0 if the file system adds inodes as needed
        done = threading.Event()
        causes: list[BackupError] = []

        def watch() -> None:
            while not done.wait(_WATCH_SECONDS):
                try:
                    self._check_reserve(reserve, files)
                except BackupError as cause:
                    causes.append(cause)
                    with contextlib.suppress(OSError):  # no descriptor to list its processes: try again
                        running.kill()
                        return

        thread = threading.Thread(target=watch, name="space", daemon=True)
        thread.start()
        try:
            yield
        except BackupError as error:
            if not causes:
                raise
            raise causes[0] from error
        finally:
            done.set()
            thread.join()

    def _check_reserve(self, reserve: int, files: int) -> None:
        space = self._file_system()
        if space.f_bavail * space.f_frsize < reserve or space.f_favail < files:
            raise NoSpace(
                f"No space left: the drill was ended when {os.path.dirname(self.folder)} had less than {reserve} bytes or "
                f"less than {files} files free.",
                "Make room there, or set TMPDIR for the task to a directory with more.",
            )

    def _file_system(self) -> os.statvfs_result:
        try:
            return os.statvfs(self.folder)
        except OSError as error:
            raise Inconclusive(
                f"How much space is left in {os.path.dirname(self.folder)} can't be found out, so the drill was ended: "
                f"{error.strerror}.",
                "See whether the file system is well, or set TMPDIR for the task to a directory on another.",
            ) from error

    def said(self) -> str:
        """Return the end of the program's log."""
        with contextlib.suppress(OSError), open(self.log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode("utf-8", "replace").strip()
        return ""


def open_sandbox(runner: Runner) -> Sandbox:
    """Return the sandbox of this host. Raises Inconclusive if a trial shows that it has none."""
    programs = {name: runner.find_program(name) for name in _PROGRAMS}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        raise Inconclusive(
            f"A backup's code is run in a sandbox only, and the host lacks {', '.join(missing)} for it.",
            "Install util-linux and coreutils.",
        )
    uid, gid = (_free_id(),) * 2 if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    sandbox = Sandbox(runner, {name: str(path) for name, path in programs.items()}, uid, gid)
    try:
        with sandbox.room() as room:
            run(runner, room.command(("true",), seconds=_PROBE_SECONDS))
    except ProgramFailed as error:
        raise _refused(error) from error
    sandbox.sweep()
    return sandbox


def _refused(error: BackupError) -> Inconclusive:
    if os.geteuid() == 0:
        return Inconclusive(
            f"A backup's code is run in a sandbox only, and this host's kernel or container refuses namespaces: {error.problem}",
            "Give the container the capability SYS_ADMIN, or name a server for drills in the options of the login.",
        )
    return Inconclusive(
        f"A backup's code is run in a sandbox only, and this user may not make one: {error.problem}",
        "Run the task as root (become without become_user), let users make user namespaces (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; util-linux 2.36 or newer), or name a "
        "server for drills in the options of the login.",
    )


def _free_id() -> int:
    """Return a user id that has no account, no process and, by convention, no file."""
    taken = {_owner(f"/proc/{number}") for number in filter(str.isdecimal, os.listdir("/proc"))}
    for low, high in _FREE_IDS:
        if not _is_mapped(low, high):
            continue
        for _attempt in range(100):
            number = random.SystemRandom().randint(low, high)
            if number not in taken and not _has_name(number):
                return number
    raise Inconclusive(
        "A backup's code is run under a user id of its own, and this container has none to spare.",
        "Give the container more ids, or name a server for drills in the options of the login.",
    )


def _is_mapped(low: int, high: int) -> bool:
    """Return whether our user namespace has all of these ids."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= low and high < first + count for first, _outside, count in ranges)


def _has_name(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def _processes_of(uid: int) -> int:
    """Return how many processes a user has: on older kernels the limit of a user namespace counts them too."""
    return sum(_owner(f"/proc/{number}") == uid for number in filter(str.isdecimal, os.listdir("/proc")))


def _mounts(readable: t.Iterable[str]) -> t.Iterator[str]:
    """Yield the host's paths in the new root, three words each: the kind, the path, and options or a link's target."""
    mounted = _mount_points()
    done: list[str] = []
    for path in (*_SYSTEM, *sorted(set(readable))):
        if any(f"{path}/".startswith(f"{folder}/") for folder in done):
            continue
        if os.path.islink(path) and os.path.isdir(path):
            done.append(path)
            yield from ("link", path, os.readlink(path))
        elif os.path.isdir(path):
            done.append(path)
            yield from ("folder", path, _options(path, "ro,nosuid"))
            for below in mounted:
                if below.startswith(f"{path}/"):
                    yield from ("below", below, _options(below, "ro,nosuid"))
        elif os.path.isfile(path):
            yield from ("file", path, _options(path, "ro,nosuid"))
    for path in _DEVICES:
        if os.path.exists(path):
            yield from ("device", path, "")


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:
        escaped = [line.split()[4] for line in file]
    return [os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)) for path in escaped]


def _options(path: str, wanted: str) -> str:
    """Return the options to remount a folder with. A user namespace may drop none of its present ones."""
    with store_errors(f"Examining the file system of {path}"):
        flags = os.statvfs(path).f_flag
    return ",".join(dict.fromkeys((*wanted.split(","), *(name for flag, name in _KEPT_FLAGS if flags & flag))))


def _parent() -> str:
    """Return the parent of the folders: the directory for temporary files, unless a socket's path would be too long."""
    wanted = os.path.realpath(temporary_directory())
    long = len(os.fsencode(os.path.join(wanted, f"{_PREFIX}12345678"))) > _LONGEST_FOLDER
    return "/tmp" if long else wanted
