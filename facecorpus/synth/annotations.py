"""The annotation files of CelebA and VGGFace2 for drawn pictures, as name to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from facecorpus.synth.identity import Identity

Points = tuple[float, ...] | None
Box = tuple[float, float, float, float] | None

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
_POINT_NAMES = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_CANONICAL = (0.392, 0.513, 0.608, 0.513, 0.5, 0.64, 0.41, 0.75, 0.59, 0.75)
"""Landmarks as fractions of width and height, for a picture that has no face to annotate."""


def _points(points: Points, size_px: tuple[int, int]) -> tuple[float, ...]:
    return points or tuple(f * size_px[k % 2] for k, f in enumerate(_CANONICAL))


def _attributes(who: Identity) -> dict[str, bool]:
    dark, light = max(who.hair) < 50, min(who.hair) > 90
    grey = max(who.hair) - min(who.hair) < 14 and min(who.hair) > 110
    return {
        "5_o_Clock_Shadow": who.beard == "stubble",
        "Arched_Eyebrows": who.brow_arch > 0.065,
        "Bald": who.hair_style == "bald",
        "Bangs": who.hair_style == "fringe",
        "Big_Lips": who.lip_lower > 0.14,
        "Big_Nose": who.nose_width > 0.27,
        "Black_Hair": dark,
        "Blond_Hair": light and not grey,
        "Brown_Hair": not dark and not light,
        "Bushy_Eyebrows": who.brow_thickness > 0.095,
        "Eyeglasses": who.glasses > 0,
        "Goatee": who.beard == "goatee",
        "Gray_Hair": grey,
        "High_Cheekbones": who.cheekbones > 0.6,
        "Male": who.feminine < 0.5,
        "Mustache": who.beard in ("moustache", "goatee", "full"),
        "No_Beard": who.beard == "none",
        "Pale_Skin": min(who.skin) > 190,
        "Rosy_Cheeks": who.blush > 0.75,
        "Straight_Hair": who.hair_style in ("long", "bob", "fringe"),
        "Wavy_Hair": who.hair_style in ("wavy", "afro"),
        "Wearing_Hat": who.hair_style == "beanie",
        "Young": who.age < 0.5,
    }


def celeba_annotations(
    names: Sequence[str],
    identities: Sequence[str],
    people: Sequence[Identity],
    sizes_px: Sequence[tuple[int, int]],
    points_px: Sequence[Points],
    boxes_xyxy_px: Sequence[Box],
) -> dict[str, str]:
    """The five text files that name every picture, for `names` in the order of the set.

    As in the real set the boxes refer to the picture before alignment (here: twice the size, with a border).
    """
    attributes, boxes, landmarks, splits = [], [], [], []
    for k, name in enumerate(names):
        has = _attributes(people[k])
        attributes.append(
            f"{name} " + " ".join(" 1" if has.get(a, False) else "-1" for a in CELEBA_ATTRIBUTES)
        )
        points = _points(points_px[k], sizes_px[k])
        landmarks.append(f"{name} " + " ".join(f"{round(p):4d}" for p in points))
        x0, y0, x1, y1 = boxes_xyxy_px[k] or (
            0.2 * sizes_px[k][0],
            0.2 * sizes_px[k][1],
            0.8 * sizes_px[k][0],
            0.9 * sizes_px[k][1],
        )
        wild = (95 + 2 * x0, 71 + 2 * y0, 2 * (x1 - x0), 2 * (y1 - y0))
        boxes.append(f"{name} " + " ".join(f"{round(v):4d}" for v in wild))
        splits.append(f"{name} {0 if k < 0.8 * len(names) else 1 if k < 0.9 * len(names) else 2}")
    point_header = " ".join(f"{p}_{axis}" for p in _POINT_NAMES for axis in "xy")
    headed = {
        "Anno/list_attr_celeba.txt": (" ".join(CELEBA_ATTRIBUTES), attributes),
        "Anno/list_bbox_celeba.txt": ("image_id x_1 y_1 width height", boxes),
        "Anno/list_landmarks_align_celeba.txt": (point_header, landmarks),
    }
    files = {name: "\n".join([str(len(rows)), head, *rows, ""]) for name, (head, rows) in headed.items()}
    pairs = [f"{name} {identity}" for name, identity in zip(names, identities, strict=True)]
    files["Anno/identity_CelebA.txt"] = "\n".join([*pairs, ""])
    files["Eval/list_eval_partition.txt"] = "\n".join([*splits, ""])
    return files


def vggface2_annotations(
    members: Sequence[str],
    people: Mapping[str, Identity],
    sizes_px: Sequence[tuple[int, int]],
    points_px: Sequence[Points],
    boxes_xyxy_px: Sequence[Box],
) -> dict[str, str]:
    """`bb_landmark/*.csv`, the lists and `identity_meta.csv`; members are `SPLIT/CLASS/IMAGE_FACE.jpg`."""
    files: dict[str, str] = {}
    for split in ("train", "test"):
        boxes, landmarks, listed = (
            ["NAME_ID,X,Y,W,H"],
            ["NAME_ID," + ",".join(f"P{k}X,P{k}Y" for k in range(1, 6))],
            [],
        )
        for k, member in enumerate(members):
            folder, _, name = member.partition("/")
            if folder != split:
                continue
            listed.append(name)
            width, height = sizes_px[k]
            x0, y0, x1, y1 = boxes_xyxy_px[k] or (0.2 * width, 0.2 * height, 0.8 * width, 0.9 * height)
            key = f'"{name.removesuffix(".jpg")}"'
            boxes.append(f"{key},{round(x0)},{round(y0)},{round(x1 - x0)},{round(y1 - y0)}")
            landmarks.append(f"{key}," + ",".join(f"{p:.3f}" for p in _points(points_px[k], (width, height))))
        files[f"bb_landmark/loose_bb_{split}.csv"] = "\n".join([*boxes, ""])
        files[f"bb_landmark/loose_landmark_{split}.csv"] = "\n".join([*landmarks, ""])
        files[f"{split}_list.txt"] = "\n".join([*listed, ""])
    rows = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    for label, who in sorted(people.items()):
        count = sum(f"/{label}/" in member for member in members)
        flag = int(any(m.startswith(f"train/{label}/") for m in members))
        rows.append(
            f'{label}, "Drawn_Person_{who.index}", {count}, {flag}, {"f" if who.feminine > 0.5 else "m"}'
        )
    files["identity_meta.csv"] = "\n".join([*rows, ""])
    return files
