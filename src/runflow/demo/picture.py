"""The picture that the demo uploads."""

import math
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 640


def paint(path: Path) -> Path:
    """Paint a sun over hills and save it as PNG."""
    sky = Image.linear_gradient("L").resize((SIDE, SIDE))
    image = Image.merge("RGB", (sky.point(lambda v: 255 - v // 3), sky.point(lambda v: 120 + v // 3), sky))
    draw = ImageDraw.Draw(image)
    draw.ellipse((390, 90, 550, 250), fill=(255, 214, 92))
    for layer, colour in enumerate([(96, 84, 160), (58, 76, 128), (24, 44, 78)]):
        ridge = [
            (x, 360 + layer * 70 + 46 * math.sin(x / (70 - layer * 12) + layer * 2) + 18 * math.sin(x / 23 + layer))
            for x in range(0, SIDE + 8, 8)
        ]
        draw.polygon([(0, SIDE), *ridge, (SIDE, SIDE)], fill=colour)
    image.save(path)
    return path
