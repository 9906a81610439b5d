"""What a workflow is for: the fixed table behind `category_code` (docs/api/workflows.md, "Creating a workflow")."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Category:
    """One row of the table, with the wire's names."""

    code: str
    name: str
    description: str
    sort_order: int


CATEGORIES: dict[str, Category] = {
    row.code: row
    for row in (
        Category("text-to-image", "Text to image", "Makes a picture from a description.", 1),
        Category("image-to-image", "Image to image", "Changes a picture as a whole: style, background, light.", 2),
        Category("inpainting", "Inpainting", "Replaces a masked part of a picture.", 3),
        Category("upscaling", "Upscaling", "Makes a picture larger or sharper.", 4),
        Category("text-to-video", "Text to video", "Makes a video from a description.", 5),
        Category("image-to-video", "Image to video", "Sets a picture in motion.", 6),
        Category("audio", "Audio", "Makes or changes sound, speech or music.", 7),
        Category("3d", "3D", "Makes or changes three-dimensional models.", 8),
        Category("other", "Other", "Anything else.", 9),
    )
}
"""Every category by its code."""
