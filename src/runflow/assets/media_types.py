"""The file types that `GET /v1/assets/types` names: what ComfyUI's own nodes and common custom nodes read or write.

Other types are accepted as well; they become assets of the type `other`, or of their family (`image/…` is an image).
"""

from dataclasses import dataclass

from runflow.assets.kinds import AssetType, asset_type


@dataclass(frozen=True, slots=True)
class MediaType:
    """One type, with the wire's names."""

    mime_type: str
    asset_type: AssetType
    extensions: tuple[str, ...]


_EXTENSIONS: dict[str, tuple[str, ...]] = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
    "image/bmp": (".bmp",),
    "image/tiff": (".tif", ".tiff"),
    "image/heic": (".heic",),
    "image/heif": (".heif",),
    "image/jxl": (".jxl",),
    "image/svg+xml": (".svg",),
    "image/x-exr": (".exr",),
    "image/vnd.radiance": (".hdr",),
    "video/mp4": (".mp4", ".m4v"),
    "video/webm": (".webm",),
    "video/quicktime": (".mov",),
    "video/x-matroska": (".mkv",),
    "video/x-msvideo": (".avi",),
    "audio/mpeg": (".mp3",),
    "audio/wav": (".wav",),
    "audio/flac": (".flac",),
    "audio/ogg": (".ogg", ".oga"),
    "audio/opus": (".opus",),
    "audio/mp4": (".m4a",),
    "audio/aac": (".aac",),
    "model/gltf-binary": (".glb",),
    "model/gltf+json": (".gltf",),
    "model/obj": (".obj",),
    "model/stl": (".stl",),
    "model/ply": (".ply",),
    "text/plain": (".txt",),
    "text/csv": (".csv",),
    "application/json": (".json",),
    "application/yaml": (".yaml", ".yml"),
    "application/zip": (".zip",),
    "application/x-tar": (".tar",),
    "application/gzip": (".gz",),
    "application/pdf": (".pdf",),
    "application/octet-stream": (".bin", ".safetensors", ".npy", ".npz", ".latent"),
}

MEDIA_TYPES: tuple[MediaType, ...] = tuple(
    MediaType(mime_type, asset_type(mime_type), extensions) for mime_type, extensions in _EXTENSIONS.items()
)
"""Every named type, in the order of the answer."""
