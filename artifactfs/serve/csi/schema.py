"""The messages of CSI that the plugin uses: names and field numbers of the specification, built when it starts.

`csi.proto` beside this file says the same in the specification's language; a test compares every field.

Threading: immutable. Source: Container Storage Interface 1.11, csi.proto.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

PACKAGE: Final = "csi.v1"
_FILE: Final = "csi.proto"
_BOOL_VALUE: Final = "google.protobuf.BoolValue"

# Each field: name, number, type. `map` is string to string; `*` before a type means repeated; `|` after a number puts
# the field into the oneof of its message.
MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "GetPluginInfoRequest": (),
    "GetPluginInfoResponse": ("name 1 string", "vendor_version 2 string", "manifest 3 map"),
    "GetPluginCapabilitiesRequest": (),
    "GetPluginCapabilitiesResponse": ("capabilities 1 *PluginCapability",),
    "PluginCapability": ("service 1| PluginCapability.Service",),
    "PluginCapability.Service": ("type 1 PluginCapability.Service.Type",),
    "ProbeRequest": (),
    "ProbeResponse": (f"ready 1 {_BOOL_VALUE}",),
    "VolumeCapability": (
        "block 1| VolumeCapability.BlockVolume",
        "mount 2| VolumeCapability.MountVolume",
        "access_mode 3 VolumeCapability.AccessMode",
    ),
    "VolumeCapability.BlockVolume": (),
    "VolumeCapability.MountVolume": ("fs_type 1 string", "mount_flags 2 *string", "volume_mount_group 3 string"),
    "VolumeCapability.AccessMode": ("mode 1 VolumeCapability.AccessMode.Mode",),
    "NodePublishVolumeRequest": (
        "volume_id 1 string",
        "publish_context 2 map",
        "staging_target_path 3 string",
        "target_path 4 string",
        "volume_capability 5 VolumeCapability",
        "readonly 6 bool",
        "secrets 7 map",
        "volume_context 8 map",
    ),
    "NodePublishVolumeResponse": (),
    "NodeUnpublishVolumeRequest": ("volume_id 1 string", "target_path 2 string"),
    "NodeUnpublishVolumeResponse": (),
    "NodeGetVolumeStatsRequest": ("volume_id 1 string", "volume_path 2 string", "staging_target_path 3 string"),
    "NodeGetVolumeStatsResponse": ("usage 1 *VolumeUsage", "volume_condition 2 VolumeCondition"),
    "VolumeUsage": ("available 1 int64", "total 2 int64", "used 3 int64", "unit 4 VolumeUsage.Unit"),
    "VolumeCondition": ("abnormal 1 bool", "message 2 string"),
    "NodeGetCapabilitiesRequest": (),
    "NodeGetCapabilitiesResponse": ("capabilities 1 *NodeServiceCapability",),
    "NodeServiceCapability": ("rpc 1| NodeServiceCapability.RPC",),
    "NodeServiceCapability.RPC": ("type 1 NodeServiceCapability.RPC.Type",),
    "NodeGetInfoRequest": (),
    "NodeGetInfoResponse": ("node_id 1 string", "max_volumes_per_node 2 int64", "accessible_topology 3 Topology"),
    "Topology": ("segments 1 map",),
}
ENUMS: Final[dict[str, tuple[str, ...]]] = {
    "PluginCapability.Service.Type": ("UNKNOWN", "CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS"),
    "VolumeCapability.AccessMode.Mode": (
        "UNKNOWN",
        "SINGLE_NODE_WRITER",
        "SINGLE_NODE_READER_ONLY",
        "MULTI_NODE_READER_ONLY",
        "MULTI_NODE_SINGLE_WRITER",
        "MULTI_NODE_MULTI_WRITER",
        "SINGLE_NODE_SINGLE_WRITER",
        "SINGLE_NODE_MULTI_WRITER",
    ),
    "VolumeUsage.Unit": ("UNKNOWN", "BYTES", "INODES"),
    "NodeServiceCapability.RPC.Type": (
        "UNKNOWN",
        "STAGE_UNSTAGE_VOLUME",
        "GET_VOLUME_STATS",
        "EXPAND_VOLUME",
        "VOLUME_CONDITION",
        "SINGLE_NODE_MULTI_WRITER",
        "VOLUME_MOUNT_GROUP",
    ),
}
"""Values by their place in the list, from 0."""
SERVICES: Final[dict[str, tuple[str, ...]]] = {
    "Identity": ("GetPluginInfo", "GetPluginCapabilities", "Probe"),
    "Node": ("NodePublishVolume", "NodeUnpublishVolume", "NodeGetVolumeStats", "NodeGetCapabilities", "NodeGetInfo"),
}
"""The calls that are answered; of each, the messages are called NAMERequest and NAMEResponse."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {"string": _Field.TYPE_STRING, "bool": _Field.TYPE_BOOL, "int64": _Field.TYPE_INT64}


class Messages:
    """The classes of all messages, as attributes by index: `messages["ProbeRequest"]`. Immutable."""

    def __init__(self) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(describe_file().SerializeToString())
        self._classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES
        }

    def __getitem__(self, name: str) -> Any:
        return self._classes[name]


def describe_file() -> descriptor_pb2.FileDescriptorProto:
    """Return the description of all messages, as a compiler of `csi.proto` would make it."""
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        above, _, last = name.rpartition(".")
        message = made[above].nested_type.add() if above else file.message_type.add()
        message.name = last
        made[name] = message
        for field in fields:
            _add_field(message, name, field)
    for name, values in ENUMS.items():
        above, _, last = name.rpartition(".")
        enum = made[above].enum_type.add(name=last)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    return file


def _add_field(message: Any, owner: str, text: str) -> None:
    name, number, kind = text.split()
    field = message.field.add(name=name, number=int(number.rstrip("|")), label=_Field.LABEL_OPTIONAL)
    if number.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="access_type" if owner == "VolumeCapability" else "type")
        field.oneof_index = 0
    if kind == "map":
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for index, part in enumerate(("key", "value"), 1):
            entry.field.add(name=part, number=index, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        kind = f"*{owner}.{entry.name}"
    if kind.startswith("*"):
        field.label = _Field.LABEL_REPEATED
        kind = kind[1:]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_ENUM if kind in ENUMS else _Field.TYPE_MESSAGE
    field.type_name = f".{kind}" if kind == _BOOL_VALUE else f".{PACKAGE}.{kind}"
