#!/bin/sh
# install.sh PREFIX [BUILT]: installs the library, its header and its pkg-config files under PREFIX. Without BUILT, a directory that has
# libnccl.so and libnccl.a, they are built first.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: install.sh PREFIX [BUILT]" >&2
    exit 2
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
built=${2:-}
if [ -z "$built" ]; then
    cargo build --release --locked --manifest-path "$here/Cargo.toml"
    built=${CARGO_TARGET_DIR:-$here/../target}/release
fi

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
cp "$here/include/nccl.h" "$prefix/include/"
# Programs that run keep the old file; what is copied over would change under them.
rm -f "$prefix/lib/libnccl.so.2"
cp "$built/libnccl.so" "$prefix/lib/libnccl.so.2"
ln -sf libnccl.so.2 "$prefix/lib/libnccl.so"
cp "$built/libnccl.a" "$prefix/lib/libnccl_static.a"
for name in nccl nccl-static; do
    sed "s|@PREFIX@|$prefix|" "$here/$name.pc.in" >"$prefix/lib/pkgconfig/$name.pc"
done
echo "installed under $prefix"
