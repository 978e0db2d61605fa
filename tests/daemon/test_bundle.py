"""The start script of a bundle, with the files of a real base image: as root, and as anybody else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import docker
import pytest

from tritonbuild.bundling import write_bundle
from tritonbuild.console import Console
from tritonbuild.engine import image_files
from tritonbuild.images import PullPolicy, ensure_base
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX

NOT_STARTED = 125
# Says that it is there, then waits, and tells how it was ended.
WAITS = "trap 'echo ended; exit 5' TERM; echo there; while :; do sleep 0.1; done"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming root, and nobody, takes root")


@pytest.fixture(scope="module")
def bundle(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the smallest base image, unpacked."""
    folder = tmp_path_factory.mktemp("bundles")
    with Console(quiet=True).step("bundle", "bundle") as step:
        base = ensure_base(engine, load_matrix(MATRIX).bases["debian-bookworm"], PullPolicy(), step)
        image = engine.images.get(base.image_id)
        with image_files(engine, image) as files:
            write_bundle(image, files, folder / "bundle", step, row="base", reference=base.name)
    for path in (folder, *folder.parents):
        if path != Path("/tmp") and path != Path("/"):
            path.chmod(0o755)
    assert run(folder / "bundle", "--unpack").returncode == 0
    return folder / "bundle"


def words(bundle: Path, *arguments: str, script: str | None = None) -> list[str]:
    return [str(bundle / "start.sh"), *arguments, *(["--", "sh", "-c", script] if script else [])]


def run(
    bundle: Path, *arguments: str, script: str | None = None, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Call the start script, with a script for the shell inside."""
    command = [*before, *words(bundle, *arguments, script=script)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd="/")


def start(bundle: Path, script: str = WAITS) -> subprocess.Popen[str]:
    """Call the start script and wait until the command inside is there."""
    process = subprocess.Popen(words(bundle, script=script), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "there\n"
    return process


def processes_below(bundle: Path) -> list[int]:
    """Return the processes whose root is in the bundle."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                root = (folder / "root").readlink()
            except OSError:
                continue
            if root.is_relative_to(bundle):
                found.append(int(folder.name))
    return found


def wait_until_gone(bundle: Path) -> list[int]:
    deadline = time.monotonic() + 10
    while processes_below(bundle) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_below(bundle)


def test_output_and_exit_code_are_those_of_the_command(bundle: Path) -> None:
    result = run(bundle, script="echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_command_sees_its_own_processes_and_devices_only(bundle: Path) -> None:
    result = run(
        bundle,
        script="echo $$; ls /dev; echo x > /dev/null; touch /dev/shm/y /tmp/z; ls /proc | grep -c '^[0-9]'",
    )
    lines = result.stdout.split()
    assert lines[0] == "1"
    assert {"null", "zero", "random", "urandom", "shm"} <= set(lines)
    assert "kmsg" not in lines
    assert int(lines[-1]) <= 4
    assert result.returncode == 0


def test_environment_is_the_images_and_what_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDED", "it's on")
    monkeypatch.setenv("SECRET", "of the host")
    options = ("--env", "MINE=a b\nc", "--env", "HANDED", "--env", "MISSING", "--workdir", "/usr")
    result = run(
        bundle, *options, script='printf "%s|" "$MINE" "$HANDED" "${SECRET-unset}" "${MISSING-unset}" "$PWD"'
    )
    assert result.stdout == "a b\nc|it's on|unset|unset|/usr|"


def test_user_can_be_chosen(bundle: Path) -> None:
    assert run(bundle, "--user", "1234", script="id -u; id -g").stdout.split() == ["1234", "0"]
    assert run(bundle, "--user", "1234:56", script="id -u; id -g").stdout.split() == ["1234", "56"]


def test_binds_show_files_of_the_host(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("here")
    options = ("--bind", f"{tmp_path}:/data", "--bind", f"{tmp_path}:/kept/there:ro")
    result = run(bundle, *options, script="cat '/data/a file'; touch /data/new; touch /kept/there/other")
    assert result.stdout == "here"
    assert "Read-only file system" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "new"]


def test_what_is_written_inside_is_gone_unless_it_is_kept(bundle: Path) -> None:
    run(bundle, script="echo changed > /etc/motd; touch /new")
    assert run(bundle, script="test -e /new || grep -q changed /etc/motd").returncode == 1
    run(bundle, "--keep", script="touch /new")
    assert run(bundle, script="test -e /new").returncode == 0
    (bundle / "rootfs/new").unlink()


def test_termination_reaches_the_command_and_leaves_nothing(bundle: Path) -> None:
    process = start(bundle)
    assert processes_below(bundle)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (5, "ended\n")
    assert wait_until_gone(bundle) == []
    assert str(bundle) not in Path("/proc/self/mountinfo").read_text()


def test_killing_the_script_kills_the_command(bundle: Path) -> None:
    process = start(bundle)
    process.kill()
    process.communicate(timeout=20)
    assert wait_until_gone(bundle) == []


def test_another_command_can_join(bundle: Path, tmp_path: Path) -> None:
    pid_file = str(tmp_path / "pid")
    arguments = ("--pid-file", pid_file, "--user", "1234")
    process = subprocess.Popen(
        words(bundle, *arguments, script=f"touch /tmp/mark; {WAITS}"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "there\n"
    result = run(bundle, "--join", pid_file, script="ls /tmp; id -u; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, "mark\n1234\n", "")
    process.terminate()
    process.communicate(timeout=20)
    assert run(bundle, "--join", pid_file, script="true").returncode == NOT_STARTED


def test_anybody_else_is_root_inside_with_their_own_rights(bundle: Path) -> None:
    if subprocess.run([*NOBODY, "unshare", "--user", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives users no namespaces")
    result = run(bundle, script="id -u; touch /new && echo wrote; cat /etc/shadow; exit 4", before=NOBODY)
    assert result.returncode == 4, result.stderr
    # The files are root's, as root has unpacked them.
    assert result.stdout.split()[0] == "0"
    assert "Permission denied" in result.stderr
    assert run(bundle, "--user", "5", script="true", before=NOBODY).returncode == NOT_STARTED


def test_anybody_can_unpack(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.mktemp("own")
    os.chown(own, 65534, 65534)
    root = str(own / "root")
    result = run(bundle, "--root", root, "--unpack", before=NOBODY)
    assert result.returncode == 0, result.stderr
    result = run(bundle, "--root", root, script="touch /new && echo wrote", before=NOBODY)
    assert result.stdout == "wrote\n", result.stderr


def test_damaged_archive_is_refused_and_nothing_is_unpacked(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("rootfs"))
    with (copy / "rootfs.tar.gz").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    result = run(copy, script="true")
    assert result.returncode == NOT_STARTED
    assert "rootfs.tar.gz is damaged" in result.stderr
    assert not list(copy.glob("rootfs*/"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--nonsense",), "unknown option --nonsense"),
        (("--bind", "/x"), "--bind: /x is not SRC:DST"),
        (("--bind", "/no/such/file:/x"), "/no/such/file does not exist"),
        (("--user", "root"), "--user: root is not UID"),
        (("--env", "1=2"), "--env: 1=2 is not NAME=VALUE"),
        (("--env",), "--env wants a value"),
        (("--join", "/no/such/file"), "nothing runs here"),
    ],
)
def test_mistakes_are_named(bundle: Path, arguments: tuple[str, ...], named: str) -> None:
    result = run(bundle, *arguments)
    assert result.returncode == NOT_STARTED
    assert named in result.stderr


def test_missing_command_is_told_as_shells_do(bundle: Path) -> None:
    assert (
        subprocess.run([*words(bundle), "--", "no-such-command"], capture_output=True, check=False).returncode
        == 127
    )
