#!/bin/sh
# Starts what an image holds on a host without a container engine. Needs root, or a kernel that gives user
# namespaces to everybody; sh, tar, coreutils and util-linux. docs/bundles.md says how it is used.
#
# The script runs itself once for each stage: to unpack; in a mount namespace, to put together what is seen
# inside; in a process namespace, to watch; and as the first process of that, to become the command.
set -eu

if [ "${TRITON_BUNDLE_STAGE:-}" = watch ]; then
    # No program may be started here before the one that is watched: it would be the namespace's first.
    export TRITON_BUNDLE_STAGE=run
    child=''
    # On a terminal its keys reach all of us.
    if [ -t 0 ]; then trap : INT QUIT; else trap 'kill -INT "$child" 2>/dev/null || :' INT; fi
    trap 'kill -TERM "$child" 2>/dev/null || :' TERM
    trap 'kill -HUP "$child" 2>/dev/null || :' HUP
    exec 3<&0
    sh "$0" "$@" <&3 3<&- &
    child=$!
    exec 3<&-
    pid_file=${TRITON_BUNDLE_PID_FILE:-}
    [ -z "$pid_file" ] || printf '%s\n' "$child" >"$pid_file"
    while :; do
        code=0
        wait "$child" || code=$?
        kill -0 "$child" 2>/dev/null || break
    done
    [ -z "$pid_file" ] || : >"$pid_file"
    exit "$code"
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
# The image's settings: archive, sha256, user, workdir, and three lists of quoted words (environment,
# entrypoint, command).
. "$here/settings.sh"

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "error: $1"
    [ $# -lt 2 ] || say "hint: $2"
    exit 125
}
usage() {
    cat <<'END'
usage: start.sh [OPTION ...] [-- COMMAND ...]

Unpacks the image's files once, beside this script, and runs the image's own command in them, or COMMAND.
What is written inside is gone afterwards, unless it was written to a --bind.

  --bind SRC:DST[:ro]  show a file or folder of this host inside (repeat)
  --env NAME=VALUE     set a variable inside; NAME alone hands on this host's (repeat)
  --user UID[:GID]     whom to run as, as root only (default: the image's user; 0 is root)
  --workdir DIR        where to start inside (default: the image's)
  --shm-size SIZE      the most that /dev/shm holds, such as 2g (default: half of the memory)
  --no-network         no network inside but a loopback of its own
  --no-gpu             hand no NVIDIA GPU on
  --keep               keep what is written inside: change the unpacked files
  --root DIR           where the files are unpacked (default: rootfs beside this script)
  --unpack             only check the archive and unpack it
  --pid-file FILE      write the process id of COMMAND, for --join
  --join FILE          run COMMAND where another call with this --pid-file runs
  -h, --help           show this

Exit code: that of COMMAND; 125 when it could not be started.
END
}

# Put one word into quotes, for eval.
quote() { printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }
absolute() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$PWD/$1" ;;
    esac
}

original=
for word; do original="$original $(quote "$word")"; done
root=$here/rootfs binds='' extra='' keep='' gpu=yes network=yes size='' unpack='' pid_file='' join='' asked_user=''
while [ $# -gt 0 ]; do
    case $1 in
    --bind | --env | --user | --workdir | --shm-size | --root | --pid-file | --join)
        [ $# -ge 2 ] || fail "$1 wants a value" "see start.sh --help"
        case $1 in
        --bind)
            case $2 in
            ?*:/*) ;;
            *) fail "--bind: $2 is not SRC:DST[:ro]" "such as --bind /data/models:/models:ro" ;;
            esac
            binds="$binds $(quote "$(absolute "$2")")"
            ;;
        --env)
            case $2 in
            [A-Za-z_]*=*) extra="$extra $(quote "$2")" ;;
            *[!A-Za-z0-9_]* | [0-9]* | '') fail "--env: $2 is not NAME=VALUE" ;;
            *) eval "[ -z \"\${$2+set}\" ] || extra=\"\$extra \$(quote \"$2=\$$2\")\"" ;;
            esac
            ;;
        --user)
            case $2 in
            *[!0-9:]* | :* | *: | *:*:* | '') fail "--user: $2 is not UID or UID:GID" "numbers, such as --user 0" ;;
            *:*) asked_user=$2 ;;
            *) asked_user=$2:0 ;;
            esac
            ;;
        --workdir) workdir=$2 ;;
        --shm-size) size=$2 ;;
        --root) root=$(absolute "$2") ;;
        --pid-file) pid_file=$(absolute "$2") ;;
        --join) join=$2 ;;
        esac
        shift 2
        ;;
    --no-network) network='' && shift ;;
    --no-gpu) gpu='' && shift ;;
    --keep) keep=yes && shift ;;
    --unpack) unpack=yes && shift ;;
    -h | --help)
        usage
        exit 0
        ;;
    --)
        shift
        break
        ;;
    *) fail "unknown option $1" "a command stands behind --; see start.sh --help" ;;
    esac
done
driver=/usr/local/nvidia
libraries=$driver/lib64
stage=${TRITON_BUNDLE_STAGE:-}
me=${TRITON_BUNDLE_UID:-$(id -u)}
if [ "$me" != 0 ]; then
    [ -z "$asked_user" ] || fail "--user is for root only" "inside you are root, with your own rights on this host"
    user=0:0
elif [ -n "$asked_user" ]; then
    user=$asked_user
fi
has_gpu() { [ -n "$gpu" ] && [ -e /dev/nvidiactl ]; }

unpack_files() {
    [ ! -f "$root/.bundle" ] || [ "$(cat "$root/.bundle")" != "$sha256" ] || return 0
    # Brought unpacked, without the archive: taken as it is.
    [ -e "$here/$archive" ] || [ ! -d "$root/usr" ] || return 0
    [ ! -e "$root" ] || fail "$root is there, but not what $archive holds" "remove it, or name another folder: --root DIR"
    [ -f "$here/$archive" ] || fail "$here/$archive is missing" "copy the whole bundle"
    say "checking $archive"
    sum=$(sha256sum <"$here/$archive")
    [ "${sum%% *}" = "$sha256" ] || fail "$archive is damaged: its SHA-256 is not that of settings.sh" "copy it again"
    case $archive in
    *.gz) set -- -z ;;
    *.zst)
        command -v zstd >/dev/null || fail "zstd is not installed" "install it, or export the bundle with --compression gzip"
        set -- --use-compress-program=zstd
        ;;
    *) set -- ;;
    esac
    if [ "$me" = 0 ]; then
        set -- "$@" --numeric-owner --same-owner
        ! tar --help | grep -q -- --xattrs-include || set -- "$@" --xattrs '--xattrs-include=*'
    else
        # Device nodes are root's to make, and every file becomes the caller's.
        set -- "$@" --no-same-owner --anchored '--exclude=dev/*'
    fi
    partial=$root.partial.$$
    trap 'rm -rf "$partial"' EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$partial"
    say "unpacking to $root (once)"
    tar "$@" -p -x -f "$here/$archive" -C "$partial" || fail "$archive cannot be unpacked to $root" "is there room for $size_mb MB?"
    mkdir -p "$partial/proc" "$partial/sys" "$partial/dev" "$partial/tmp"
    rm -f "$partial/.dockerenv"
    printf '%s\n' "$sha256" >"$partial/.bundle"
    # Another call may have been faster.
    [ -f "$root/.bundle" ] || mv "$partial" "$root"
    rm -rf "$partial"
    trap - EXIT INT TERM HUP
}

# Show a file of the host inside, at the same or another path.
show() {
    if [ -d "$1" ]; then
        mkdir -p "$2"
    else
        mkdir -p "${2%/*}"
        [ -e "$2" ] || : >"$2"
    fi
    mount --rbind "$1" "$2"
}

show_devices() {
    mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
    for name in null zero full random urandom tty; do
        [ ! -e "/dev/$name" ] || show "/dev/$name" "$root/dev/$name"
    done
    for name in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
        ln -s "${name#*:}" "$root/dev/${name%%:*}"
    done
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o "mode=1777${size:+,size=$size}" shm "$root/dev/shm" || fail "no /dev/shm of size '$size'"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" 2>/dev/null || :
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
}

# The driver's libraries for programs: they belong to the kernel module of this host, no image has them.
find_driver() {
    names='lib(cuda|cudadebugger|nvidia-(ml|ptxjitcompiler|nvvm|nvvm70|gpucomp|cfg|allocator|opencl|pkcs11[a-z0-9-]*))\.so(\.[0-9.]+)?'
    {
        for ldconfig in ldconfig /sbin/ldconfig /usr/sbin/ldconfig; do
            ! command -v "$ldconfig" >/dev/null || {
                "$ldconfig" -p 2>/dev/null | sed -n 's/.*x86-64.* => //p'
                break
            }
        done
        for folder in $driver/lib64 $driver/lib /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib/wsl/lib /run/opengl-driver/lib; do
            ls -d "$folder"/lib*.so* 2>/dev/null || :
        done
    } | grep -E "/$names\$" || :
}

show_driver() {
    for device in /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/nvidia-uvm-tools /dev/nvidia-modeset /dev/nvidia-caps; do
        [ ! -e "$device" ] || show "$device" "$root$device"
    done
    found=$(find_driver)
    case $found in
    *libcuda.so*) ;;
    *) fail "this host has NVIDIA devices, but no libcuda.so of their driver is found" "add its folder to /etc/ld.so.conf.d and run ldconfig, or --no-gpu" ;;
    esac
    # Before the folder is hidden, which the host may have under the same name; the mounts are ours alone.
    mkdir -p "$root$driver"
    mount -t tmpfs -o mode=755,size=4m driver "$root$driver"
    mkdir "$root$libraries" "$root$driver/bin"
    for library in $found; do
        name=${library##*/}
        [ ! -e "$root$libraries/$name" ] || continue
        show "$(readlink -f "$library")" "$root$libraries/$name"
    done
    for program in nvidia-smi $driver/bin/nvidia-smi; do
        path=$(command -v "$program" 2>/dev/null) || continue
        show "$(readlink -f "$path")" "$root$driver/bin/nvidia-smi"
        break
    done
    if [ -z "$keep" ] && [ -x "$root/sbin/ldconfig" ]; then
        # Some ask ldconfig for libcuda instead of the loader.
        printf '%s\n' "$libraries" >"$root/etc/ld.so.conf.d/000-host-driver.conf"
        chroot "$root" /sbin/ldconfig 2>/dev/null || :
    fi
}

# In a mount namespace of our own: what is mounted here, nobody else sees, and it ends with us.
mount_all() {
    if [ -z "$keep" ]; then
        [ -d "$root/tmp" ] || fail "$root has no /tmp"
        mount -t tmpfs -o mode=755 changes "$root/tmp"
        mkdir "$root/tmp/upper" "$root/tmp/work"
        chmod 755 "$root/tmp/upper"
        layers="lowerdir=$root,upperdir=$root/tmp/upper,workdir=$root/tmp/work"
        mount -t overlay -o "$layers" overlay "$root" 2>/dev/null ||
            mount -t overlay -o "$layers,userxattr" overlay "$root" 2>/dev/null ||
            {
                say "warning: this kernel gives no overlay here; what is written inside stays in $root"
                umount "$root/tmp"
                keep=yes
            }
    fi
    mount --rbind /sys "$root/sys"
    mount -o remount,bind,ro "$root/sys" 2>/dev/null || :
    show_devices
    ! has_gpu || show_driver
    for file in /etc/hosts /etc/resolv.conf; do
        [ ! -f "$file" ] || [ -L "$root$file" ] || show "$file" "$root$file"
    done
    eval "set -- $binds"
    for bind; do
        source=${bind%%:/*} target=/${bind#*:/} mode=''
        case $target in *:ro) mode=ro target=${target%:ro} ;; esac
        [ -e "$source" ] || fail "--bind: $source does not exist"
        show "$source" "$root$target"
        [ -z "$mode" ] || mount -o remount,bind,ro "$root$target" || fail "--bind: $target cannot be made read-only"
    done
}

# Words that start a command inside, with the image's environment and as its user.
inside() {
    words="/usr/bin/env -i --default-signal=INT,QUIT,TERM,HUP $environment HOSTNAME=$(quote "$(uname -n)")"
    # Whoever is not the first process of its own reaps nothing, unless told to.
    words="$words TINI_SUBREAPER=1${TERM:+ TERM=$(quote "$TERM")}"
    if has_gpu; then
        # What a batch system chose for us, unless told otherwise.
        words="$words${CUDA_VISIBLE_DEVICES:+ CUDA_VISIBLE_DEVICES=$(quote "$CUDA_VISIBLE_DEVICES")}"
        words="$words LD_LIBRARY_PATH=$libraries${image_libraries:+:$(quote "$image_libraries")} PATH=$(quote "$image_path:$driver/bin")"
    fi
    printf '%s\n' "$words $extra sh -c 'cd \"\$0\" && exec \"\$@\"' $(quote "$workdir")"
}

case $stage in
'')
    for program in unshare mount chroot tar sha256sum nsenter; do
        command -v "$program" >/dev/null || fail "$program is not installed" "it comes with util-linux, coreutils or tar"
    done
    if [ -n "$join" ]; then
        [ -s "$join" ] || fail "nothing runs here: there is no $join"
        pid=$(cat "$join")
        [ -d "/proc/$pid" ] || fail "process $pid, which $join names, has ended"
        [ $# -gt 0 ] || fail "--join wants a command" "such as --join FILE -- sh"
        # It is inside once its root is another, and a moment later it has its own user.
        while [ "$(readlink "/proc/$pid/root")" = / ]; do sleep 0.1; done
        sleep 0.1
        [ -n "$asked_user" ] || user=$(sed -n 's/^[UG]id:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status" | paste -s -d:)
        eval "set -- $(inside) \"\$@\""
        if [ "$me" = 0 ]; then
            exec nsenter --target "$pid" --mount --pid --net --root --wd --setuid "${user%:*}" --setgid "${user#*:}" "$@"
        fi
        # Into the host's own network nobody has to be let.
        [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] || set -- --net "$@"
        exec nsenter --target "$pid" --user --preserve-credentials --mount --pid --root --wd "$@"
    fi
    unpack_files
    [ -z "$unpack" ] || exit 0
    export TRITON_BUNDLE_STAGE=mount TRITON_BUNDLE_UID="$me"
    eval "set -- $original"
    if [ "$me" = 0 ]; then
        exec unshare --mount sh "$here/start.sh" "$@"
    fi
    unshare --user --map-root-user --mount true 2>/dev/null ||
        fail "this kernel gives you no user namespace" "ask for kernel.unprivileged_userns_clone or AppArmor's userns, or run it as root"
    exec unshare --user --map-root-user --mount sh "$here/start.sh" "$@"
    ;;
mount)
    mount_all
    export TRITON_BUNDLE_STAGE=watch TRITON_BUNDLE_PID_FILE="$pid_file"
    eval "set -- $original"
    # This process stays; its first child becomes the first process of the new namespace.
    if [ -z "$network" ]; then
        exec unshare --pid --net sh "$here/start.sh" "$@"
    fi
    exec unshare --pid sh "$here/start.sh" "$@"
    ;;
run)
        mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc" || fail "/proc cannot be mounted"
    if [ -z "$network" ]; then
        # The host need not have `ip`; every image has a Python. 0x8914 is SIOCSIFFLAGS, 1 is IFF_UP.
        up='import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))'
        env -i PATH="$image_path" chroot "$root" python3 -I -S -c "$up" || fail "the loopback cannot be brought up"
    fi
    if [ $# -eq 0 ]; then
        eval "set -- $entrypoint $command"
    else
        eval "set -- $entrypoint \"\$@\""
    fi
    # Dies with whoever watches it, so that nothing is left behind a kill -9.
    [ ! -x "$root/usr/bin/setpriv" ] || set -- setpriv --pdeathsig KILL "$@"
    eval "set -- $(inside) \"\$@\""
    if [ "$me" = 0 ]; then
        exec chroot --userspec="$user" --groups="${user#*:}" "$root" "$@"
    fi
    exec chroot "$root" "$@"
    ;;
esac
