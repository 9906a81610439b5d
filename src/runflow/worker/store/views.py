"""Which runs of a domain may share an engine, by the models that they are given: one path never has two contents there.

ComfyUI remembers by a file's name what it has loaded and computed. So an engine that was given a content under a path
keeps it for its whole life, and a version that declares another content there, or names such a file without declaring
it, goes into another engine.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_VIEWS = 16
"""Of one domain; the one that was used least lately is forgotten, and its engine serves nobody any more."""
MOST_DOMAINS = 1_000
_LONGEST = 500
_MODEL = re.compile(r".\.(safetensors|sft|ckpt|pt|pth|gguf|onnx|bin)$", re.IGNORECASE)


@dataclass(slots=True)
class _View:
    number: int
    contents: dict[str, str] = field(default_factory=dict)
    """What was given to its engine, by path; empty text: a file that the engine had already."""
    ends: set[str] = field(default_factory=set)
    """What prompts may call the files that were given: each path, and what it is called inside its folders."""
    named: set[str] = field(default_factory=set)
    """Files that prompts name and their versions do not declare."""

    def agrees(self, contents: Mapping[str, str], ends: set[str], named: set[str]) -> bool:
        same = all(self.contents.get(path, content) == content for path, content in contents.items())
        return same and not (named & self.ends) and not (self.named & ends)


class ModelViews:
    """The views of a worker's runs."""

    def __init__(self) -> None:
        """Begin without any."""
        self._domains: OrderedDict[str, OrderedDict[int, _View]] = OrderedDict()
        self._numbers = 0

    def domain_of(
        self, domain: str, given: Mapping[str, str], there: Iterable[str], prompt: Any, values: Mapping[str, Any]
    ) -> str:
        """Return the domain in whose engine a run belongs: the one that is given, or a part of it.

        `given`: the contents of models by path that the run's engine is to be given; `there`: the paths of models that
        the version declares and every engine has. `prompt` and the caller's `values` may name others.
        """
        views = self._domains.setdefault(domain, OrderedDict())
        self._domains.move_to_end(domain)
        if len(self._domains) > MOST_DOMAINS:
            self._domains.popitem(last=False)
        contents = {**dict.fromkeys(there, ""), **given}
        ends = {end for path in given for end in _ends(path)}
        declared = {end for path in contents for end in _ends(path)}
        named = {name for name in _named(prompt, values) if name not in declared}
        view = next((views[one] for one in sorted(views) if views[one].agrees(contents, ends, named)), None)
        if view is None:
            self._numbers += bool(views)
            view = views[self._numbers if views else 0] = _View(self._numbers if views else 0)
            if len(views) > MOST_VIEWS:
                views.popitem(last=False)
        views.move_to_end(view.number)
        view.contents |= contents
        view.ends |= ends
        view.named |= named
        return f"{domain} {view.number}" if view.number else domain


def _ends(path: str) -> Iterator[str]:
    parts = path.replace("\\", "/").split("/")
    yield from ("/".join(parts[first:]) for first in range(len(parts)))


def _named(prompt: Any, values: Mapping[str, Any]) -> Iterator[str]:
    nodes = prompt.values() if isinstance(prompt, Mapping) else ()
    inputs = [node.get("inputs") for node in nodes if isinstance(node, Mapping)]
    for fields in (*inputs, values):
        for value in fields.values() if isinstance(fields, Mapping) else ():
            if isinstance(value, str) and len(value) <= _LONGEST and _MODEL.search(value):
                yield value.replace("\\", "/")
