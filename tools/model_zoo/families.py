"""The families of gluoncv's models, by their names, and the order in which `tools/zoo.py` tries them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_NAME = re.compile(
    r"alpha_pose|center_net|cifar_[a-z]+|custom_(?:faster|mask)_rcnn_fpn|deeplab_v3b_plus|doublehead_rcnn"
    r"|(?:faster|mask)_rcnn(?:_fpn)?|i3d_(?:inception|nl|slow)|inceptionv\d|mobile_pose|mobilenet(?:v\d)?|monodepth2"
    r"|[cip]3d|r2plus1d|se_[a-z]+|simple_pose|yolo3|[a-z]+"
)
_VARIANT = re.compile(r"(?<=resnet)(?:\d+)((?:_v\d[b-s]?)(?:_gn)?)")
_VIDEO = re.compile(r"_(kinetics\d+|hmdb51|ucf101|sthsthv2)")
_IMAGE_NETWORKS = ("inceptionv", "resnet", "vgg")


def family(name: str) -> str:
    """Return a model's family; detectors and the like are named after what they do on top of another network."""
    found = _NAME.match(name)
    if found is None:
        return name
    said = found[0]
    if said in {"resnet", "cifar_resnet", "se_resnet"} and (variant := _VARIANT.search(name)):
        said += variant[1]
    if said.startswith(_IMAGE_NETWORKS) and _VIDEO.search(name):
        said += ", of videos"
    return said + ", deformable" * ("_dcnv2" in name) + ", with poses" * ("_posenet" in name)


def in_order(names: Iterable[str]) -> list[str]:
    """Return models so that one of each family comes first, then a second of each; in a family the smallest first."""
    ranks: Counter[str] = Counter()
    ranked = []
    for name in sorted(names, key=_size):
        ranked.append((ranks[family(name)], family(name), name))
        ranks[family(name)] += 1
    return [name for _, _, name in sorted(ranked)]


def one_of_each(names: Iterable[str]) -> list[str]:
    """Return the first model of each family."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(family(name), name)
    return [*first.values()]


def _size(name: str) -> tuple[bool, bool, list[float], str]:
    """Return a key that is small for small models: by the numbers in a name, which mostly are of layers and channels.

    What gluoncv can't build by its name alone comes last.
    """
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", name)]
    return name.endswith("_int8"), "custom" in name, numbers, name
