import io
import struct
import zlib

import httpx
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from runflow.assets import service
from runflow.assets.images import drawing
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client
from tests.support.uploading import confirm, open_session, picture, send, upload


def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def icon_of(png: bytes) -> bytes:
    """Return an icon whose header says 16x16, whatever the PNG inside has."""
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22) + png


def tiff_of_one_tile(side: int) -> bytes:
    """Return a TIFF of 16x16 pixels, whose only tile has `side` x `side`."""
    tile = zlib.compress(bytes(side * side))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: len(tile)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(tile)) + tile + struct.pack("<H", len(tags)) + directory + bytes(4)


def drawn(content: bytes) -> Image.Image:
    small = drawing.draw(content)
    assert small is not None
    image = Image.open(io.BytesIO(small))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK"])
def test_every_kind_of_picture(mode: str) -> None:
    source = Image.linear_gradient("L").resize((1200, 600))
    kind = "TIFF" if mode in ("F", "CMYK", "I") else "PNG"
    if mode in ("I;16", "I"):
        source = source.convert("I").point(lambda value: value * 256).convert(mode)
    content = encoded(source.convert(mode) if mode not in ("I;16", "I") else source, kind)
    image = drawn(content)
    assert image.size == (512, 256)
    plain = image.convert("L")
    shades = plain.tobytes()
    assert min(shades) < 60 and max(shades) > 190, "sixteen bits and palettes keep their range"


def test_small_pictures_are_not_enlarged() -> None:
    assert drawn(picture(size=(64, 48))).size == (64, 48)


def test_a_picture_stands_upright_and_says_nothing_about_its_owner() -> None:
    source = Image.new("RGB", (400, 200), "white")
    source.paste("black", (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Somebody's camera"
    image = drawn(encoded(source, "JPEG", exif=exif))
    assert image.size == (200, 400)
    assert image.convert("L").tobytes()[50 * 200 + 100] < 60
    assert not image.getexif()


def test_transparency_stays() -> None:
    image = drawn(encoded(Image.new("RGBA", (600, 600), (255, 0, 0, 0)), "PNG"))
    assert image.mode == "RGBA" and set(image.getchannel("A").tobytes()) == {0}


def test_bombs_and_broken_files_have_none() -> None:
    bomb = encoded(Image.new("L", (20_000, 8_000)), "PNG")
    assert len(bomb) < 200_000
    assert drawing.draw(bomb) is None
    whole = picture("JPEG", (1000, 1000))
    for broken in (b"", b"nonsense", whole[: len(whole) // 2], picture()[:60]):
        assert drawing.draw(broken) is None


def test_a_large_photo_is_decoded_small() -> None:
    photo = encoded(Image.new("RGB", (9_000, 6_000), "navy"), "JPEG")
    assert drawn(photo).size == (512, 341)


async def test_an_image_has_one_from_its_confirmation_on(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, services: Services
) -> None:
    asset = await upload(client, picture(size=(1024, 768)))
    answer = await anonymous.get(asset["thumbnail_url"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (512, 384)
    listed = (await client.get("/v1/assets")).json()["items"][0]
    assert (await anonymous.get(listed["thumbnail_url"])).content == answer.content
    assert [key async for key in services.storage.list(f"thumbnails/{asset['id']}")] == [
        f"thumbnails/{asset['id']}/thumbnail.webp"
    ]


async def test_other_files_have_none(client: httpx.AsyncClient) -> None:
    for mime_type, content in (("text/plain", b"hello"), ("image/svg+xml", b"<svg xmlns='x'/>")):
        asset = await upload(client, content, mime_type, "x")
        assert asset["thumbnail_url"] is None
        assert (await client.get(f"/v1/assets/{asset['id']}")).json()["thumbnail_url"] is None


async def test_a_bomb_is_no_reason_to_refuse_what_comfyui_could_read(client: httpx.AsyncClient) -> None:
    asset = await upload(client, encoded(Image.new("L", (10_000, 8_000)), "PNG"))
    assert asset["thumbnail_url"] is None


async def test_an_inline_image_has_one_when_it_is_read(services: Services, make_key: MakeKey) -> None:
    import base64

    org = await new_org(services)
    key = await make_key(org=org)
    principal = await services.authenticator.principal(key)
    assert isinstance(principal, Principal)
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    asset_id = await service.store_data_uri(services, principal, uri, "photo")
    async with open_client(services, key) as client:
        assert (await client.get("/v1/assets")).json()["items"][0]["thumbnail_url"] is None
        assert (await client.get(f"/v1/assets/{asset_id}")).json()["thumbnail_url"] is not None
        assert (await client.get("/v1/assets")).json()["items"][0]["thumbnail_url"] is not None


async def test_a_second_confirmation_keeps_it(client: httpx.AsyncClient, services: Services) -> None:
    session = await open_session(client, picture())
    await send(session["upload_url"], picture(), "image/png", client)
    await confirm(client, session["asset_id"])
    again = (await confirm(client, session["asset_id"])).json()
    assert (await client.get(again["thumbnail_url"])).status_code == 200


def test_no_program_is_started_for_a_picture_that_says_it_is_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *values, **_: started.append(values))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%<svg\n%%EndComments\nshowpage\n"
    assert drawing.draw(eps) is None and not started


def test_no_header_hides_how_many_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawing.draw(tiff_of_one_tile(256)) is not None
    loaded: list[object] = []
    load = ImageFile.ImageFile.load

    def note(image: ImageFile.ImageFile) -> object:
        loaded.append(image)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", note)
    for content in (icon_of(encoded(Image.new("1", (6000, 6000)), "PNG")), tiff_of_one_tile(6000)):
        assert drawing.draw(content) is None and not loaded
