"""TFRecord files of tf.train.Example messages, read without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

LENGTH = struct.Struct("<QI")  # of the data that follows, and the check sum of these eight bytes
MOST_BYTES = 64 << 20  # of a record, which is a photo with its label
CHECK = struct.Struct("<I")  # of the data


def records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield position and content of each record in a TFRecord file; both check sums are checked.

    Raises:
        ValueError: a record is damaged, cut off or too long; the message says which.
    """
    size, number = path.stat().st_size, 0
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            start, length = file.tell(), 0
            if len(head) == LENGTH.size:
                length, check = LENGTH.unpack(head)
                if check != _masked(head[:8]):
                    raise ValueError(f"{path}: the head of record {number} is damaged")
            if length > MOST_BYTES:
                raise ValueError(
                    f"{path}: record {number} has {length:,} bytes; must be at most {MOST_BYTES:,}"
                )
            if start + length + CHECK.size > size:
                raise ValueError(f"{path} is cut off in record {number}")
            data = file.read(length)
            if CHECK.unpack(file.read(CHECK.size))[0] != _masked(data):
                raise ValueError(f"{path}: record {number} is damaged")
            yield start, data
            number += 1


def parse_example(data: bytes) -> dict[str, list[Any]]:
    """Return the features of a serialised tf.train.Example by name: bytes, floats or integers.

    Raises:
        ValueError: `data` is no such message.
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
    """Return the format's check sum: CRC-32C, rotated and shifted so that nested sums differ."""
    value = int(google_crc32c.value(data))
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _example_class() -> Any:
    """Return the message class of tf.train.Example, from its published definition."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="fieldtrial/example.proto", package="fieldtrial", syntax="proto3"
    )

    def add(message: Any, name: str, number: int, kind: str, label: int = 1, **more: Any) -> None:
        """Add a field to `message`: of a basic type, such as BYTES, or of one of these messages."""
        if kind.isupper():
            more["type"] = field.Type.Value(f"TYPE_{kind}")
        else:
            more |= {"type": field.TYPE_MESSAGE, "type_name": f".fieldtrial.{kind}"}
        message.field.add(name=name, number=number, label=label, **more)

    feature = descriptor_pb2.DescriptorProto(name="Feature")
    feature.oneof_decl.add(name="kind")
    basic = (("bytes", "BYTES"), ("float", "FLOAT"), ("int64", "INT64"))
    for number, (name, kind) in enumerate(basic, start=1):
        values = file.message_type.add(name=f"{name.title()}List")
        add(values, "value", 1, kind, field.LABEL_REPEATED)
        add(feature, f"{name}_list", number, f"{name.title()}List", oneof_index=0)
    features = descriptor_pb2.DescriptorProto(name="Features")
    entry = features.nested_type.add(
        name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True)
    )
    add(entry, "key", 1, "STRING")
    add(entry, "value", 2, "Feature")
    add(features, "feature", 1, "Features.FeatureEntry", field.LABEL_REPEATED)
    example = descriptor_pb2.DescriptorProto(name="Example")
    add(example, "features", 1, "Features")
    file.message_type.extend([feature, features, example])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fieldtrial.Example"))


_EXAMPLE = _example_class()
