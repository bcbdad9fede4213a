"""The safetensors reader and writer: what is written is read, and what breaks the format is refused."""

import json
import os
import struct
import tempfile
import unittest
from pathlib import Path

import numpy as np

import safetensors_io


def file_of(header, data_bytes):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data_bytes)


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class SafetensorsIo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "file.safetensors"

    def test_reads_what_it_wrote(self):
        tensors = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "count": np.array(7, dtype=np.int64),
                   "none": np.zeros((0, 4), dtype=np.float32), "half": np.ones(3, dtype=np.float16)}

        safetensors_io.write(self.path, tensors, {"format": "pt"})
        read, metadata = safetensors_io.read(self.path)

        self.assertEqual(list(read), list(tensors))
        self.assertEqual(metadata, {"format": "pt"})
        for name, array in tensors.items():
            self.assertEqual(read[name].dtype, array.dtype)
            np.testing.assert_array_equal(read[name], array)

    def test_widens_bf16(self):
        self.path.write_bytes(file_of({"x": entry(0, 4, [2], "BF16")}, 0) + struct.pack("<HH", 0x3F80, 0xC000))

        np.testing.assert_array_equal(safetensors_io.read(self.path)[0]["x"], np.array([1.0, -2.0], dtype=np.float32))

    def test_takes_ranges_in_any_order(self):
        self.path.write_bytes(file_of({"b": entry(4, 8, [1]), "a": entry(0, 4, [])}, 0) + struct.pack("<ff", 1.0, 2.0))

        tensors, _ = safetensors_io.read(self.path)

        self.assertEqual((float(tensors["a"]), float(tensors["b"][0])), (1.0, 2.0))

    def test_refuses_files_that_break_the_format(self):
        broken = {
            "at least 8 bytes": b"abc",
            "truncated or another format": struct.pack("<Q", 1 << 40) + b"{}",
            "not JSON": file_of(b"{nonsense", 0),
            "repeated keys": file_of(b'{"a":1,"a":2}', 0),
            "not a JSON object": file_of(b"[]", 0),
            "expected dtype, shape": file_of({"a": {"dtype": "F32"}}, 0),
            "unknown type": file_of({"a": entry(0, 4, [1], "F4")}, 4),
            "are not sizes": file_of({"a": entry(0, 4, [-1])}, 4),
            "bytes for shape": file_of({"a": entry(0, 4, [2])}, 4),
            "begins at 2": file_of({"a": entry(0, 4, [1]), "b": entry(2, 6, [1])}, 6),
            "begins at 8": file_of({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, 12),
            "tensors end at 4": file_of({"a": entry(0, 4, [1])}, 3),
            "the data has 5": file_of({"a": entry(0, 4, [1])}, 5),
        }
        for message, content in broken.items():
            with self.subTest(message):
                self.path.write_bytes(content)

                with self.assertRaisesRegex(safetensors_io.FormatError, message):
                    safetensors_io.read(self.path)

    def test_refuses_to_write_a_type_without_a_name(self):
        with self.assertRaises(safetensors_io.FormatError):
            safetensors_io.write(self.path, {"x": np.zeros(2, dtype=np.complex64)})
        self.assertFalse(self.path.exists())

    @unittest.skipUnless(os.environ.get("DTRAIN_TEST_DATA"), "DTRAIN_TEST_DATA is not set")
    def test_reads_files_of_other_programs(self):
        files = sorted(Path(os.environ["DTRAIN_TEST_DATA"]).glob("weights/**/*.safetensors"))

        self.assertTrue(files)
        for path in files:
            tensors, _ = safetensors_io.read(path)
            self.assertTrue(tensors and all(np.isfinite(array).all() for array in tensors.values()), path)


if __name__ == "__main__":
    unittest.main()
