#!/usr/bin/env bash
# Pillow 9.4.0 (Debian 12, python3-pil 9.4.0-1.1+deb12u1): a JPEG file without its last two bytes is refused, one whose second half
# is zeros is not.
#
# A copy that is interrupted by a crash often keeps the file's length and has zeros where data were not yet on the disk. Of a
# baseline JPEG of noise:
#   as written                               loads
#   without the end marker (FF D9)           OSError: image file is truncated, though every pixel is there
#   second half zeros, end marker or none    loads, without an error or a warning; its lower rows are others than those written
# libjpeg warns of corrupt data in the last two cases, and Pillow does not pass that on. So torchvision's ImageFolder trains on half
# images; a decoder that takes libjpeg's warnings for errors names the file.
#   bash findings/pillow_takes_zeroed_jpeg_for_whole.sh    needs apt's package lists (apt-get update), network; fails if it changes
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq python3-pil=9.4.0-1.1+deb12u1 libimagequant0 libjpeg62-turbo libopenjp2-7 libtiff6 libwebp7 libzstd1 liblzma5 \
  liblerc4 libjbig0 libdeflate0 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 zlib1g 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done

found=$(PYTHONPATH=root/usr/lib/python3/dist-packages \
  LD_LIBRARY_PATH=root/usr/lib/x86_64-linux-gnu:root/lib/x86_64-linux-gnu /usr/bin/python3 -W error - <<'PYTHON'
import io

import PIL
from PIL import Image

SIDE = 64
noise, state = bytearray(), 1
for _ in range(SIDE * SIDE):
    state = (1103515245 * state + 12345) % 2**31
    noise.append(state >> 16 & 255)
file = io.BytesIO()
Image.frombytes("L", (SIDE, SIDE), bytes(noise)).save(file, "JPEG", quality=90)
whole = file.getvalue()
lower_rows = list(Image.open(io.BytesIO(whole)).convert("RGB").crop((0, SIDE - 8, SIDE, SIDE)).getdata())
half = len(whole) // 2
zeroed = whole[:half] + bytes(len(whole) - half)


def outcome(data):
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        return "OSError " + str(error).split(" (")[0]
    rows = list(image.crop((0, SIDE - 8, SIDE, SIDE)).getdata())
    return "loads, lower rows are " + ("as written" if rows == lower_rows else "others")


print("Pillow", PIL.__version__)
print("as written:", outcome(whole))
print("without the end marker:", outcome(whole[:-2]))
print("second half zeros:", outcome(zeroed[:-2] + whole[-2:]))
print("second half zeros, no end marker:", outcome(zeroed))
PYTHON
)
echo "$found"
[ "$found" = "Pillow 9.4.0
as written: loads, lower rows are as written
without the end marker: OSError image file is truncated
second half zeros: loads, lower rows are others
second half zeros, no end marker: loads, lower rows are others" ]
