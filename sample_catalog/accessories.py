"""Shoes in side profile with the toe to the left, bags from the front, and a potted plant."""

from __future__ import annotations

from studio import Cloth, Point, Studio, band, flip, mirror

RUBBER = Cloth("#f1eee6", folds=0.01, shade=0.18)


def sneaker(
    s: Studio,
    cloth: Cloth,
    *,
    sole: Cloth = RUBBER,
    accent: str = "#ffffff",
    style: str = "court",
    lace: str = "#f5f3ee",
) -> None:
    """Low laced shoe; style: court (flat sole), runner (two-colour sole), canvas (toe cap)."""
    s.frame(0, -1, 100, 41)
    s.part([(60, 4, 1), (67, 9), (77, 13), (88, 10), (95, 5), (88, 20), (66, 18)], cloth.toned(0.5))
    tongue = [(50, 6), (56, -0.5, 1), (63, 0.5), (65, 8), (64, 16), (52, 14)]
    s.part(tongue, cloth.toned(0.82), depth=2.5)
    upper: list[Point] = [(1.5, 33, 1), (2.5, 27), (10, 22.5), (27, 18), (44, 8.5), (54, 3.5, 1)]
    upper += [(61, 4.5, 1), (66, 10.5), (77, 14.5), (88, 11), (94, 4.5), (97.5, 5, 1), (97, 19)]
    s.part([*upper, (98.5, 34, 1)], cloth, depth=5)
    s.fold([(15, 23), (30, 22), (40, 28)], 2.2, -0.14)
    s.fold([(28, 20), (33, 25), (32, 31)], 1.6, 0.25)
    dark = cloth.toned(0.78)
    s.part(
        [(86, 13), (94, 5, 1), (97.5, 5.5, 1), (97, 19), (98, 33, 1), (84, 33, 1), (85, 22)],
        Cloth(accent) if style == "runner" else dark,
        depth=2.5,
        cast=0.25,
    )
    stay = [(27, 18.5, 1), (44, 9, 1), (54, 4, 1), (60.5, 5, 1), (55, 15, 1), (37, 24, 1)]
    s.part(stay, dark, depth=2, cast=0.25)
    if style == "canvas":
        cap = [(1.5, 33, 1), (2.5, 27), (10, 22.8), (18, 21), (21, 27), (21, 33, 1)]
        s.part(cap, sole, depth=3, cast=0.3)
    else:
        s.line([(21, 20.5), (27, 25), (30, 33)], 0.6, opacity=0.4)
        for k in range(3):
            s.dot(10 + k * 4, 25.5 - k * 0.8, 0.6, cloth.toned(0.55).colour, cast=0)
    if style == "runner":
        slash = [(58, 31.5, 1), (68, 31.5, 1), (78, 18, 1), (70, 17.5, 1)]
        s.part(slash, Cloth(accent), depth=1, cast=0.2)
    elif style == "court":
        patch = [(68, 19), (74, 25), (68, 30.5), (62, 25)]
        s.part(
            patch,
            Cloth(accent),
            depth=1,
            cast=0.2,
            holes=[[(68, 22), (71, 25), (68, 28), (65, 25)]],
        )
    for k in range(5):
        x, y = 33 + k * 5.3, 17.5 - k * 2.7
        s.part(band([(x - 2, y - 2), (x + 4, y + 4)], [2.1, 1.6]), Cloth(lace), depth=0.8, cast=0.4)
    low = 35.5 if style == "runner" else 36.5
    bottom: list[Point] = [(0.5, 31.5, 1), (30, 32.5), (65, 32), (99, 31, 1), (100, 36)]
    bottom += [(98, 40, 1), (60, 40.5), (12, 40), (3, 37.5)]
    s.part(bottom, sole, depth=2, cast=0.45)
    s.line([(1, low), (40, low + 0.6), (99, low)], 0.6, opacity=0.35)
    if style == "runner":
        s.part(
            [(52, 36, 1), (99.6, 35, 1), (98, 40, 1), (60, 40.4, 1)],
            Cloth(accent),
            depth=1,
            cast=0.2,
        )


def boot(s: Studio, cloth: Cloth, *, style: str = "chelsea", sole: str = "#2b221d") -> None:
    """Ankle boot with a tall shaft; style: chelsea, heel, lace or winter."""
    ground = {"chelsea": 88.0, "heel": 98.0, "lace": 88.0, "winter": 86.0}[style]
    s.frame(0, -2, 100, ground)
    x = 43 if style == "winter" else 48
    s.part([(x + 0.5, 1.2, 1), (72, -2), (95.5, 0.2, 1), (72, 8)], cloth.toned(0.45), cast=0)
    lift = 10.0 if style == "heel" else 0.0
    leg: list[Point] = [(x, 1, 1), (72, 3.5), (96, 0, 1), (95.5, 28), (92.5, 48), (97.5, 66 - lift)]
    foot: list[Point] = [
        (98, 81 - lift, 1),
        (70, 81 - lift * 0.8),
        (40, 81, 1),
        (12, 82, 1),
        (1, 80),
    ]
    vamp: list[Point] = [(2.5, 74), (10, 67.5), (24, 60), (38, 48.5), (x - 1, 33), (x + 0.5, 16)]
    outline = [*leg, *foot, *vamp[1 if style == "heel" else 0 :]]
    s.part(outline, cloth, depth=9)
    s.fold([(x + 2, 44), (62, 50), (76, 46)], 2.2, 0.3)
    s.fold([(40, 52), (54, 58), (66, 57)], 2, 0.26)
    s.fold([(x + 10, 8), (x + 8, 34), (30, 62), (12, 72)], 3, -0.16)
    s.line([(76, 50), (78, 66), (74, 80)], 0.7, opacity=0.4)
    if style == "chelsea":
        gore: list[Point] = [(62, 3, 1), (82, 2.5, 1), (79, 24), (73, 40), (67, 26)]
        s.part(gore, cloth.toned(0.5), depth=2)
        for k in range(7):
            s.line([(64 + k * 2.6, 4), (68 + k * 1.5, 32)], 0.4, opacity=0.3)
        s.part(band([(94, 6), (98, -1), (95, 10)], [2.4, 2.4]), cloth.toned(0.8), depth=1)
    elif style == "lace":
        s.part(
            [(x, 3, 1), (60, 4, 1), (59, 40), (44, 58, 1), (34, 52, 1), (x - 1, 36)],
            cloth.toned(0.75),
            depth=2.5,
        )
        for k in range(7):
            cx, cy = x + 3.5 - max(k - 3, 0) * 2.4, 9 + k * 6.8
            lace = band([(cx - 4.5, cy + 1), (cx + 1, cy), (cx + 6.5, cy - 3)], [2, 2, 1.7])
            s.part(lace, Cloth("#e6d9b8"), depth=0.8, cast=0.45)
        s.line([(4, 70), (20, 70), (28, 80)], 0.7, opacity=0.5)
        s.line([(66, 6), (68, 40), (60, 80)], 0.5, "#d9b072", 0.7)
    elif style == "winter":
        fluff = Cloth("#d8c8ad", grain=0.09)
        s.part(band([(x - 2, 5), (70, 8), (98, 4)], [11, 11, 11]), fluff, depth=3.5, cast=0.45)
        s.part([(1, 78), (4, 69), (20, 60), (30, 66), (32, 80, 1)], cloth.toned(0.75), depth=4)
        s.part(band([(x + 1, 38), (70, 41), (96, 37)], [6, 6, 6]), cloth.toned(0.7), depth=1.5)
        buckle = [(64, 36, 1), (73, 36, 1), (73, 45, 1), (64, 45, 1)]
        s.part(
            buckle,
            Cloth("#c9b98a"),
            depth=1,
            holes=[[(66.5, 38.5, 1), (70.5, 38.5, 1), (70.5, 42.5, 1), (66.5, 42.5, 1)]],
        )
    else:
        s.line([(80, 6), (81, 40), (80, 66)], 1, "#cfc6b8", 0.8)
        s.line([(80, 6), (80, 13)], 1.6, "#b8a98f", 0.9)
    bottom = Cloth(sole, folds=0.02)
    if style == "heel":
        s.part(
            [
                (0.5, 79, 1),
                (14, 81.5),
                (42, 80, 1),
                (66, 72, 1),
                (70, 74, 1),
                (44, 84.5),
                (10, 85, 1),
            ],
            bottom,
            depth=1.5,
        )
        block: list[Point] = [(69, 70, 1), (98.5, 69, 1), (97, 98, 1), (76, 98, 1), (75, 84)]
        s.part(block, bottom, depth=4)
    else:
        s.part(
            [(0, 78.5, 1), (40, 80.5), (99, 79, 1), (99, 84, 1), (8, 85, 1), (1, 83)],
            bottom,
            depth=1.5,
        )
        s.part([(72, 82, 1), (99.5, 82, 1), (98.5, ground, 1), (71, ground, 1)], bottom, depth=1.5)
        if style != "chelsea":
            s.part([(3, 82, 1), (58, 82, 1), (57, ground, 1), (8, ground, 1)], bottom, depth=1.5)


def sandal(s: Studio, cloth: Cloth, *, style: str = "flat", sole: str = "#7d5a3a") -> None:
    """Open shoe with straps and gaps; style: flat, heel, wedge or sport."""
    base = Cloth(sole, folds=0.02)
    buckle = Cloth("#d8c489", grain=0, folds=0)
    if style in ("heel", "stiletto"):
        s.frame(0, 0, 100, 96)
        s.part(
            [
                (0, 91, 1),
                (30, 90),
                (52, 78),
                (70, 58),
                (94, 50, 1),
                (97, 56),
                (80, 62),
                (58, 84),
                (32, 95),
                (3, 96, 1),
            ],
            base,
            depth=2,
        )
        post = [(82, 56, 1), (98, 52, 1), (99, 96, 1), (86, 96, 1)]
        thin = [(87, 58, 1), (97.5, 53, 1), (98.5, 75), (98.5, 96, 1), (94, 96, 1), (94, 76)]
        s.part(post if style == "heel" else thin, base, depth=3)
        s.part([(8, 91, 1), (11, 80), (20, 74), (31, 76), (38, 88, 1), (24, 92)], cloth, depth=4)
        s.part(band([(95, 54), (96, 34), (90, 12)], [9, 6, 6]), cloth, depth=2.5)
        s.part(band([(94, 14), (74, 18), (56, 12)], [6, 5.5, 5.5]), cloth, depth=2)
        s.part(band([(56, 12), (72, 5), (92, 11)], [4, 4, 5]), cloth.toned(0.7), depth=1.5)
        s.dot(68, 17.5, 2.6, buckle.colour)
        return
    high = style == "wedge"
    s.frame(0, 0, 100, 64 if high else 46)
    g = 64.0 if high else 46.0
    if high:
        s.part(
            [(0, 56, 1), (28, 53), (56, 42), (80, 34), (98, 33, 1), (99, g, 1), (6, g, 1), (0, 61)],
            base,
            depth=3,
        )
        for k in range(1, 6):
            s.line(
                [(2 + k * 4, 57 - k * 0.4), (60, 62 - k * 4.6), (99, 62 - k * 5)], 0.6, opacity=0.35
            )
        s.part(
            band([(2, 55.5), (28, 52), (56, 41.5), (80, 33.5), (98, 32.5)], [3, 3]),
            base.toned(0.7),
            depth=1,
        )
    else:
        thick = 8.0 if style == "sport" else 5.0
        s.part(
            [
                (0, g - thick + 1, 1),
                (40, g - thick + 1.5),
                (98, g - thick - 1, 1),
                (100, g - 3),
                (97, g, 1),
                (5, g, 1),
                (0, g - 2),
            ],
            base,
            depth=2,
        )
        s.line([(1, g - 3), (99, g - 3)], 0.7, opacity=0.45)

    def top(x: float) -> float:
        return 55 - max(x - 25, 0) * 0.34 if high else g - 5

    if style == "sport":
        for left, right, tall in ((10, 27, 14), (36, 52, 22)):
            strap = [(left, top(left) + 1, 1), (left + 3, top(left) - tall * 0.8)]
            strap += [(left + 10, top(left) - tall), (right + 2, top(right) - tall, 1)]
            s.part(
                [*strap, (right - 1, top(right) - tall * 0.5), (right, top(right) + 1, 1)],
                cloth,
                depth=3,
                cast=0.4,
            )
        s.part(band([(66, top(66)), (78, 22), (96, 12)], [6, 6, 6]), cloth, depth=2)
        s.part(band([(97, top(97)), (98, 24), (95, 8)], [6, 5, 6]), cloth, depth=2)
        s.part(band([(50, 20), (72, 15), (96, 13)], [6, 6, 6]), cloth.toned(0.85), depth=2)
        s.dot(72, 15, 2.4, buckle.colour)
    else:
        toe = [(8, top(8) + 1, 1), (11, top(11) - 9), (18, top(18) - 12), (26, top(26) - 12, 1)]
        s.part([*toe, (25, top(25) - 5), (28, top(28) + 1, 1)], cloth, depth=3, cast=0.4)
        s.line([(10, top(10) - 4), (18, top(18) - 6), (25, top(25) - 6)], 0.7, opacity=0.5)
        s.part(
            band([(24, top(24) - 12), (46, top(46) - 18), (66, 12), (74, 6)], [5, 4.5, 4.5]),
            cloth,
            depth=2,
        )
        s.part(band([(64, top(64) + 1), (70, top(70) - 14), (75, 5)], [5, 4.5, 5]), cloth, depth=2)
        s.part(band([(74, 7), (86, 12), (97, 9)], [5, 5, 5]), cloth, depth=2)
        s.part(
            band([(96, top(96) + 1), (98, top(98) - 12), (95, 4)], [7, 5.5, 5]), cloth, depth=2.5
        )
        s.dot(78, 8.5, 2.2, buckle.colour)


def bag(
    s: Studio, cloth: Cloth, *, style: str = "tote", trim: str = "#5b3b26", back: bool = False
) -> None:
    """Bag from the front; style: tote, satchel, bowling or shoulder; ``back`` shows the rear."""
    leather = Cloth(trim, folds=0.02)
    metal = "#d6bd7a"
    if style == "tote":
        s.frame(-50, 0, 50, 104)
        for lift, tone in ((0, 0.7), (4, 1.0)):
            hoop = [(-23, 52 + lift), (-20, 22 + lift), (-9, 4 + lift), (0, 1.8 + lift)]
            loop = [*hoop, *[(-x, y) for x, y in reversed(hoop[:-1])]]
            s.part(band(loop, [4.6, 4.6]), leather.toned(tone), depth=1.5)
        s.part([(-47, 40), (47, 40), (45, 48), (-45, 48)], cloth.toned(0.5))
        s.part(
            [
                (-48, 41, 1),
                (0, 42.5),
                (48, 41, 1),
                (41, 101),
                (37, 104, 1),
                (-37, 104, 1),
                (-41, 101),
            ],
            cloth,
            depth=8,
        )
        s.part(
            [(-48, 41, 1), (0, 42.5), (48, 41, 1), (47.2, 47, 1), (0, 48.5), (-47.2, 47, 1)],
            leather,
            depth=1.5,
        )
        for x in (-23, 23):
            s.part(
                [
                    (x - 3.4, 44, 1),
                    (x + 3.4, 44, 1),
                    (x + 3.4, 60, 1),
                    (x, 64, 1),
                    (x - 3.4, 60, 1),
                ],
                leather,
                depth=1.2,
            )
            s.dot(x, 58, 1.4, metal)
        if back:
            s.part(
                [(-26, 68, 1), (26, 68, 1), (25, 94, 1), (-25, 94, 1)], cloth.toned(0.95), depth=2
            )
            s.line([(-26, 70), (26, 70)], 1, metal, 0.9)
        else:
            s.part([(-8, 70, 1), (8, 70, 1), (8, 80), (0, 88), (-8, 80)], leather, depth=2)
            s.dot(0, 77, 2.4, metal)
        s.fold([(-38, 58), (-32, 76), (-34, 98)], 2.6, 0.2)
        s.fold([(36, 56), (31, 80), (33, 98)], 2.6, 0.2)
    elif style == "satchel":
        s.frame(-50, 0, 50, 82)
        s.part(band([(-14, 24), (-13, 6), (0, 2.5), (13, 6), (14, 24)], [5, 5]), leather, depth=1.8)
        s.part(
            [
                (-46, 22),
                (46, 22),
                (49, 30),
                (49, 74),
                (43, 82, 1),
                (-43, 82, 1),
                (-49, 74),
                (-49, 30),
            ],
            cloth,
            depth=7,
        )
        s.part(
            [
                (-47, 19),
                (47, 19),
                (49.5, 26),
                (48, 54),
                (40, 60),
                (-40, 60),
                (-48, 54),
                (-49.5, 26),
            ],
            cloth.toned(1.08),
            depth=5,
            cast=0.55,
        )
        s.line(
            [(-46, 24), (-45, 52), (-38, 57), (38, 57), (45, 52), (46, 24)],
            0.6,
            "#e6cfa2",
            0.7,
            dash=3,
        )
        for x in (-26, 26):
            s.part(
                [(x - 4, 20, 1), (x + 4, 20, 1), (x + 4, 68, 1), (x, 72), (x - 4, 68, 1)],
                leather,
                depth=1.6,
                cast=0.4,
            )
            s.part(
                [(x - 6, 56, 1), (x + 6, 56, 1), (x + 6, 64, 1), (x - 6, 64, 1)],
                Cloth(metal),
                depth=1.2,
                holes=[[(x - 3, 58, 1), (x + 3, 58, 1), (x + 3, 62, 1), (x - 3, 62, 1)]],
            )
    elif style == "bowling":
        s.frame(-50, 0, 50, 84)
        s.part(
            band([(-20, 40), (-19, 14), (0, 1), (19, 14), (20, 40)], [4.4, 4.4]), leather, depth=1.5
        )
        s.part(
            [
                (0, 23),
                (26, 25),
                (40, 36),
                (48, 64),
                (47, 80),
                (40, 84, 1),
                (-40, 84, 1),
                (-47, 80),
                (-48, 64),
                (-40, 36),
                (-26, 25),
            ],
            cloth,
            depth=9,
        )
        s.line([(-36, 32), (0, 26), (36, 32)], 1.2, metal, 0.85)
        s.part(
            [(-48, 68, 1), (0, 70), (48, 68, 1), (47, 81), (40, 84, 1), (-40, 84, 1), (-47, 81)],
            leather,
            depth=3,
        )
        s.part(
            band(
                [(-20, 66), (-20, 36), (-19, 18), (0, 5.5), (19, 18), (20, 36), (20, 66)], [4.6] * 2
            ),
            leather.toned(1.15),
            depth=1.5,
            cast=0.5,
        )
        for x in (-20, 20):
            s.dot(x, 40, 1.8, metal)
    else:
        s.frame(-47, 0, 47, 92)
        s.part(
            band([(-43, 48), (-34, 20), (0, 1.5), (34, 20), (43, 48)], [3.6, 3.6]),
            leather,
            depth=1.4,
        )
        s.part(
            [(-45, 42), (45, 42), (47, 52), (45, 80), (32, 92), (-32, 92), (-45, 80), (-47, 52)],
            cloth,
            depth=8,
        )
        s.part(
            [(-46, 40, 1), (46, 40, 1), (44, 58), (24, 74), (0, 78), (-24, 74), (-44, 58)],
            cloth.toned(0.9),
            depth=5,
            cast=0.55,
        )
        s.dot(0, 71, 4, metal)
        s.dot(0, 71, 2, trim)
        for x in (-43, 43):
            s.dot(x, 45, 3, metal)


def plant(s: Studio) -> None:
    """A potted plant, which is no garment at all."""
    s.frame(-38, 0, 38, 100)
    green = Cloth("#3f7f4a", grain=0.03)
    for side, reach, height in ((-1, 34, 26), (1, 35, 30), (-1, 24, 8), (1, 22, 10), (1, 3, 2)):
        stem = flip([(1, 68), (reach * 0.4, 46), (reach * 0.8, height + 12)], side)
        s.part(band(stem, [2, 1.4]), green.toned(0.7), depth=0.8)
        x, y = reach * 0.8, height + 14
        leaf = [(x - 2, y, 1), (x - 8, y - 10), (reach * 1.05, height - 7, 1), (x + 8, y - 5)]
        s.part(flip(leaf, side), green.toned(0.8 + reach / 100), depth=4)
        s.line(flip([(x - 1, y), (reach, height - 4)], side), 0.6, "#cfe3b4", 0.7)
    clay = Cloth("#b8643f", folds=0.03)
    s.part(mirror([(0, 70, 1), (20, 70, 1), (15, 99, 1), (0, 100, 1)]), clay, depth=8)
    s.part(mirror([(0, 64, 1), (23, 64, 1), (22.5, 73, 1), (0, 73.5, 1)]), clay.toned(1.1), depth=3)
