"""Which images may run: pure. What is allowed by name is looked at again by what the engine has under that name."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from agents.launcher.runtimes.base import Image
from control_plane.settings import Settings


class Reference(msgspec.Struct, frozen=True):
    """An image's name taken apart: ``registry:5000/name:tag@sha256:…``."""

    name: str
    tag: str | None
    digest: str | None


def parse_reference(text: str) -> Reference:
    """Take a reference, or an operator's pattern for references, apart."""
    rest, _, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return Reference(f"{head}{slash}{name}", tag or None, digest or None)


def is_allowed(reference: str, settings: Settings) -> bool:
    """Whether the operator's list has an image's name: by TRADEWISE_ALLOWED_IMAGES, or as one that we build."""
    return _is_ours(reference, settings) or bool(_matching(reference, settings))


def refusal(reference: str, image: Image, settings: Settings) -> str | None:
    """Why an image that the engine has may not run under a name that is allowed, None where it may.

    A digest is compared with those that the image was pulled by, and with its id where it was built or loaded here.
    """
    if _is_ours(reference, settings):
        return None
    demanded = _matching(reference, settings)
    pinned = [digest for digest in demanded if digest is not None]
    known = {*image.digests, image.id}
    if known & set(pinned):
        return None
    if None not in demanded:
        return "The operator's list (TRADEWISE_ALLOWED_IMAGES) allows it by a digest that this one does not have"
    if settings.image_digests == "required" and parse_reference(reference).digest not in known:
        return "The operator lets foreign images run by digest alone (TRADEWISE_IMAGE_DIGESTS)"
    return None


def _is_ours(reference: str, settings: Settings) -> bool:
    return with_tag(reference) in {with_tag(settings.paper_bot_image), with_tag(settings.freqtrade_image)}


def _matching(reference: str, settings: Settings) -> list[str | None]:
    """The digests that matching patterns demand; None for a pattern that demands none."""
    asked = parse_reference(reference)
    found: list[str | None] = []
    for pattern in settings.allowed_images:
        names, _, digest = pattern.partition("@")
        if digest and asked.digest and digest != asked.digest:
            continue
        if digest and asked.digest and asked.tag is None:
            # The digest says more than any tag: only the name is left to compare.
            matches = fnmatchcase(asked.name, parse_reference(names).name)
        else:
            written = reference.partition("@")[0] if asked.tag else with_tag(reference)
            matches = any(fnmatchcase(written, form) for form in (names, f"{names}:latest"))
        if matches:
            found.append(digest or None)
    return found


def with_tag(reference: str) -> str:
    """``reference`` with the tag that an engine reads where none is written."""
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"
