"""What a version's manifest asks for, made into a ComfyUI of its own: sources, packages, builds, and their folder.

What comes in here is strangers' words: addresses, names, requirements, whole repositories. Nothing of it is obeyed; it
is read, bounded, resolved to exact commits and hashes, and refused by name where that is not possible. Code of theirs
runs in a sandbox without a network, or not at all.
"""
