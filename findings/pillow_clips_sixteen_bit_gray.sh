#!/usr/bin/env bash
# Pillow 9.4.0 (Debian 12, python3-pil 9.4.0-1.1+deb12u1): the same 16-bit samples become two different images.
#
# A PNG of 16 bits a sample holds 0, 100, 255, 256, 1000, 4095, 32768, 65535 once as gray and once as equal red, green and blue.
# Image.open(file).convert("RGB"), which is how torchvision's ImageFolder loads every image, gives
#   gray   0 100 255 255 255 255 255 255      the value, clipped at 255: all but the darkest 0.4 % is white
#   colour 0   0   0   1   3  15 128 255      the high byte
# Nothing is raised or warned of. The gray file opens in mode "I" (32-bit integers), which convert() clips; the colour file is
# reduced to 8 bits while it is decoded. So a set of 16-bit gray scans trains on white images, and equal weights see other images
# through a decoder that scales.
#   bash findings/pillow_clips_sixteen_bit_gray.sh        needs apt's package lists (apt-get update), network; fails if it changes
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq python3-pil=9.4.0-1.1+deb12u1 libimagequant0 libjpeg62-turbo libopenjp2-7 libtiff6 libwebp7 libzstd1 liblzma5 \
  liblerc4 libjbig0 libdeflate0 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 zlib1g 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done

found=$(PYTHONPATH=root/usr/lib/python3/dist-packages \
  LD_LIBRARY_PATH=root/usr/lib/x86_64-linux-gnu:root/lib/x86_64-linux-gnu /usr/bin/python3 - <<'PYTHON'
import struct
import zlib

import PIL
from PIL import Image

SAMPLES = [0, 100, 255, 256, 1000, 4095, 32768, 65535]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path, colour_type, samples_a_pixel):
    row = b"".join(struct.pack(">H", sample) * samples_a_pixel for sample in SAMPLES)
    header = struct.pack(">IIBBBBB", len(SAMPLES), 1, 16, colour_type, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b""))


print("Pillow", PIL.__version__)
for name, colour_type, samples_a_pixel in (("gray", 0, 1), ("colour", 2, 3)):
    write_png(name + ".png", colour_type, samples_a_pixel)
    image = Image.open(name + ".png")
    print(name, image.mode, *[red for red, _, _ in image.convert("RGB").getdata()])
PYTHON
)
echo "$found"
[ "$found" = "Pillow 9.4.0
gray I 0 100 255 255 255 255 255 255
colour RGB 0 0 0 1 3 15 128 255" ]
