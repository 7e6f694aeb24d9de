#!/bin/sh
# Get Fashion-MNIST into a folder: what is there, a system copy or torchvision's download; else Debian's package,
# fetched and unpacked as any user, with package lists of its own if the machine has none.
set -u
folder=${1:-data}
command=${FASHION_GAN:-.venv/bin/fashion-gan}
said=$(mktemp) && work=$(mktemp -d) || exit 2
trap 'rm -rf "$said" "$work"' EXIT

if "$command" data --folder "$folder" 2>"$said"; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then cat "$said" >&2; exit 2; fi
echo "trying Debian's package dataset-fashion-mnist (31 MB)"
set --
if ! apt-cache show dataset-fashion-mnist >/dev/null 2>&1; then
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    set -- -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache"
    apt-get "$@" -q update >"$work/log" 2>&1
fi
chmod 755 "$work"
if (cd "$work" && apt-get "$@" -q download dataset-fashion-mnist >>"$work/log" 2>&1) && dpkg -x "$work"/*.deb "$work/out"; then
    mkdir -p "$folder/FashionMNIST/raw" || exit 2
    for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        gzip -dc "$work/out/usr/share/datasets/fashion-mnist/$name-ubyte.gz" >"$work/part" || exit 2
        cp "$work/part" "$folder/FashionMNIST/raw/.$name.part" && mv "$folder/FashionMNIST/raw/.$name.part" "$folder/FashionMNIST/raw/$name-ubyte" || exit 2
    done
    "$command" data --folder "$folder"
else
    cat "$said" >&2
    echo "error: Debian's package was not reachable either; put the four files (*-ubyte) into $folder/FashionMNIST/raw" >&2
    exit 2
fi
