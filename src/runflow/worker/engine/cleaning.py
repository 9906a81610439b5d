"""Take out of ComfyUI's error texts what callers must not see: paths, tracebacks, object and tensor dumps, credentials.

ComfyUI's errors carry absolute paths, tracebacks, reprs of inputs and the whole prompt. The operator's log keeps them.
"""

import re

_LONGEST = 400
_LINES = 3
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):.*", re.DOTALL)
_TENSOR = re.compile(r"\b(tensor|array)\(.*", re.DOTALL)
_OBJECT = re.compile(r"<([\w.]+)(?: object)?[^<>]* at 0x[0-9a-fA-F]+>")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_WINDOWS_PATH = re.compile(r"""(?<![\w])[A-Za-z]:[\\/](?:[^\s'"<>|:*?]+[\\/])*([^\s'"<>|:*?\\/]*)""")
_POSIX_PATH = re.compile(r"""(?<![\w:/.~])~?/(?:[^\s'"<>|:,;()\[\]]+/)*([^\s'"<>|:,;()\[\]/]*)""")
_SPACES = re.compile(r"\s+")


def clean(text: object, hidden: tuple[str, ...] = ()) -> str:
    """Return the telling part of an error text in one line of at most 400 characters.

    `hidden` are folders of this machine; they are taken out first, whatever characters they contain. Of any other
    absolute path only the last part stays.
    """
    said = _TRACEBACK.sub("", str(text))
    for folder in sorted((folder.rstrip("/\\") for folder in hidden), key=len, reverse=True):
        if folder:
            said = said.replace(folder + "/", "").replace(folder + "\\", "").replace(folder, "…")
    said = _OBJECT.sub(r"<\1>", _CREDENTIALS.sub("", said))
    said = _ADDRESS.sub("…", _TENSOR.sub(r"\1(…)", said))
    said = _POSIX_PATH.sub(r"\1", _WINDOWS_PATH.sub(r"\1", said))
    lines = [line.strip(" *\t") for line in said.splitlines()]
    line = _SPACES.sub(" ", " ".join([line for line in lines if line][:_LINES])).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"
