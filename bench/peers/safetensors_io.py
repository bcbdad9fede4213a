"""Reads and writes safetensors files with numpy alone (Debian has no python3-safetensors).

Layout: u64 little-endian length of the header, header (JSON: name -> dtype, shape, data_offsets), tensor bytes.
Every structural rule of the format is checked on reading; checksums in the metadata are the writer's affair.
Source: the safetensors format description, https://github.com/huggingface/safetensors.
"""

import json
import math
import os
import struct

import numpy as np

NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
               "BOOL": "?"}
FORMAT_NAMES = {np.dtype(numpy_type): name for name, numpy_type in NUMPY_TYPES.items()}
MAX_HEADER_BYTES = 100_000_000


class FormatError(Exception):
    """The file is not a well-formed safetensors file."""


def read(path):
    """Returns (tensors, metadata): name -> array in file order, and str -> str. BF16 is widened to float32."""
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < 8:
        raise FormatError(f"{path}: expected at least 8 bytes, found {len(content)}")
    (header_bytes,) = struct.unpack_from("<Q", content)
    if header_bytes > min(MAX_HEADER_BYTES, len(content) - 8):
        raise FormatError(f"{path}: header of {header_bytes} bytes in a file of {len(content)}: truncated or another format")
    try:
        header = json.loads(content[8:8 + header_bytes].decode("utf-8"), object_pairs_hook=_unique)
    except ValueError as error:
        raise FormatError(f"{path}: header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise FormatError(f"{path}: header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    data = memoryview(content)[8 + header_bytes:]
    _check_ranges(path, header, len(data))
    return {name: _decode(path, name, entry, data) for name, entry in header.items()}, metadata


def write(path, tensors, metadata=None):
    """Writes name -> array (contiguous or not) in the given order, beside `path` first, then renamed."""
    header, end = {}, 0
    if metadata:
        header["__metadata__"] = {str(key): str(value) for key, value in metadata.items()}
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype not in FORMAT_NAMES:
            raise FormatError(f"{name}: type {array.dtype} has no name in the format")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": FORMAT_NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # tensor bytes begin at a multiple of 8
    temporary = f"{path}.writing"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())
    os.replace(temporary, path)


def _unique(pairs):
    names = [name for name, _ in pairs]
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise ValueError(f"repeated keys {sorted(repeated)}")
    return dict(pairs)


def _check_ranges(path, header, data_bytes):
    """Ranges fit type and shape, do not overlap, leave no gap, and end with the file."""
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise FormatError(f"{path}: {name}: expected dtype, shape and data_offsets, found {entry}")
        if entry["dtype"] != "BF16" and entry["dtype"] not in NUMPY_TYPES:
            raise FormatError(f"{path}: {name}: unknown type {entry['dtype']}")
        whole = entry["shape"] + entry["data_offsets"]
        if not all(isinstance(extent, int) and extent >= 0 for extent in whole) or len(entry["data_offsets"]) != 2:
            raise FormatError(f"{path}: {name}: shape {entry['shape']}, offsets {entry['data_offsets']} are not sizes")
        element_bytes = 2 if entry["dtype"] == "BF16" else np.dtype(NUMPY_TYPES[entry["dtype"]]).itemsize
        begin, end = entry["data_offsets"]
        if end - begin != math.prod(entry["shape"]) * element_bytes:
            raise FormatError(f"{path}: {name}: {end - begin} bytes for shape {entry['shape']} of {entry['dtype']}")
    position = 0
    for begin, end, name in sorted((*entry["data_offsets"], name) for name, entry in header.items()):
        if begin != position:
            raise FormatError(f"{path}: {name}: begins at {begin}, the previous tensor ends at {position}")
        position = end
    if position != data_bytes:
        raise FormatError(f"{path}: tensors end at {position}, the data has {data_bytes} bytes")


def _decode(path, name, entry, data):
    begin, end = entry["data_offsets"]
    if entry["dtype"] == "BF16":
        values = (np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data[begin:end], NUMPY_TYPES[entry["dtype"]])
    return values.reshape(entry["shape"]).copy()
