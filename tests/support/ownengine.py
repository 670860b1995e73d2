"""Another generation of Docker for our tests: a command on this machine, with the engine of Debian's packages.

    ./run python tests/support/ownengine.py 28 sh -c 'ccci setup && pytest tests/integration'

The packages are unpacked into a cache and not installed. The command runs in namespaces of its own (network, mounts,
processes), so that an engine of this machine goes on beside it, and nothing of the private engine that ``ccci`` starts
there outlives it. Its state directory is its own, and removed in the end; ``--state DIR`` keeps it in ``DIR``. Needs
root, mmdebstrap, iproute2, iptables and util-linux.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

__all__ = ["ENGINES", "Generation", "main", "unpack"]

MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("containerd", "docker-cli", "docker.io", "iptables", "runc", "tini")
LEFT_OUT = ("doc", "locale", "man")
NETWORK = "10.213.{}"


@dataclass(frozen=True)
class Generation:
    """A Docker that Debian carries. ``number``, its major version, also tells its network from the others'."""

    number: int
    suite: str


ENGINES = {str(one.number): one for one in (Generation(26, "trixie"), Generation(28, "sid"))}


def unpack(wanted: Generation) -> Path:
    """The folder whose ``usr`` has the engine and all libraries it needs: from the cache, else unpacked by mmdebstrap.

    A suite moves on: what is in the cache is kept until somebody removes it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-ccci" / "engines"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"{wanted.number}-{wanted.suite}"
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            half = place.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            # A mirror may lag behind, and unstable is signed for a week; signatures are checked all the same.
            source = f"deb [check-valid-until=no] {MIRROR} {wanted.suite} main"
            options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
            words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--include={','.join(PACKAGES)}"]
            subprocess.run([*words, *options, wanted.suite, half, source], check=True)
            _finish(half)
            half.rename(place)
    return place


def _finish(root: Path) -> None:
    """Do what Debian's own scripts would have done, and put first on ``PATH`` what ``ccci`` looks for.

    The daemon sees its own ``/usr`` in place of the machine's, all else as it is. Mounts that come later reach it.
    """
    for name in ("iptables", "iptables-save", "iptables-restore"):
        for each in (name, name.replace("ip", "ip6", 1)):
            (root / "usr/sbin" / each).symlink_to("xtables-nft-multi")
    (root / "first").mkdir()
    for name in ("containerd", "docker", "runc"):
        (root / "first" / name).symlink_to(f"../usr/{'sbin' if name == 'runc' else 'bin'}/{name}")
    daemon = root / "first" / "dockerd"
    daemon.write_text(
        "#!/bin/sh\n"
        'exec unshare --mount --propagation slave sh -c \'mount --bind "$0" /usr && exec /usr/sbin/dockerd "$@"\' '
        '"$(dirname -- "$0")/../usr" "$@"\n',
        encoding="ascii",
    )
    daemon.chmod(0o755)


@contextmanager
def _network(wanted: Generation) -> Iterator[str]:
    """A network namespace that reaches the world through this machine."""
    name, net = f"ccci-engine-{wanted.number}", NETWORK.format(wanted.number)
    here, there = f"ccci{wanted.number}h", f"ccci{wanted.number}t"
    rules = (
        ("nat", "POSTROUTING", "--source", f"{net}.0/30", "!", "--out-interface", here, "--jump", "MASQUERADE"),
        ("filter", "FORWARD", "--in-interface", here, "--jump", "ACCEPT"),
        ("filter", "FORWARD", "--out-interface", here, "--jump", "ACCEPT"),
    )
    mtu = str(min(int(path.read_text(encoding="ascii")) for path in Path("/sys/class/net").glob("*/mtu")))
    inside = ("ip", "-netns", name)
    with ExitStack() as undo:
        undo.enter_context(FileLock(f"/run/{name}.lock"))
        if Path("/run/netns", name).exists():  # of one that was killed: nobody holds the lock
            _run("ip", "netns", "delete", name)
        undo.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", here, "mtu", mtu, "type", "veth", "peer", there, "mtu", mtu, "netns", name)
        _run("ip", "address", "add", f"{net}.1/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", f"{net}.2/30", "dev", there)
        _run(*inside, "link", "set", there, "up")
        _run(*inside, "route", "add", "default", "via", f"{net}.1")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
        for table, chain, *rule in rules:
            _run("iptables", "--table", table, "--insert", chain, *rule)
            undo.callback(_run, "iptables", "--table", table, "--delete", chain, *rule)
        yield name


_INSIDE = """\
set -eu
mkdir "$1"
mount --rbind /sys/fs/cgroup "$1"
mount --types sysfs sysfs /sys
mount --rbind "$1" /sys/fs/cgroup
umount --lazy "$1"
rmdir "$1"
mount --make-rshared /
shift
trap : INT
status=0
"$@" || status=$?
exit "$status"
"""
"""What is done in the namespaces: mounts reach the daemon, /sys is of the network there; the shell stays as init."""


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def main(argv: Sequence[str]) -> int:
    """The exit status of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, help="the state directory, which is kept")
    parser.add_argument("engine", choices=ENGINES, help="the major version")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run; without one, a shell")
    args = parser.parse_args(argv)
    wanted = ENGINES[args.engine]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and so undo what was made
    root = unpack(wanted)
    with ExitStack() as undo:
        name = undo.enter_context(_network(wanted))
        state = args.state or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix=f"ccci-{wanted.number}-")))
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {
            **{key: value for key, value in os.environ.items() if key not in {"DOCKER_HOST", "DOCKER_CONTEXT"}},
            "PATH": f"{root / 'first'}:{os.environ['PATH']}",
            "CCCI_STATE_DIR": str(state.resolve()),
        }
        command = args.command or [os.environ.get("SHELL", "/bin/sh")]
        undo.callback(lambda: shutil.rmtree(state, ignore_errors=True) if args.state is None else None)
        done = subprocess.run(
            [
                *("nsenter", f"--net=/run/netns/{name}"),
                *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", _INSIDE, "sh", f"/run/{name}", *command),
            ],
            env=environment,
            check=False,
        )
        print(f"Docker {wanted.number} ({wanted.suite}): {shlex.join(command)}: {done.returncode}")  # noqa: T201  by hand
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
