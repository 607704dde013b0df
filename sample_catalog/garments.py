"""Front views of garments without a person, in units of about 100 per garment height."""

from __future__ import annotations

from collections.abc import Sequence

from studio import Cloth, Point, Studio, band, flip, mirror, tail

SHORT: list[Point] = [(9, 9.5), (17, 15), (24.5, 22), (32, 32)]
LONG: list[Point] = [(9, 9.5), (17, 15), (24.5, 28), (29.5, 56), (33, 90)]


def sleeves(
    s: Studio,
    cloth: Cloth,
    axis: Sequence[Point],
    widths: Sequence[float],
    cuff: Cloth | None = None,
    share: float = 0.08,
) -> None:
    """Both sleeves, each with an optional cuff over its last ``share``."""
    long = len(axis) > 4
    lean = 10 if long else 40
    (px, py), (ex, ey) = axis[2 if long else 1][:2], axis[-2][:2]
    for side in (-1, 1):
        line = flip(axis, side)
        s.part(band(line, widths), cloth, angle=-lean * side, depth=6)
        s.fold(flip([(px - 3, py + 2), (px + 3, py + 9)], side), 1.5)
        if long:
            s.fold(flip([(ex - 4, ey - 3), (ex + 3, ey + 3)], side), 1.4, 0.28)
            s.fold(flip([(ex - 3, ey + 13), (ex + 3, ey + 16)], side), 1.2, 0.22)
        if cuff:
            s.part(band(tail(line, share), [widths[-1] * 1.06] * 2), cuff, depth=2, cast=0.35)


def back_neck(s: Studio, cloth: Cloth, neck: float, depth: float) -> None:
    """The inside of the back, seen through the neckline."""
    inner = cloth.toned(0.66)
    s.part(mirror([(0, 1.5), (neck, 0, 1), (neck, 5), (0, depth + 4)]), inner)


def body(
    s: Studio,
    cloth: Cloth,
    *,
    neck: float = 9,
    depth: float = 8,
    vee: bool = False,
    shoulder: float = 18.5,
    chest: float = 22,
    waist: float = 21.5,
    hem: float = 22,
    length: float = 98,
    tails: float = 0.0,
    folds: bool = True,
) -> None:
    """The torso piece with round or V neckline; ``tails`` lifts the hem at the sides."""
    middle: list[Point] = [(0, depth, 1)] if vee else [(0, depth), (neck * 0.72, depth * 0.72)]
    half: list[Point] = [
        *middle,
        (neck, 0, 1),
        (shoulder, 6.3, 1),
        (chest - 2.5, 18),
        (chest, 32, 1),
        (waist, 60),
        (hem, length - tails, 1),
        *([(hem * 0.75, length - tails * 0.35)] if tails else []),
        (0, length, *([] if tails else [1])),
    ]
    s.part(mirror(half), cloth, depth=6)
    if folds:
        for side in (-1, 1):
            s.fold(flip([(chest - 3, 34), (chest - 10, 44), (chest - 12, 56)], side), 1.6, 0.22)
            s.fold(flip([(waist - 3, 66), (waist - 8, 78), (waist - 7, 92)], side), 1.8, 0.18)
            s.fold(flip([(waist - 13, 62), (waist - 14, 90)], side), 2.2, -0.05)


def neck_rib(s: Studio, cloth: Cloth, neck: float, depth: float, width: float = 2.6) -> None:
    """A ribbed band around a crew neck."""
    ring: list[Point] = [(-neck, 0.8), (-neck * 0.75, depth * 0.7), (0, depth + 0.8)]
    ring += [(neck * 0.75, depth * 0.7), (neck, 0.8)]
    s.part(band(ring, [width] * 3), cloth, depth=1.5, cast=0.35, inside=True)


def collar(s: Studio, cloth: Cloth, neck: float = 8, spread: float = 12, drop: float = 14) -> None:
    """A turned-down shirt collar."""
    s.part(mirror([(0, 0.5), (neck, -2, 1), (neck, 5), (0, 8)]), cloth.toned(0.7))
    for side in (-1, 1):
        leaf: list[Point] = [(neck - 1, -3), (neck + 3, 2, 1), (spread, drop, 1), (0.3, 8.5, 1)]
        s.part(flip([*leaf, (neck - 3, 3)], side), cloth, angle=30 * side, depth=2, cast=0.45)


def placket(
    s: Studio, cloth: Cloth, top: float, bottom: float, buttons: int, button: str, width: float = 5
) -> None:
    """The button strip down the front."""
    w = width / 2
    s.part([(-w, top, 1), (w, top, 1), (w, bottom, 1), (-w, bottom, 1)], cloth, depth=1.2, cast=0.3)
    s.line([(w, top), (w, bottom)], 0.9, opacity=0.6)
    s.line([(-w, top), (-w, bottom)], 0.5, opacity=0.3)
    for i in range(buttons):
        s.dot(0, top + 3 + (bottom - top - 9) * i / (buttons - 1), 1.2, button)


def tee(
    s: Studio, cloth: Cloth, *, rib: Cloth | None = None, vee: bool = False, print_: str = ""
) -> None:
    """Short-sleeved T-shirt, no opening; prints: sun, peaks or badge."""
    s.frame(-38, -2, 38, 92)
    rib = rib or cloth.toned(0.88)
    back_neck(s, cloth, 9, 9)
    sleeves(s, cloth, SHORT, [15, 16, 15.5, 14.5], rib if rib.colour != cloth.colour else None, 0.1)
    body(s, cloth, depth=15 if vee else 9, vee=vee, chest=23, waist=22.5, hem=23, length=91)
    if vee:
        for side in (-1, 1):
            strip = band(flip([(9.5, -0.3), (0, 15.5)], side), [2.4, 2.4])
            s.part(strip, rib, depth=1.2)
    else:
        neck_rib(s, rib, 9, 9)
    s.line([(-22.5, 88.5), (22.5, 88.5)], 0.5, opacity=0.35)
    if print_ == "sun":
        flat = Cloth("#f3e3b8", grain=0, folds=0.02, shade=0)
        s.part([(0, 26), (13, 39), (0, 52), (-13, 39)], flat, depth=1, cast=0)
        dark = Cloth("#27424a", grain=0, folds=0.02, shade=0)
        for y in (41, 45.5, 50):
            w = (169 - (y + 1 - 39) ** 2) ** 0.5
            s.part([(-w, y, 1), (w, y, 1), (w - 1, y + 2, 1), (1 - w, y + 2, 1)], dark, cast=0)
    elif print_ == "peaks":
        flat = Cloth("#22303a", grain=0, folds=0.02, shade=0)
        ridge = [(-15, 54, 1), (-6, 37, 1), (-1, 45, 1), (5, 31, 1), (15, 54, 1)]
        s.part(ridge, flat, depth=1, cast=0)
        snow = Cloth("#d8dde0", grain=0, folds=0, shade=0)
        s.part([(5, 31, 1), (8, 38, 1), (5, 36.5, 1), (2, 38.5, 1)], snow, depth=1, cast=0)
    elif print_ == "badge":
        flat = Cloth("#e9e4da", grain=0, folds=0, shade=0)
        s.part([(8, 27, 1), (14, 27, 1), (11, 33, 1)], flat, depth=0.5, cast=0)


def pullover(
    s: Studio, cloth: Cloth, *, rib: Cloth | None = None, neck: str = "crew", yoke: str = ""
) -> None:
    """Long-sleeved knit without opening, ribbed cuffs and hem; neck: crew, vee or roll."""
    s.frame(-38, -9 if neck == "roll" else -2, 38, 94)
    rib = rib or cloth.toned(0.84)
    depth = 20 if neck == "vee" else 8
    back_neck(s, cloth, 10, depth)
    sleeves(s, cloth, LONG, [15, 16, 13.5, 11.5, 9.5], rib, 0.09)
    body(s, cloth, neck=10, depth=depth, vee=neck == "vee", chest=22, waist=21, hem=21.5, length=86)
    s.part(mirror([(0, 82, 1), (21.8, 82, 1), (20.5, 90, 1), (0, 90, 1)]), rib, depth=2)
    for i in range(-20, 21, 2):
        s.line([(i, 82.5), (i * 0.97, 89.5)], 0.45, opacity=0.2)
    if yoke:
        for k, (y, colour) in enumerate(((20, yoke), (26, "#e8e1d2"), (32, yoke))):
            for i in range(-4, 5):
                x, dy = i * 4.6 + (2.3 if k % 2 else 0), abs(i) * -0.9
                gem = [(x, y + dy - 2.4, 1), (x + 1.9, y + dy, 1), (x, y + dy + 2.4, 1)]
                gem.append((x - 1.9, y + dy, 1))
                s.part(gem, Cloth(colour, shade=0), depth=0.5, cast=0, inside=True)
    if neck == "vee":
        for side in (-1, 1):
            s.part(band(flip([(10.5, -0.5), (0, 21)], side), [3, 3]), rib, depth=1.4, cast=0.35)
    elif neck == "roll":
        tube: list[Point] = [(0, -8), (8, -8.5), (9.5, -6), (10.5, 3), (8, 6.5), (0, 8)]
        s.part(mirror(tube), rib, depth=3, cast=0.4)
        s.line([(-9.6, -1), (0, 1), (9.6, -1)], 0.6, opacity=0.3)
    else:
        neck_rib(s, rib, 10, 8, 3.4)


def shirt(
    s: Studio,
    cloth: Cloth,
    *,
    short: bool = False,
    button: str = "#f4f1ea",
    pockets: int = 0,
    accent: Cloth | None = None,
) -> None:
    """Shirt with collar, button placket and curved hem; long or short sleeves."""
    s.frame(-36, -4, 36, 100)
    trim = accent or cloth
    if short:
        sleeves(s, cloth, [*SHORT[:3], (31, 34)], [15, 16.5, 16, 15], trim, 0.1)
    else:
        sleeves(s, cloth, [*LONG[:3], (28.5, 56), (31.5, 92)], [15, 16, 13, 10, 8.5], trim, 0.11)
    body(s, cloth, neck=7, depth=8, chest=21, waist=19.5, hem=20.5, length=100, tails=7)
    placket(s, trim, 8, 99, 7, button)
    for side in (-1, 1):
        s.line(flip([(8, 0), (14, 10), (20, 12)], side), 0.5, opacity=0.3)
    for side in (1, -1)[:pockets]:
        box = [(6.5, 33, 1), (16.5, 33, 1), (16.5, 44, 1), (11.5, 47, 1), (6.5, 44, 1)]
        s.part(flip(box, side), trim, depth=1.2, cast=0.4)
        s.line(flip([(6.5, 36), (16.5, 36)], side), 0.5, opacity=0.4)
    collar(s, trim)


def coat(
    s: Studio,
    cloth: Cloth,
    *,
    lining: str = "#3b3230",
    button: str = "#2a2320",
    double: bool = False,
    belt: bool = False,
) -> None:
    """Long tailored coat with lapels, an overlapping front edge, flaps and buttons."""
    s.frame(-34, -4, 34, 101)
    axis: list[Point] = [(8, 8.5), (15.5, 13.5), (22, 25), (26.5, 48), (29, 78)]
    sleeves(s, cloth, axis, [14, 15, 13, 11, 10], cloth.toned(0.93), 0.12)
    s.part(mirror([(0, -2.5), (7, -3, 1), (8, 6), (0, 40, 1)]), Cloth(lining))
    half: list[Point] = [
        (7, -1, 1),
        (17.5, 5.7, 1),
        (18.5, 18),
        (19, 30, 1),
        (18, 52),
        (21, 101, 1),
    ]
    s.part([(-1, 38, 1), *flip(half, -1), (1, 101, 1), (1, 38, 1)], cloth, depth=6)
    front = -5 if double else -2.5
    s.part([(front + 1, 36, 1), *half, (front, 101, 1)], cloth, depth=6, cast=0.45)
    s.line([(front, 38), (front, 101)], 0.9, opacity=0.55)
    for side in (1, -1):
        lapel = [*flip([(7, -3, 1), (11, 2), (15, 14, 1), (11.5, 15.5, 1), (13.5, 19, 1)], side)]
        s.part(
            [*lapel, (front + 1, 38, 1), *flip([(4.5, 14)], side)],
            cloth.toned(1.1),
            depth=2.5,
            cast=0.55,
        )
        s.part(
            flip([(8, 66, 1), (17.5, 64, 1), (17.5, 68, 1), (8, 70, 1)], side),
            cloth,
            depth=1.2,
            cast=0.5,
        )
        s.fold(flip([(12, 72), (13, 99)], side), 2, 0.2)
        s.fold(flip([(17, 32), (12, 40)], side), 1.6, 0.22)
    for y in (44, 53, 62) if double else (42, 52, 62, 72):
        for x in (-9, 5) if double else (front + 3.2,):
            s.dot(x, y, 1.6, button)
    if belt:
        s.part(
            mirror([(0, 54, 1), (18.6, 53.5, 1), (18.6, 58.5, 1), (0, 59, 1)]),
            cloth.toned(0.85),
            depth=1.5,
            cast=0.5,
        )
        buckle = [(-4, 53, 1), (4, 53, 1), (4, 60, 1), (-4, 60, 1)]
        s.part(
            buckle,
            Cloth("#5a4030"),
            depth=1,
            cast=0.4,
            holes=[[(-2.4, 54.6, 1), (2.4, 54.6, 1), (2.4, 58.4, 1), (-2.4, 58.4, 1)]],
        )


def jacket(
    s: Studio, cloth: Cloth, *, zip_: str = "#d9d5cc", quilted: bool = False, fur: str = ""
) -> None:
    """Hooded winter coat with a full-length zip: quilted puffer or parka with fur edge."""
    s.frame(-39, -13, 39, 100)
    axis: list[Point] = [*LONG[:2], (25, 28), (30.5, 56), (33.5, 90)]
    sleeves(s, cloth, axis, [15, 17, 15.5, 13, 10.5], cloth.toned(0.8), 0.07)
    s.part(mirror([(0, -12), (9, -10), (13, -2), (12, 7), (0, 14)]), cloth.toned(0.92), depth=5)
    s.part(mirror([(0, -8.5), (6.5, -7), (8.5, 0), (0, 14)]), Cloth(fur or cloth.toned(0.5).colour))
    body(s, cloth, neck=9, depth=11, vee=True, chest=22.5, waist=21.5, hem=23, length=99)
    if quilted:
        for y in range(22, 98, 11):
            s.line([(-24, y), (-10, y + 1.2), (0, y), (10, y + 1.2), (24, y)], 0.8, opacity=0.55)
            s.fold([(-22, y - 3.5), (0, y - 4), (22, y - 3.5)], 2.6, -0.16)
            s.fold([(-22, y + 2), (0, y + 2), (22, y + 2)], 1.6, 0.25)
            for side in (-1, 1):
                x = 24 + y * 0.08
                s.line(flip([(x - 7, y + 3), (x, y + 4), (x + 9, y + 2)], side), 0.8, opacity=0.45)
    else:
        for side in (-1, 1):
            for top, low in ((36, 47), (68, 86)):
                box = [(6, top, 1), (18, top, 1), (18, low, 1), (6, low, 1)]
                s.part(flip(box, side), cloth, depth=1.2, cast=0.5)
                flap = [
                    (5.5, top - 1, 1),
                    (18.5, top - 1, 1),
                    (18.5, top + 3.5, 1),
                    (12, top + 5, 1),
                ]
                s.part(flip([*flap, (5.5, top + 3.5, 1)], side), cloth, depth=1, cast=0.5)
        s.line([(-22, 60), (0, 61), (22, 60)], 0.8, opacity=0.5)
    for side in (-1, 1):
        edge = band(flip([(12.5, -2), (10.5, 6), (1, 14)], side), [4, 5, 3.5])
        s.part(edge, Cloth(fur, grain=0.1) if fur else cloth.toned(0.85), depth=2, cast=0.45)
    s.part(band([(0, 12), (0, 99)], [4.4, 4.4]), cloth.toned(0.7), depth=1, cast=0.55)
    s.line([(0, 13), (0, 98)], 1.3, zip_, 0.95)
    s.line([(0, 13), (0, 98)], 0.4, "#333333", 0.7)


def dress(
    s: Studio, cloth: Cloth, *, cut: str = "flared", arms: str = "", belt: str = "", neck: float = 8
) -> None:
    """Tall narrow dress with a waist; cut: flared, sheath or maxi; arms: short, strap or none."""
    hem = {"flared": 21.5, "sheath": 12.5, "maxi": 20}[cut]
    wide = max(hem, 22 if arms == "short" else 0)
    s.frame(-wide, -2, wide, 100)
    top: list[Point]
    if arms == "strap":
        for side in (-1, 1):
            s.part(band(flip([(7, 16), (6.5, 7), (5, -1)], side), [2, 1.8, 1.8]), cloth, depth=1)
        top = [(0, 15), (5, 13), (8, 11, 1), (10, 16), (11, 24, 1)]
    else:
        back_neck(s, cloth, neck, 7)
        if arms == "short":
            sleeves(
                s,
                cloth,
                [(6, 7.5), (11, 10), (15, 15), (19, 23)],
                [9, 10.5, 10.5, 10],
                cloth.toned(0.9),
                0.1,
            )
        edge: list[Point] = [(12.5, 4.3, 1), (11.5, 12), (12.5, 21, 1)]
        top = [(0, 10), (neck * 0.72, 7), (neck, 0, 1), *edge]
    hips: list[Point] = {
        "flared": [(9.5, 38, 1), (13, 52), (hem, 97, 1), (hem * 0.5, 99.5)],
        "sheath": [(10, 38), (13, 56), (hem, 98, 1)],
        "maxi": [(9.5, 36, 1), (12.5, 55), (hem, 98, 1), (hem * 0.5, 100)],
    }[cut]
    s.part(mirror([*top, *hips, (0, 99.5)]), cloth, depth=5)
    for i in range(-3, 4):
        x = i * hem / 4
        sway = 1.5 * (-1) ** i
        if cut != "sheath":
            s.fold([(x * 0.5, 42), (x * 0.75 + sway, 66), (x * 1.05, 99)], 1.6, 0.24)
            s.fold([(x * 0.5 + 2, 46), (x * 0.8 + 3, 70), (x * 1.05 + 3.2, 99)], 1.5, -0.12)
    if cut == "sheath":
        for side in (-1, 1):
            s.line(flip([(6, 24), (5, 38), (6, 56)], side), 0.6, opacity=0.35)
            s.fold(flip([(11, 50), (4, 58)], side), 1.4, 0.2)
    s.line([(-9.8, 37.5), (0, 38.5), (9.8, 37.5)], 0.7, opacity=0.4)
    if belt:
        s.part(
            mirror([(0, 36.5, 1), (10, 36, 1), (10, 40.5, 1), (0, 41, 1)]), Cloth(belt), depth=1.2
        )
    if arms != "strap":
        neck_rib(s, cloth.toned(0.9), neck, 9.6, 1.6)


def trousers(
    s: Studio,
    cloth: Cloth,
    *,
    leg: float = 8.5,
    flare: float = 6.5,
    jeans: bool = False,
    crease: bool = False,
) -> None:
    """Two legs with a gap, waistband, fly and pockets; ``leg``/``flare`` set knee and hem width."""
    out = max(17.0, 11 + flare)
    s.frame(-out, -1, out, 100)
    s.part(mirror([(0, 1), (13, 0, 1), (13, 5), (0, 6)]), cloth.toned(0.6))
    for side in (-1, 1):
        hip = [(-0.8, 1.5, 1), (13.3, 0, 1), (15.2, 12), (16.2, 24), (11 + leg / 2 + 0.6, 60)]
        foot = [(11 + flare - 1, 99, 1), (11 - flare, 99.5, 1), (11 - leg / 2 - 2, 60)]
        s.part(flip([*hip, *foot, (1.2, 31, 1), (-0.8, 27, 1)], side), cloth, depth=6, cast=0.2)
        if crease:
            s.fold(flip([(9.5, 26), (11, 60), (11, 98)], side), 0.9, 0.35)
            s.fold(flip([(10.5, 26), (12, 60), (12, 98)], side), 0.9, -0.2)
        s.line(flip([(8, 4), (10, 9), (14.8, 11)], side), 0.6, opacity=0.5)
        s.fold(flip([(1.5, 29), (7, 24), (12, 22)], side), 1.4, 0.25)
        s.fold(flip([(6, 58), (12, 61)], side), 1.4, 0.2)
        s.fold(flip([(6.5, 64), (13, 63)], side), 1.2, 0.16)
        if jeans:
            s.fold(flip([(10, 26), (11, 52)], side), 5, -0.22)
            s.line(flip([(8.6, 4), (10.6, 8), (14.6, 10)], side), 0.35, "#c98a3c", 0.9)
            s.line(flip([(11 - flare, 97.5), (10 + flare, 97)], side), 0.4, "#c98a3c", 0.8)
    s.line([(0, 6), (0.4, 20), (0, 28)], 0.7, opacity=0.55)
    s.line([(3, 6), (3, 16), (0.4, 20)], 0.4, "#c98a3c" if jeans else "#000000", 0.6)
    top: list[Point] = [(0, 2), (13.4, 0.2, 1), (14, 5.4, 1), (0, 7)]
    s.part(mirror(top), cloth.toned(0.9), depth=1.4, cast=0.4)
    s.dot(0, 4.4, 1.1, "#b98a4a" if jeans else cloth.toned(0.5).colour)
    for x in (-9, -4, 4, 9):
        s.line([(x, 1), (x, 7)], 1, cloth.toned(0.7).colour, 0.9)
