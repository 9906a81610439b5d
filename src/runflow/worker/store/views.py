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
MOST_NAMED = 10_000
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


@dataclass(slots=True)
class _Domain:
    views: OrderedDict[int, _View] = field(default_factory=OrderedDict)
    count: int = 0
    """How many it had so far: an engine of one that was forgotten may still be there, so no number comes twice."""

    def new_view(self) -> _View:
        view = self.views[self.count] = _View(self.count)
        self.count += 1
        if len(self.views) > MOST_VIEWS:
            self.views.popitem(last=False)
        return view


class ModelViews:
    """The views of a worker's runs."""

    def __init__(self) -> None:
        """Begin without any."""
        self._domains: OrderedDict[str, _Domain] = OrderedDict()

    def domain_of(
        self, domain: str, given: Mapping[str, str], there: Iterable[str], prompt: Any, values: Mapping[str, Any]
    ) -> str:
        """Return the domain in whose engine a run belongs: the one that is given, or a part of it.

        `given`: the contents of models by path that the run's engine is to be given; `there`: the paths of models that
        the version declares and every engine has. `prompt` and the caller's `values` may name others.
        """
        known = self._domains.setdefault(domain, _Domain())
        views = known.views
        self._domains.move_to_end(domain)
        if len(self._domains) > MOST_DOMAINS:
            self._domains.popitem(last=False)
        contents = {**dict.fromkeys(there, ""), **given}
        ends = {end for path in given for end in _ends(path)}
        declared = {end for path in contents for end in _ends(path)}
        named = {name for name in _named(prompt, values) if name not in declared}
        view = next((views[one] for one in sorted(views) if views[one].agrees(contents, ends, named)), None)
        view = view or known.new_view()
        views.move_to_end(view.number)
        view.contents |= contents
        view.ends |= ends
        view.named |= named
        if len(view.named) > MOST_NAMED:
            del views[view.number]  # callers name whatever they like
        return f"{domain} {view.number}" if view.number else domain


def _ends(path: str) -> Iterator[str]:
    parts = path.replace("\\", "/").split("/")
    yield from ("/".join(parts[first:]) for first in range(len(parts)))


def _named(*documents: Any) -> Iterator[str]:
    """Yield the texts that look like files of models, wherever they stand."""
    waiting = list(documents)
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, str) and len(one) <= _LONGEST and _MODEL.search(one):
            yield one.replace("\\", "/")
