"""Prompts and bodies that the tests of workflows share."""

from typing import Any

Prompt = dict[str, dict[str, Any]]


def input_node(input_id: str, kind: str = "String", **widgets: Any) -> dict[str, Any]:
    """A Runflow Input node."""
    return {
        "class_type": f"RunflowInput{kind}",
        "inputs": {"input_id": input_id, "display_name": "", "description": "", "required": True, **widgets},
    }


def output_node(output_id: str, source: str = "9", **widgets: Any) -> dict[str, Any]:
    """A Runflow Output (Image) node wired to `source`."""
    return {
        "class_type": "RunflowOutputImage",
        "inputs": {"output_id": output_id, "output_name": "", "value": [source, 0], **widgets},
    }


def prompt(**nodes: dict[str, Any]) -> Prompt:
    """A prompt with a text input, a sampler stand-in and an image output; keyword `n5=…` sets or adds node 5."""
    made: Prompt = {
        "1": input_node("prompt", display_name="Prompt", description="What to paint"),
        "7": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "text": ["1", 0]}},
        "9": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "source": ["7", 0]}},
        "10": output_node("image"),
    }
    made |= {name.removeprefix("n"): node for name, node in nodes.items()}
    return made


def body(name: str = "My first flow", **fields: Any) -> dict[str, Any]:
    """A body for create with the prompt above."""
    return {"name": name, "workflow_json": prompt(), **fields}


def plugin_body() -> dict[str, Any]:
    """The body that the plugin in the field sends on a first Deploy (docs/compatibility.md)."""
    scrubbed = prompt()
    return {
        "slug": "my-first-flow",
        "name": "My First Flow",
        "workflow_json": scrubbed,
        "graph": {
            "id": "a3f0", "revision": 0, "last_node_id": 10, "last_link_id": 4, "version": 0.4,
            "nodes": [
                {"id": 1, "type": "RunflowInputString", "widgets_values": ["prompt"],
                 "widgets_values_named": {"Deploying…": None, "nul": "a\u0000b"}},
            ],
            "links": [[1, 1, 0, 7, 0, "STRING"]],
            "definitions": {"subgraphs": [{"id": "5c0d", "nodes": []}]},
            "extra": {"unknown": {"kept": [1.5, None, 18446744073709551615]}},
        },
        "environment": {
            "packages": [{"name": "torch", "version": "2.13.0+cpu"}, {"name": "Pillow", "version": "11.0"}],
            "cached_models": {"huggingface": [], "pytorch": []},
            "comfyui": {"origin": "https://github.com/comfyanonymous/ComfyUI", "commit": "a" * 40, "dirty": False},
        },
        "custom_nodes": {
            "ComfyUI-Runflow": {
                "origin": "https://github.com/runflow-io/ComfyUI-Runflow", "commit": "b" * 40, "dirty": True,
            },
        },
        "models": {"checkpoints/a.safetensors": {"url": "https://example.com/a", "sha256": "0" * 64}},
        "resources": {
            "ref.png": {
                "asset_id": "0197f3a0-0000-7000-8000-000000000001", "url": "https://example.com/ref.png",
                "mime_type": "image/png", "size_bytes": 3, "sha256": "1" * 64,
            },
        },
    }  # fmt: skip
