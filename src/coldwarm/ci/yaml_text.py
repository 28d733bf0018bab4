"""Writes pipelines as readable YAML: keys in their original order, scripts as blocks."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(content: dict[str, Any], *, comment: str) -> str:
    """Return `content` as a YAML document under a `comment` of one or more lines."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000)
