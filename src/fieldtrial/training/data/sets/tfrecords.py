"""TFRecord files of tf.train.Example messages, read without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

LENGTH = struct.Struct("<QI")  # of the data that follows, and the check sum of these eight bytes
CHECK = struct.Struct("<I")  # of the data


def records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield position and content of each record in a TFRecord file, and check both of its check
    sums.

    Raises:
        ValueError: a record is damaged or cut off; the message says which.
    """
    size, number = path.stat().st_size, 0
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            start, length = file.tell(), 0
            if len(head) == LENGTH.size:
                length, check = LENGTH.unpack(head)
                if check != _masked(head[:8]):
                    raise ValueError(f"{path}: the head of record {number} is damaged")
            if start + length + CHECK.size > size:
                raise ValueError(f"{path} is cut off in record {number}")
            data = file.read(length)
            if CHECK.unpack(file.read(CHECK.size))[0] != _masked(data):
                raise ValueError(f"{path}: record {number} is damaged")
            yield start, data
            number += 1


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """Return the features of a serialised tf.train.Example: lists of bytes, floats or whole numbers
    by name.

    Raises:
        ValueError: it is none.
    """
    try:
        features = _EXAMPLE.FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from None
    values = {
        name: getattr(one, one.WhichOneof("kind")).value
        for name, one in features.items()
        if one.ListFields()
    }
    return {name: list(value) for name, value in values.items()}


def _masked(data: bytes) -> int:
    """Return the check sum that the format has: CRC-32C, rotated and shifted so that sums of sums
    do not cancel.
    """
    value = int(google_crc32c.value(data))
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _example_class() -> Any:
    """Return the message class of tf.train.Example, from its published definition."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="fieldtrial/example.proto", package="fieldtrial", syntax="proto3"
    )
    for list_name, kind in (("BytesList", "BYTES"), ("FloatList", "FLOAT"), ("Int64List", "INT64")):
        message = file.message_type.add(name=list_name)
        message.field.add(
            name="value",
            number=1,
            label=field.LABEL_REPEATED,
            type=field.Type.Value(f"TYPE_{kind}"),
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        type_name = ".fieldtrial." + name.title().replace("_", "")
        feature.field.add(
            name=name,
            number=number,
            label=1,
            type=field.TYPE_MESSAGE,
            type_name=type_name,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(
        name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True)
    )
    entry.field.add(name="key", number=1, label=1, type=field.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=1, type=field.TYPE_MESSAGE, type_name=".fieldtrial.Feature"
    )
    entry_name = ".fieldtrial.Features.FeatureEntry"
    features.field.add(
        name="feature",
        number=1,
        label=field.LABEL_REPEATED,
        type=field.TYPE_MESSAGE,
        type_name=entry_name,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        label=1,
        type=field.TYPE_MESSAGE,
        type_name=".fieldtrial.Features",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fieldtrial.Example"))


_EXAMPLE = _example_class()
