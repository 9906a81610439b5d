"""What a worker lays into an engine's home, where libraries look for files that they have fetched before."""

import contextlib
import os
import posixpath
import secrets
from dataclasses import dataclass, field

from runflow.worker.engine.boundary import FILE_MODE, Budget, Folder

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class HomeFiles:
    """Links and short texts, by their paths below an engine's folder, which begin with `home/`.

    A link's target is another such path: what it leads to may lie where the engine can write nothing.
    """

    links: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether there is anything to lay."""
        return bool(self.links or self.texts)


def lay(root: Folder, files: HomeFiles, uid: int | None) -> None:
    """Put them into the engine's folder; what is there otherwise is replaced, and folders belong to `uid`.

    Raises OSError. No link of the engine's is followed.
    """
    for path, target in files.links.items():
        relative = posixpath.relpath(target, posixpath.dirname(path))
        with contextlib.ExitStack() as held:
            folder, name = _above(root, path, uid, held)
            fresh = f".{secrets.token_hex(8)}"
            os.symlink(relative, fresh, dir_fd=folder.descriptor)
            _own(folder, fresh, uid)
            _replace(folder, fresh, name)
    for path, text in files.texts.items():
        with contextlib.ExitStack() as held:
            folder, name = _above(root, path, uid, held)
            fresh = f".{secrets.token_hex(8)}"
            descriptor = os.open(fresh, _NEW, FILE_MODE, dir_fd=folder.descriptor)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)
            _own(folder, fresh, uid)
            _replace(folder, fresh, name)


def _above(root: Folder, path: str, uid: int | None, held: contextlib.ExitStack) -> tuple[Folder, str]:
    home, *between, name = path.split("/")
    folder = held.enter_context(root.own_folder(home))
    for part in between:
        folder = held.enter_context(folder.make(part, uid))
    return folder, name


def _own(folder: Folder, name: str, uid: int | None) -> None:
    if uid is not None:
        os.chown(name, uid, uid, dir_fd=folder.descriptor, follow_symlinks=False)


def _replace(folder: Folder, fresh: str, name: str) -> None:
    try:
        os.rename(fresh, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    except IsADirectoryError:
        folder.remove(name, Budget())
        os.rename(fresh, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    except BaseException:
        folder.unlink(fresh)
        raise
