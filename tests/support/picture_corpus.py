"""Generated pictures that judges must like, and ways to spoil them.

The photographs are "dead leaves": discs that hide each other, their radii distributed as r⁻³. Such pictures have the
edges, the textures and the scale-free statistics of natural ones (Lee, Mumford and Huang, "Occlusion models for natural
images", International Journal of Computer Vision 41, 2001), which is why camera tests use them (ISO 19567-2).
"""

import base64
import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Random = np.random.Generator
Maker = Callable[[Random, int, int], Image.Image]


def _fractal(random: Random, width: int, height: int, slope: float) -> np.ndarray:
    """Noise with a spectrum of 1/f^slope, mean 0, standard deviation 1."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) / frequency**slope
    spectrum[0, 0] = 0
    made = np.fft.irfft2(spectrum, (height, width))
    return np.asarray(made / made.std())


def _image(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _leaves(random: Random, width: int, height: int, low: int = 15, high: int = 235) -> Image.Image:
    """Drawn at twice the size and averaged, as a lens and a sensor do."""
    big = Image.new("RGB", (2 * width, 2 * height), (128, 128, 128))
    draw = ImageDraw.Draw(big)
    least, most = 0.012 * 2 * width, 0.35 * 2 * width
    for _ in range(1400):
        radius = least / np.sqrt(1 - random.random() * (1 - (least / most) ** 2))
        x, y = random.uniform(0, 2 * width), random.uniform(0, 2 * height)
        colour = tuple(int(level) for level in random.integers(low, high, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return big.resize((width, height), Image.Resampling.BOX)


def photograph(random: Random, width: int, height: int) -> Image.Image:
    """Objects with texture and shading, and the noise of a good sensor."""
    levels = np.asarray(_leaves(random, width, height), float)
    shade = 1 + 0.15 * _fractal(random, width, height, 1.5)
    levels = levels * shade[..., None] + 3 * _fractal(random, width, height, 1.0)[..., None]
    return _image(levels + random.normal(0, 1.0, levels.shape))


def portrait(random: Random, width: int, height: int) -> Image.Image:
    """A sharp subject before a background that is far out of focus."""
    background = photograph(random, width, height).filter(ImageFilter.GaussianBlur(width / 50))
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).ellipse((width * 0.3, height * 0.2, width * 0.7, height * 0.9), fill=255)
    background.paste(photograph(random, width, height), mask=mask.filter(ImageFilter.GaussianBlur(0.6)))
    return background


def night(random: Random, width: int, height: int) -> Image.Image:
    """A dark street: almost everything is black, a few lamps glow."""
    levels = 4 + 3 * np.abs(_fractal(random, width, height, 1.5))[..., None] * np.ones(3)
    image = _image(levels)
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = int(random.integers(0, width)), int(random.integers(height // 3, height))
        side = max(3, width // 90)
        draw.rectangle((x, y, x + side, y + int(side * 1.6)), fill=(250, 220, int(random.integers(120, 200))))
    glow = np.asarray(image.filter(ImageFilter.GaussianBlur(width / 40)), float)
    return _image(np.asarray(image, float) + 0.8 * glow + random.normal(0, 1.5, levels.shape))


def line_art(random: Random, width: int, height: int) -> Image.Image:
    """Black ink on white paper."""
    big = Image.new("L", (2 * width, 2 * height), 255)
    draw = ImageDraw.Draw(big)
    for _ in range(30):
        points = [(int(x), int(y)) for x, y in random.uniform(0, 1, (4, 2)) * (2 * width, 2 * height)]
        draw.line(points, fill=0, width=max(3, width // 160), joint="curve")
    return big.resize((width, height), Image.Resampling.BOX).convert("RGB")


def flat_design(random: Random, width: int, height: int) -> Image.Image:
    """A few shapes of one colour each, on white."""
    big = Image.new("RGB", (2 * width, 2 * height), (255, 255, 255))
    draw = ImageDraw.Draw(big)
    for _ in range(7):
        x, y = random.uniform(0, 1.6 * width), random.uniform(0, 1.6 * height)
        colour = tuple(int(level) for level in random.integers(0, 256, 3))
        box = (x, y, x + random.uniform(0.1, 0.6) * width, y + random.uniform(0.1, 0.6) * height)
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return big.resize((width, height), Image.Resampling.BOX)


def pastel(random: Random, width: int, height: int) -> Image.Image:
    """Light colours only."""
    big = Image.new("RGB", (width, height), (252, 248, 240))
    draw = ImageDraw.Draw(big)
    for _ in range(6):
        x, y = random.uniform(0, 0.8 * width), random.uniform(0, 0.8 * height)
        colour = tuple(int(level) for level in random.integers(200, 250, 3))
        draw.ellipse((x, y, x + random.uniform(0.1, 0.4) * width, y + random.uniform(0.1, 0.4) * height), fill=colour)
    return big


def linear_gradient(random: Random, width: int, height: int) -> Image.Image:
    """From one colour to another."""
    ends = random.integers(0, 256, (2, 3)).astype(float)
    ends[1] = (ends[0] + 128) % 256
    way = np.linspace(0, 1, height)[:, None, None]
    return _image(np.broadcast_to(ends[0] * (1 - way) + ends[1] * way, (height, width, 3)))


def radial_gradient(random: Random, width: int, height: int) -> Image.Image:
    """A soft light in the middle."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = np.exp(-(x**2 + y**2) * random.uniform(1, 3))[..., None]
    return _image(light * random.integers(120, 240, 3) + 10)


def product(random: Random, width: int, height: int) -> Image.Image:
    """A thing on white with a soft shadow."""
    shadow = Image.new("L", (width, height), 255)
    ImageDraw.Draw(shadow).ellipse((width * 0.28, height * 0.7, width * 0.75, height * 0.85), fill=150)
    image = shadow.filter(ImageFilter.GaussianBlur(width / 40)).convert("RGB")
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((width * 0.3, height * 0.25, width * 0.7, height * 0.8), 20, fill=255)
    image.paste(photograph(random, width, height), mask=mask)
    return image


def sky(random: Random, width: int, height: int) -> Image.Image:
    """Clouds over a horizon."""
    clouds = _fractal(random, width, height, 1.8).clip(0, 3)[..., None]
    levels = np.array([110.0, 150.0, 210.0]) + clouds * np.array([40.0, 30.0, 12.0])
    image = _image(levels + random.normal(0, 1, levels.shape))
    ground = photograph(random, width, max(1, height // 4))
    image.paste(ground, (0, height - ground.height))
    return image


def fabric(random: Random, width: int, height: int) -> Image.Image:
    """Nothing but fine texture."""
    levels = 128 + 28 * _fractal(random, width, height, 0.9)[..., None] * np.ones(3)
    return _image(levels)


def poster(random: Random, width: int, height: int) -> Image.Image:
    """Bars and boxes like the lines of a text, on a dark ground."""
    image = Image.new("RGB", (width, height), tuple(int(level) for level in random.integers(20, 80, 3)))
    draw = ImageDraw.Draw(image)
    for top in range(height // 12, height - height // 12, max(6, height // 24)):
        left = width // 10
        while left < width * 0.85:
            length = int(random.integers(3, 14) * max(2, width // 170))
            draw.rectangle((left, top, left + length, top + max(3, height // 60)), fill=(240, 240, 235))
            left += length + max(3, width // 85)
    return image


GOOD: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        *(photograph, portrait, night, line_art, flat_design, pastel, linear_gradient, radial_gradient, product),
        *(sky, fabric, poster),
    )
}
PHOTOGRAPHIC = ("photograph", "portrait", "product", "sky")
"""Kinds in which blur, noise and lost light are faults that a person sees."""
SIZES = ((512, 512), (768, 512), (1024, 1024))


def good(kind: str, seed: int, width: int = 512, height: int = 512) -> Image.Image:
    """Return a picture that no judge may complain about."""
    return GOOD[kind](np.random.default_rng([seed, len(kind), width]), width, height)


def every_good(seeds: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> Iterator[tuple[str, Image.Image]]:
    """Yield (kind, picture) of every kind in every size."""
    for kind in GOOD:
        for width, height in sizes:
            for seed in range(seeds):
                yield kind, good(kind, seed, width, height)


def blurred(image: Image.Image, sigma: float) -> Image.Image:
    """Out of focus by `sigma` pixels of a view of at most 1024."""
    return image.filter(ImageFilter.GaussianBlur(sigma * max(1.0, max(image.size) / 1024)))


def noisy(image: Image.Image, sigma: float, seed: int = 0) -> Image.Image:
    """With white noise of `sigma` levels."""
    levels = np.asarray(image, float)
    return _image(levels + np.random.default_rng(seed).normal(0, sigma, levels.shape))


def exposed(image: Image.Image, stops: float) -> Image.Image:
    """With so many stops more light, in linear light."""
    linear = (np.asarray(image, float) / 255) ** 2.2 * 2.0**stops
    return _image(255 * linear.clip(0, 1) ** (1 / 2.2))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Through a lossy encoder and back."""
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality)
    return Image.open(io.BytesIO(held.getvalue())).convert("RGB")


def png(image: Image.Image) -> bytes:
    """The image as the bytes of a file."""
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return a file as the text that a request may hold in its place."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
