"""Draws the screen as a picture, as `screencap -p` gives it."""

import functools
import hashlib
import io
import math

from PIL import Image, ImageDraw, ImageFont

from phonefarm_simulator.views import HEIGHT, WIDTH, Bounds, Style, View

_INK = (24, 26, 33)
_FAINT = (120, 124, 138)
_PAPER = (250, 250, 252)
_LINE = (214, 216, 224)
_ACCENT = (228, 46, 92)
_DARK = (17, 18, 24)
_WHITE = (255, 255, 255)

_Colour = tuple[int, int, int]


@functools.lru_cache(maxsize=16)
def black_png() -> bytes:
    """Return a screen that is switched off."""
    return _encode(Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 0)))


@functools.lru_cache(maxsize=128)
def png_of(root: View) -> bytes:
    """Return a PNG of the root's size in pixels; safe to call from any thread."""
    return _encode(picture_of(root))


def picture_of(root: View) -> Image.Image:
    """Return a new picture of the root's size in pixels; safe to call from any thread."""
    image = Image.new("RGB", (root.bounds.right, root.bounds.bottom), _PAPER)
    draw = ImageDraw.Draw(image)
    for view in root.walk():
        _paint(draw, view)
    dark = root.style is Style.WALLPAPER
    _paint_status_bar(draw, _WHITE if dark else _INK)
    return image


def jpeg_of(root: View | None, quality: int) -> bytes:
    """Return the screen as JPEG, black for none; safe to call from any thread."""
    png = black_png() if root is None else png_of(root)
    output = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(output, format="JPEG", quality=quality)
    return output.getvalue()


def rgba_of(root: View | None) -> tuple[int, int, bytes]:
    """Return width, height and pixels, black for none; safe to call from any thread."""
    with Image.open(io.BytesIO(black_png() if root is None else png_of(root))) as image:
        return image.width, image.height, image.convert("RGBA").tobytes()


def _paint(draw: ImageDraw.ImageDraw, view: View) -> None:
    box = view.bounds
    match view.style:
        case Style.PLAIN | Style.PAGE:
            pass
        case Style.BAR:
            draw.rectangle(_corners(box), fill=_WHITE, outline=_LINE)
        case Style.TITLE:
            _write(draw, view.text, box, 40, _INK, bold=True)
        case Style.NAME:
            _write(draw, view.text, box, 40, _INK, bold=True)
        case Style.TEXT:
            _write(draw, view.text, box, 30, _INK)
        case Style.FAINT:
            _write(draw, view.text, box, 26, _FAINT)
        case Style.ALERT:
            _write(draw, view.text, box, 26, _ACCENT)
        case Style.FIELD:
            _paint_field(draw, view)
        case Style.BUTTON:
            draw.rounded_rectangle(_corners(box), radius=18, fill=_ACCENT)
            _write(draw, view.text, box, 32, _WHITE, bold=True, centred=True)
        case Style.QUIET_BUTTON:
            draw.rounded_rectangle(_corners(box), radius=18, fill=_WHITE, outline=_FAINT, width=2)
            _write(draw, view.text, box, 32, _INK, bold=True, centred=True)
        case Style.TAB:
            _paint_tab(draw, view)
        case Style.CARD:
            draw.rounded_rectangle(_corners(box), radius=18, fill=_WHITE, outline=_LINE, width=2)
            inner = Bounds(box.left + 20, box.top, box.right - 20, box.bottom)
            _write(draw, view.text, inner, 30, _INK)
        case Style.THUMBNAIL:
            draw.rounded_rectangle(_corners(box), radius=14, fill=_colour_of(view.description))
            _paint_play(draw, box, min(36, (box.right - box.left) // 4))
        case Style.VIDEO:
            _paint_video(draw, view)
        case Style.VIDEO_TITLE:
            _write(draw, view.text, box, 38, _WHITE, bold=True)
        case Style.VIDEO_AUTHOR:
            _write(draw, view.text, box, 30, _WHITE)
        case Style.PROGRESS:
            _paint_progress(draw, view)
        case Style.AVATAR:
            draw.ellipse(_corners(box), fill=_colour_of(view.description))
            initial = view.description[:1].upper() or "?"
            _write(draw, initial, box, 84, _WHITE, bold=True, centred=True)
        case Style.DIALOG:
            draw.rectangle((0, 0, *draw.im.size), fill=(96, 98, 106))
            draw.rounded_rectangle(_corners(box), radius=28, fill=_WHITE)
        case Style.WALLPAPER:
            _paint_wallpaper(draw)
        case Style.ICON:
            _paint_icon(draw, view)


def _paint_field(draw: ImageDraw.ImageDraw, view: View) -> None:
    box = view.bounds
    edge = _ACCENT if view.focused else _LINE
    draw.rounded_rectangle(_corners(box), radius=16, fill=_WHITE, outline=edge, width=3)
    inner = Bounds(box.left + 24, box.top, box.right - 24, box.bottom)
    if view.text:
        _write(draw, view.text, inner, 30, _INK)
    else:
        _write(draw, view.description, inner, 30, _FAINT)
    if view.focused:
        draw.rectangle((box.left + 14, box.top + 18, box.left + 16, box.bottom - 18), fill=_ACCENT)


def _paint_tab(draw: ImageDraw.ImageDraw, view: View) -> None:
    box = view.bounds
    colour = _ACCENT if view.selected else _FAINT
    x, y = (box.left + box.right) // 2, box.top + 42
    match view.name:
        case "nav_feed":
            draw.polygon([(x - 26, y), (x, y - 24), (x + 26, y)], fill=colour)
            draw.rectangle((x - 18, y, x + 18, y + 20), fill=colour)
        case "nav_search":
            draw.ellipse((x - 22, y - 24, x + 12, y + 10), outline=colour, width=6)
            draw.line((x + 8, y + 6, x + 24, y + 22), fill=colour, width=7)
        case _:
            draw.ellipse((x - 13, y - 26, x + 13, y), fill=colour)
            draw.pieslice((x - 26, y + 2, x + 26, y + 44), 180, 360, fill=colour)
    label = Bounds(box.left, box.top + 70, box.right, box.bottom - 8)
    _write(draw, view.text, label, 24, colour, centred=True)


def _paint_video(draw: ImageDraw.ImageDraw, view: View) -> None:
    box = view.bounds
    red, green, blue = _colour_of(view.description)
    bands = 24
    height = (box.bottom - box.top) / bands
    for band in range(bands):
        shade = 1.0 - 0.78 * band / (bands - 1)
        top = box.top + round(band * height)
        fill = (int(red * shade), int(green * shade), int(blue * shade))
        draw.rectangle((box.left, top, box.right, top + round(height)), fill=fill)
    sun = box.left - 160 + round(view.share * (box.right - box.left + 160))
    high = _down(draw, 230) + round(_down(draw, 120) * abs(2 * view.share - 1))
    draw.ellipse((sun, high, sun + 160, high + 160), fill=_lighter((red, green, blue)))
    _paint_hill(draw, [(0, 860), (210, 520), (430, 860)], _DARK)
    _paint_hill(draw, [(250, 860), (500, 600), (720, 860)], (30, 32, 42))
    draw.rectangle((0, _down(draw, 860), draw.im.size[0], box.bottom), fill=_DARK)
    _paint_play(draw, Bounds(box.left, _down(draw, 440), box.right, _down(draw, 720)), 64)


def _paint_hill(draw: ImageDraw.ImageDraw, corners: list[tuple[int, int]], colour: _Colour) -> None:
    across = draw.im.size[0] / WIDTH
    draw.polygon([(round(x * across), _down(draw, y)) for x, y in corners], fill=colour)


def _down(draw: ImageDraw.ImageDraw, y: int) -> int:
    """Return where a height of an upright screen is on this one, which may lie."""
    height: int = draw.im.size[1]
    return y * height // HEIGHT


def _paint_play(draw: ImageDraw.ImageDraw, box: Bounds, size: int) -> None:
    x, y = (box.left + box.right) // 2, (box.top + box.bottom) // 2
    draw.polygon([(x - size // 2, y - size), (x - size // 2, y + size), (x + size, y)], fill=_WHITE)


def _paint_progress(draw: ImageDraw.ImageDraw, view: View) -> None:
    left, top, right, bottom = view.bounds
    middle = (top + bottom) // 2
    track_end = right - 170
    draw.rectangle((left, middle - 3, track_end, middle + 3), fill=_FAINT)
    done = left + int((track_end - left) * view.share)
    draw.rectangle((left, middle - 3, done, middle + 3), fill=_ACCENT)
    _write(draw, view.text, Bounds(track_end + 16, top, right, bottom), 24, _WHITE)


def _paint_wallpaper(draw: ImageDraw.ImageDraw) -> None:
    width, height = draw.im.size
    for band in range(32):
        top = band * height // 32
        colour = (24 + band * 2, 44 + band * 2, 96 + band * 3)
        draw.rectangle((0, top, width, top + height // 32), fill=colour)
    hill = [(0, 1280), (0, 980), (300, 840), (720, 1060), (720, 1280)]
    _paint_hill(draw, hill, (20, 30, 66))


def _paint_icon(draw: ImageDraw.ImageDraw, view: View) -> None:
    box = view.bounds
    tile = Bounds(box.left + 20, box.top + 10, box.right - 20, box.top + 130)
    draw.rounded_rectangle(_corners(tile), radius=28, fill=_ACCENT)
    _paint_play(draw, tile, 34)
    label = Bounds(box.left - 20, box.top + 140, box.right + 20, box.bottom)
    _write(draw, view.text, label, 26, _WHITE, centred=True)


def _paint_status_bar(draw: ImageDraw.ImageDraw, colour: _Colour) -> None:
    _write(draw, "simulated phone", Bounds(32, 4, 500, 44), 22, colour)
    draw.rounded_rectangle((628, 14, 676, 34), radius=5, outline=colour, width=3)
    draw.rectangle((634, 19, 662, 29), fill=colour)


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: Bounds,
    size: int,
    colour: _Colour,
    *,
    bold: bool = False,
    centred: bool = False,
) -> None:
    x = (box.left + box.right) // 2 if centred else box.left
    y = (box.top + box.bottom) // 2
    mask, left, top = _lettering(text.replace("\n", " "), size, box.right - box.left, bold, centred)
    draw.bitmap((x + left, y + top), mask, fill=colour)


@functools.lru_cache(maxsize=128)
def _lettering(
    text: str, size: int, width: int, bold: bool, centred: bool
) -> tuple[Image.Image, int, int]:
    """Return a text as a mask, and how far its corner is from its anchor.

    A screen that moves has the same texts in the next picture.
    """
    font = _font(size)
    shown = _shortened(text, font, width)
    anchor, stroke = "mm" if centred else "lm", 1 if bold else 0
    left, top, right, bottom = font.getbbox(shown, anchor=anchor, stroke_width=stroke)
    left, top = math.floor(left), math.floor(top)
    mask = Image.new("L", (max(1, math.ceil(right) - left), max(1, math.ceil(bottom) - top)))
    ImageDraw.Draw(mask).text(
        (-left, -top), shown, fill=255, font=font, anchor=anchor, stroke_width=stroke
    )
    return mask, left, top


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = text[:200]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


@functools.lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    for name in ("DejaVuSans.ttf", "Roboto-Regular.ttf", "NotoSans-Regular.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    font = ImageFont.load_default(size)
    if isinstance(font, ImageFont.FreeTypeFont):
        return font
    raise RuntimeError("this Pillow was built without FreeType and cannot draw text")


def _colour_of(seed: str) -> _Colour:
    digest = hashlib.sha256(seed.encode()).digest()
    return (70 + digest[0] % 150, 70 + digest[1] % 150, 90 + digest[2] % 150)


def _lighter(colour: _Colour) -> _Colour:
    red, green, blue = colour
    return (min(255, red + 70), min(255, green + 70), min(255, blue + 40))


def _corners(box: Bounds) -> tuple[int, int, int, int]:
    return (box.left, box.top, box.right - 1, box.bottom - 1)


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
