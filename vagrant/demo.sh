#!/bin/bash
# The main job on real photographs: put, mount, read with ordinary tools, stage, change, commit, read again.
# Run it with `make demo`. It works in a temporary directory of its own and leaves nothing behind.
# shellcheck disable=SC2016 # `show` is given a command as it is typed, and expands it itself
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${VENV:-$root/.venv}
work=$(mktemp -d "${TMPDIR:-/tmp}/artifactfs-demo.XXXXXX")
mnt=$work/mnt

mounts_below() {
    # /proc/self/mounts writes a space as \040; mktemp makes none.
    awk -v top="$work/" 'index($2, top) == 1 { print $2 }' /proc/self/mounts | sort -r
}

clean_up() {
    status=$?
    trap - EXIT
    cd /
    [ "$status" -eq 0 ] || printf '\nThe demo failed; `artifactfs doctor` says:\n%s\n' "$(artifactfs doctor 2>&1 || true)" >&2
    artifactfs umount "$mnt" >/dev/null 2>&1 || true
    mounts_below | while read -r place; do
        umount -l "$place" 2>/dev/null || fusermount3 -u -z "$place" || true
    done
    if [ -z "$(mounts_below)" ]; then
        rm -rf --one-file-system "$work"
    else
        printf 'still mounted, so left behind: %s\n' "$work" >&2
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    printf '\n== %s\n' "$*"
}

# Print a shell command as a person would type it, then run it.
show() {
    printf '$ %s\n' "$1"
    eval "$1"
}

# Nothing of the demo touches the user's own repository, state or configuration.
export ARTIFACTFS_REPO=$work/repository ARTIFACTFS_AUTHOR=demo
export XDG_DATA_HOME=$work/data XDG_STATE_HOME=$work/state XDG_CACHE_HOME=$work/cache
export XDG_CONFIG_HOME=$work/config XDG_RUNTIME_DIR=$work/run
export PATH=$venv/bin:$PATH PAGER=cat LC_ALL=C.UTF-8
mkdir -p "$mnt" "$work/here/images"
mkdir -m 700 "$XDG_RUNTIME_DIR"
cd "$work/here"

photos=$(python -c 'import importlib.util as u, pathlib as p; print(p.Path(u.find_spec("skimage").origin).parent / "data")')
cp "$photos/chelsea.png" images/cat.png
cp "$photos/coffee.png" "$photos/rocket.jpg" images/

echo "artifactfs demo, in $work"
echo "The photographs are those of the scikit-image package; the mount point is called \$mnt here."

step "Commit a directory: a new collection, version v0"
show 'ls -l images'
show 'artifactfs put animals images --type dataset -m "first photographs"'
show 'artifactfs ls'

step "Mount everything, and read it with ordinary tools"
show 'artifactfs mount "$mnt"'
show 'ls -l "$mnt" "$mnt/animals"'
show 'ls -l "$mnt/animals/latest/images"'
show 'sha256sum images/cat.png "$mnt/animals/latest/images/cat.png"'
show 'diff -r images "$mnt/animals/v0/images" && echo "no difference"'
show 'cp "$mnt/animals/latest/images/cat.png" copied.png && cmp copied.png images/cat.png && echo "the same bytes"'
show 'touch "$mnt/animals/v0/images/new" || echo "a version never changes"'

step "Change it: a staging directory is a writable view of the version"
show 'artifactfs stage animals'
show 'cp "$photos/astronaut.png" "$mnt/animals/@staging/images/"'
show 'mv "$mnt/animals/@staging/images/coffee.png" "$mnt/animals/@staging/images/breakfast.png"'
show 'rm "$mnt/animals/@staging/images/rocket.jpg"'
show 'echo "a cat, a breakfast and an astronaut" > "$mnt/animals/@staging/README"'
show 'ls -l "$mnt/animals/@staging/images"'
show 'artifactfs status animals'
show 'artifactfs diff animals:@staging'

step "Commit: only what changed is stored, and the mount shows the new version at once"
show 'artifactfs commit animals -m "an astronaut instead of a rocket"'
show 'ls -l "$mnt/animals"'
show 'ls -l "$mnt/animals/latest/images"'
show 'cat "$mnt/animals/latest/README"'
show 'sha256sum "$photos/astronaut.png" "$mnt/animals/latest/images/astronaut.png"'
show 'ls "$mnt/animals/v0/images"'
show 'artifactfs diff animals:v0 animals:v1'
show 'artifactfs log animals'

step "Check every byte of it, and unmount"
show 'artifactfs verify animals:v1'
show 'artifactfs umount "$mnt"'

echo
echo "Done. Everything above was in $work, which is now removed."
