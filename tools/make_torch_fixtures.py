#!/usr/bin/env python3
"""Writes tests/golden/torch-protocols/protocol{2,3,4,5}.pt: what torch.save writes, without needing torch.

Python's own pickle and zipfile do the writing; stand-ins for torch's classes make the pickle name the same globals, in
the same shapes, as a file by torch.save. It is there for the readers' tests: every pickle protocol as a real pickler
writes it (frames, memo opcodes, STACK_GLOBAL), and every kind of view.
"""
import collections
import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile

torch = types.ModuleType("torch")
torch_utils = types.ModuleType("torch._utils")
torch_storage = types.ModuleType("torch.storage")
sys.modules.update({"torch": torch, "torch._utils": torch_utils, "torch.storage": torch_storage})


def define(module, name, value):
    value.__module__ = module.__name__
    value.__qualname__ = value.__name__ = name
    setattr(module, name, value)


for storage_class in ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "BoolStorage"):
    define(torch, storage_class, type(storage_class, (), {}))
define(torch_storage, "UntypedStorage", type("UntypedStorage", (), {}))
for function in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"):
    define(torch_utils, function, eval("lambda *arguments: None"))


class Dtype:
    def __init__(self, name):
        self.name = name
        self.__module__ = "torch"
        setattr(torch, name, self)

    def __reduce__(self):
        return self.name


class Storage:
    def __init__(self, cls, key, elements, data):
        self.cls, self.key, self.elements, self.data = cls, key, elements, data


class Tensor:
    def __init__(self, storage, offset, shape, strides, dtype=None):
        self.arguments = [storage, offset, shape, strides, False, collections.OrderedDict()]
        self.dtype = dtype

    def __reduce_ex__(self, protocol):
        if self.dtype:
            return torch_utils._rebuild_tensor_v3, (*self.arguments, self.dtype)
        return torch_utils._rebuild_tensor_v2, tuple(self.arguments)


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return torch_utils._rebuild_parameter, (self.tensor, True, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return "storage", obj.cls, obj.key, "cpu", obj.elements
        return None


def checkpoint(protocol):
    floats = Storage(torch.FloatStorage, "0", 24, struct.pack("<24f", *range(24)))
    longs = Storage(torch.LongStorage, "1", 3, struct.pack("<3q", -1, 2**40, 7))
    brain = Storage(torch.BFloat16Storage, "2", 4, struct.pack("<4H", 0x3F80, 0x4000, 0x4040, 0x4080))
    empty = Storage(torch.FloatStorage, "3", 0, b"")
    bools = Storage(torch.BoolStorage, "4", 2, b"\1\0")
    raw = Storage(torch_storage.UntypedStorage, "5", 8, struct.pack("<4e", 1, 2, 3, 4))
    state = collections.OrderedDict()
    state["plain"] = Tensor(floats, 0, (4, 6), (6, 1))
    state["tied"] = Tensor(floats, 0, (4, 6), (6, 1))
    state["transposed"] = Tensor(floats, 0, (6, 4), (1, 6))
    state["row"] = Tensor(floats, 6, (6,), (1,))
    state["column"] = Tensor(floats, 1, (4,), (6,))
    state["cube"] = Tensor(floats, 0, (2, 3, 4), (12, 1, 3))
    state["expanded"] = Tensor(floats, 5, (3, 2), (0, 1))
    state["scalar"] = Parameter(Tensor(floats, 23, (), ()))
    state["longs"] = Tensor(longs, 0, (3,), (1,))
    state["brain"] = Parameter(Tensor(brain, 0, (2, 2), (2, 1)))
    state["empty"] = Tensor(empty, 0, (0, 5), (5, 1))
    state["bools"] = Tensor(bools, 0, (2,), (1,))
    state["raw"] = Tensor(raw, 0, (4,), (1,), Dtype("float16"))
    state["nothing"] = None
    state["head._extra_state"] = {"version": 1}
    state._metadata = collections.OrderedDict([("", {"version": 1}), ("head", {"version": 2})])
    whole = {"epoch": 3, "rate": 1e-4, "big": 2**62 - 1, "negative": -(2**40), "names": ["a", "b"], "pair": (1, (2, 3)),
             "one": (1,), "yes": True, "no": False, "none": None, "deep": {"deeper": {1: [[]], -5: {}}},
             "long text": "\u00e4" * 300, "state_dict": state}
    whole["itself"] = whole
    if protocol >= 3:
        whole["bytes"] = b"\0\1" * 200
    return whole, [floats, longs, brain, empty, bools, raw]


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/torch-protocols"
    folder.mkdir(parents=True, exist_ok=True)
    for protocol in (2, 3, 4, 5):
        whole, storages = checkpoint(protocol)
        pickled = io.BytesIO()
        Pickler(pickled, protocol=protocol).dump(whole)
        with zipfile.ZipFile(folder / f"protocol{protocol}.pt", "w", zipfile.ZIP_STORED) as archive:
            def add(name, data):
                archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)

            add("data.pkl", pickled.getvalue())
            add("byteorder", b"little")
            for storage in storages:
                add(f"data/{storage.key}", storage.data)
            add("version", b"3\n")


if __name__ == "__main__":
    main()
