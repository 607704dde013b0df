"""Draw the sample catalogue: 42 invented products with their pictures and products.csv.

Every picture is drawn from scratch by the code in this folder (no photo, no data set), always
with the same result. Redraw everything with

    python sample_catalog/draw.py

Forty products have a known category, one picture shows no garment and one file is broken on
purpose, so that the catalogue also exercises the unhappy paths of an import.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import accessories as acc
import garments as gar
import numpy as np
from PIL import Image, ImageColor, ImageFilter
from studio import Cloth, Pattern, Studio, blooms, checks, stripes

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
COLUMNS = ["sku", "image", "title", "colour", "expected_category"]
WHITE, GREY, BEIGE, BLUE, BLACK = "#ffffff", "#ececec", "#f1e9dc", "#e3edf5", "#000000"
ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Product:
    """One row of the catalogue and how its pictures are made."""

    title: str
    colour: str
    category: str
    draw: Callable[[Studio], None]
    size: tuple[int, int]
    kind: str = "jpg"  # jpg, png, rgba (transparent png), palette (png) or webp
    ground: str = WHITE
    fill: float = 0.84
    second: Callable[[Studio], None] | None = None
    turned: bool = False  # store rotated, upright only through the EXIF orientation
    broken: bool = False  # cut the file in the middle


def knit(colour: str, pattern: Pattern | None = None) -> Cloth:
    """Coarser material for knitwear."""
    return Cloth(colour, pattern, grain=0.04)


def drawn(function: Callable[..., None], *args: object, **more: object) -> Callable[[Studio], None]:
    """Bind a drawing function to its material and options (the studio comes first)."""

    def draw(studio: Studio) -> None:
        function(studio, *args, **more)

    return draw


TEE, TROUSER, PULLOVER, DRESS, COAT = "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"
SANDAL, SHIRT, SNEAKER, BAG, BOOT = "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"

PRODUCTS = [
    Product(
        "Crew-neck T-shirt Lindø",
        "navy",
        TEE,
        drawn(gar.tee, Cloth("#27385e"), print_="badge"),
        (600, 600),
    ),
    Product(
        "Breton tee “Petit Port”",
        "ecru/navy",
        TEE,
        drawn(gar.tee, Cloth("#d9d4c6", stripes("#2a3350", 8.5, 0.45)), rib=Cloth("#2a3350")),
        (480, 640),
        "webp",
    ),
    Product(
        "Graphic tee Last Light, organic cotton",
        "brick red",
        TEE,
        drawn(gar.tee, Cloth("#a2483c"), print_="sun"),
        (720, 900),
        "jpg",
        GREY,
    ),
    Product(
        "V-neck T-shirt Basic",
        "white",
        TEE,
        drawn(gar.tee, Cloth("#e9e8e4"), vee=True),
        (400, 400),
        "jpg",
        BLACK,
    ),
    Product(
        "Slim jeans Harbour, mid wash",
        "mid blue",
        TROUSER,
        drawn(gar.trousers, Cloth("#4a6a96", grain=0.04), jeans=True),
        (600, 900),
    ),
    Product(
        "Pantalon à pinces Éloïse",
        "charcoal",
        TROUSER,
        drawn(gar.trousers, Cloth("#3d3f45", stripes("#6a6d75", 2.6, 0.14, True)), crease=True),
        (450, 600),
        "webp",
        WHITE,
        0.88,
    ),
    Product(
        "Straight chinos Dune",
        "sand",
        TROUSER,
        drawn(gar.trousers, Cloth("#b39468"), leg=9, flare=7),
        (480, 720),
        "jpg",
        WHITE,
        0.86,
        turned=True,
    ),
    Product(
        "Skinny trousers Nuit",
        "black",
        TROUSER,
        drawn(gar.trousers, Cloth("#232326", gloss=0.2), leg=7, flare=5.2),
        (240, 320),
        "rgba",
    ),
    Product(
        "Lambswool crew-neck Fjell",
        "burgundy",
        PULLOVER,
        drawn(gar.pullover, knit("#6d2434")),
        (800, 800),
    ),
    Product(
        "Wide-stripe jumper Marée",
        "petrol/cream",
        PULLOVER,
        drawn(
            gar.pullover, knit("#2f5864", pattern=stripes("#cfc5ae", 19, 0.42)), rib=knit("#2b505b")
        ),
        (600, 750),
        "webp",
    ),
    Product(
        "V-neck pullover Aula",
        "grey marl",
        PULLOVER,
        drawn(gar.pullover, knit("#8a8d92"), neck="vee", rib=knit("#60636a")),
        (375, 500),
        "palette",
    ),
    Product(
        "Roll-neck jumper Åsa, with yoke pattern",
        "bottle green",
        PULLOVER,
        drawn(gar.pullover, knit("#3b5b49"), neck="roll", yoke="#d9a441"),
        (640, 800),
        "jpg",
        BEIGE,
    ),
    Product(
        "Robe d'été Camille",
        "poppy red",
        DRESS,
        drawn(gar.dress, Cloth("#b3272f"), arms="short", belt="#2a2024"),
        (600, 900),
    ),
    Product(
        "Sheath dress Vesper",
        "black",
        DRESS,
        drawn(gar.dress, Cloth("#26262c", gloss=0.2), cut="sheath"),
        (400, 600),
        "webp",
    ),
    Product(
        "Maxi dress Giardino",
        "midnight floral",
        DRESS,
        drawn(
            gar.dress,
            Cloth("#35406b", blooms(["#e2b7b0", "#c9d3a5"], 7.5)),
            cut="maxi",
            arms="strap",
        ),
        (900, 1200),
        "jpg",
        WHITE,
        0.86,
    ),
    Product(
        "Tea dress Pois",
        "dusty rose dots",
        DRESS,
        drawn(gar.dress, Cloth("#b7727f", blooms(["#f2dfdc"], 5, 0)), belt="#74404c"),
        (300, 400),
        "rgba",
    ),
    Product(
        "Wool coat Albrecht, double-breasted",
        "camel",
        COAT,
        drawn(gar.coat, Cloth("#a8794a", grain=0.03), double=True),
        (750, 1000),
    ),
    Product(
        "Quilted winter jacket Nordlys",
        "black",
        COAT,
        drawn(gar.jacket, Cloth("#33353d", gloss=0.25), quilted=True),
        (640, 640),
        "webp",
    ),
    Product(
        "Parka with hood Tundra",
        "olive",
        COAT,
        drawn(gar.jacket, Cloth("#5d6244"), fur="#c2ab8a", zip_="#d3c9a0"),
        (600, 800),
        "jpg",
        GREY,
    ),
    Product(
        "Belted coat Manteau Léa",
        "navy",
        COAT,
        drawn(
            gar.coat, Cloth("#2c3552", grain=0.03), belt=True, button="#b39a63", lining="#8b8fa3"
        ),
        (420, 560),
        "palette",
    ),
    Product(
        "Strappy flat sandal Ionia",
        "tan",
        SANDAL,
        drawn(acc.sandal, Cloth("#8c5730"), sole="#5d3d26"),
        (640, 480),
    ),
    Product(
        "Block-heel sandal Soirée",
        "black",
        SANDAL,
        drawn(acc.sandal, Cloth("#2a2528", gloss=0.2), style="heel", sole="#3a3032"),
        (600, 600),
        "webp",
    ),
    Product(
        "Cork wedge Playa",
        "turquoise",
        SANDAL,
        drawn(acc.sandal, Cloth("#1f7f86"), style="wedge", sole="#b08a5c"),
        (500, 400),
        "rgba",
    ),
    Product(
        "Trekking sandal Río",
        "dark grey",
        SANDAL,
        drawn(acc.sandal, Cloth("#45494f"), style="sport", sole="#5f6064"),
        (800, 600),
        "jpg",
        BLUE,
    ),
    Product(
        "Flannel shirt Kanada, long sleeve",
        "red check",
        SHIRT,
        drawn(gar.shirt, Cloth("#b9483f", checks("#2b2630", 9, "#d8c9a8")), pockets=2),
        (600, 720),
    ),
    Product(
        "Oxford shirt Kontor",
        "sky blue",
        SHIRT,
        drawn(gar.shirt, Cloth("#7596c4"), pockets=1, button="#2f3a52"),
        (480, 600),
        "webp",
    ),
    Product(
        "Denim shirt Ranch",
        "indigo",
        SHIRT,
        drawn(gar.shirt, Cloth("#3e5478", grain=0.05), pockets=2, button="#d9d3c2"),
        (400, 500),
        "png",
    ),
    Product(
        "Short-sleeved shirt Señor Verano",
        "green check",
        SHIRT,
        drawn(gar.shirt, Cloth("#86a38c", checks("#2f4d4a", 8)), short=True, pockets=1),
        (560, 700),
    ),
    Product(
        "Court sneaker Deuce",
        "white",
        SNEAKER,
        drawn(
            acc.sneaker, Cloth("#e8e6e0"), sole=Cloth("#d6d2c8"), accent="#7f9db0", lace="#ffffff"
        ),
        (600, 450),
        "jpg",
        BLACK,
    ),
    Product(
        "Running shoe Tempo 3",
        "grey/orange",
        SNEAKER,
        drawn(acc.sneaker, Cloth("#5a626c"), style="runner", accent="#d9662b"),
        (900, 675),
    ),
    Product(
        "Canvas plimsoll Quai",
        "red",
        SNEAKER,
        drawn(acc.sneaker, Cloth("#a82f34", grain=0.04), style="canvas"),
        (480, 480),
        "webp",
    ),
    Product(
        "Retro sneaker Pavé",
        "navy suede",
        SNEAKER,
        drawn(
            acc.sneaker,
            Cloth("#2d3b5c", grain=0.05),
            accent="#e6dfcf",
            sole=Cloth("#c9a877", folds=0.02),
        ),
        (440, 330),
        "palette",
    ),
    Product(
        "Leather tote Mercato",
        "cognac",
        BAG,
        drawn(acc.bag, Cloth("#9a5f35", gloss=0.16), style="tote"),
        (700, 840),
        "jpg",
        WHITE,
        0.84,
        second=drawn(acc.bag, Cloth("#9a5f35", gloss=0.16), style="tote", back=True),
    ),
    Product(
        "Satchel Élève, two buckles",
        "dark green",
        BAG,
        drawn(acc.bag, Cloth("#3a5a4c", gloss=0.14), style="satchel", trim="#6b4527"),
        (640, 520),
        "webp",
        BEIGE,
    ),
    Product(
        "Bowling bag Strike",
        "black/burgundy",
        BAG,
        drawn(acc.bag, Cloth("#7a2b3a", gloss=0.18), style="bowling", trim="#262125"),
        (480, 420),
        "rgba",
    ),
    Product(
        "Shoulder bag Luna",
        "plum",
        BAG,
        drawn(acc.bag, Cloth("#5d3f63", gloss=0.16), style="shoulder", trim="#3c2740"),
        (600, 600),
    ),
    Product(
        "Chelsea boot Camden",
        "dark brown",
        BOOT,
        drawn(acc.boot, Cloth("#54372a", gloss=0.18)),
        (720, 640),
    ),
    Product(
        "Block-heel bootie Zoé",
        "black",
        BOOT,
        drawn(acc.boot, Cloth("#2b292c", gloss=0.25), style="heel", sole="#3b3636"),
        (500, 500),
        "webp",
    ),
    Product(
        "Lace-up boot Lumber",
        "tan nubuck",
        BOOT,
        drawn(acc.boot, Cloth("#94673a", grain=0.04), style="lace", sole="#3a2a20"),
        (640, 640),
    ),
    Product(
        "Winter bootie Flöckchen, lined",
        "grey suede",
        BOOT,
        drawn(acc.boot, Cloth("#6c6a70", grain=0.05), style="winter", sole="#35343a"),
        (450, 420),
        "png",
    ),
    Product("Gift: potted plant for the shop window", "green", "", drawn(acc.plant), (480, 600)),
    Product(
        "Fine-knit pullover Mistral (picture damaged)",
        "teal",
        "",
        drawn(gar.pullover, knit("#2e6f73")),
        (600, 600),
        broken=True,
    ),
]


def backdrop(size: tuple[int, int], colour: str) -> Image.Image:
    """Paper behind the product; tinted paper gets slightly darker towards the bottom."""
    base = np.array(ImageColor.getrgb(colour), np.float32)
    drop = 0.0 if colour in (WHITE, BLACK) else 0.025
    rows = 1 - drop * np.linspace(0, 1, size[1], dtype=np.float32)[:, None, None]
    paper = np.broadcast_to(base * rows, (size[1], size[0], 3))
    return Image.fromarray((paper + 0.5).astype(np.uint8)).convert("RGBA")


def picture(product: Product, draw: Callable[[Studio], None], seed: int) -> Image.Image:
    """Draw one picture: the cut-out, centred, with a faint shadow on paper backgrounds."""
    studio = Studio(product.size, product.fill, seed)
    draw(studio)
    cut = studio.cutout()
    sheet = Image.new("RGBA", product.size, (0, 0, 0, 0))
    sheet.alpha_composite(
        cut, (max((sheet.width - cut.width) // 2, 0), max((sheet.height - cut.height) // 2, 0))
    )
    if product.kind == "rgba":
        return sheet
    paper = backdrop(product.size, product.ground)
    if product.ground != BLACK:
        soft = max(product.size) / 150
        shade = sheet.getchannel("A").filter(ImageFilter.GaussianBlur(soft))
        shadow = Image.new("RGBA", product.size, (40, 40, 50, 0))
        shadow.putalpha(shade.point(lambda a: int(a * 0.16)))
        paper.alpha_composite(shadow, (0, int(soft * 0.6)))
    paper.alpha_composite(sheet)
    return paper.convert("RGB")


def save(image: Image.Image, product: Product, path: Path) -> None:
    """Write the picture in the format of its product, with its planned defects."""
    if product.kind == "webp":
        image.save(path, quality=84, method=6)
    elif product.kind == "palette":
        image.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
    elif product.kind in ("png", "rgba"):
        image.save(path, optimize=True)
    else:
        exif = Image.Exif()
        if product.turned:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[ORIENTATION] = 6  # viewers turn it back by a quarter, clockwise
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=86, optimize=True, exif=exif)
        data = buffer.getvalue()
        path.write_bytes(data[: len(data) // 2] if product.broken else data)


def main() -> None:
    """Redraw all pictures and write products.csv."""
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.iterdir():
        old.unlink()
    rows = []
    for number, product in enumerate(PRODUCTS, start=1001):
        sku = f"AT-{number}"
        suffix = product.kind if product.kind in ("jpg", "webp") else "png"
        names = []
        for extra, draw in (("", product.draw), ("-2", product.second)):
            if draw:
                names.append(f"images/{sku}{extra}.{suffix}")
                save(picture(product, draw, number), product, HERE / names[-1])
        rows.append([sku, "|".join(names), product.title, product.colour, product.category])
    with (HERE / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
