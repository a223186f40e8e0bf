"""Families of third parties: real distributions in a folder, seen by a real interpreter that starts anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

ROOT = Path(__file__).parents[3]

FAMILY = """
    from control_plane.engines.family import Capability, EngineConfig, Family
    from control_plane.security.credentials import Credential

    class Key(Credential, frozen=True, forbid_unknown_fields=True):
        api_key: str
        hints = {"api_key": "text"}

    class Config(EngineConfig, frozen=True, forbid_unknown_fields=True):
        account: str

    FAMILY = Family(
        name="acme", title="Acme", about="Acme's bots.", credential=Key, config=Config,
        capabilities=frozenset({Capability.TRADING_STATE}), provenance={"trading_state": "/s"},
        program="acme_bots.program:Engine",
    )
"""
PROGRAM = """
    from agents.engines.base import ControlRefused, Outside, Reading
    from acme_bots.family import FAMILY

    class Engine(Outside):
        family = FAMILY

        async def check(self, client, base_url, credential, config, *, now):
            return Reading(reachable=True, credential_ok=True, full=False, trading_state=config.account)

        read = check

        async def control(self, client, base_url, credential, config, action):
            raise ControlRefused("It cannot.")
"""
# What the web tier knows, then what agents do, each in one process as they run.
LOOK = """
    import asyncio, json, sys
    from control_plane.engines.registry import FAMILIES, LEFT_OUT
    from control_plane.engines.configs import decode_config
    from control_plane.engines.schemas import view_of
    from control_plane.security.credentials import decode_credentials
    told = {
        "families": sorted(FAMILIES),
        "left_out": [[one.name, one.distribution, one.problem] for one in LEFT_OUT],
        "agents_loaded": any(name.partition(".")[0] == "agents" for name in sys.modules),
    }
    from agents.engines import _ENGINES, engine_for
    told["engines"] = sorted(_ENGINES)
    if "acme" in FAMILIES:
        told["shown"] = view_of(FAMILIES["acme"]).config_schema["$defs"]["Config"]["required"]
    if "acme" in _ENGINES:
        credential = decode_credentials("acme", {"api_key": "k"})
        config = decode_config(FAMILIES["acme"], {"account": "main"})
        reading = asyncio.run(engine_for("acme").check(None, None, credential, config, now=None))
        told["state"] = reading.trading_state
    print(json.dumps(told))
"""
OURS = ["freqtrade", "http", "hummingbot", "octobot", "tradewise"]


def install(folder: Path, name: str, entries: str, **files: str) -> None:
    """A distribution as an installer leaves it: a package, and its metadata beside it."""
    package = folder / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for module, text in files.items():
        (package / f"{module}.py").write_text(dedent(text))
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tradewise.engines]\n{entries}\n")


def look(folder: Path) -> dict[str, Any]:
    """What a process that starts with that folder on its path knows."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOOK)], env=env, cwd=folder, capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told["log"] = done.stdout + done.stderr
    return told


def test_an_installed_family_is_known_to_the_web_tier_and_runs_in_agents_alone(tmp_path: Path) -> None:
    install(tmp_path, "acme-bots", "acme = acme_bots.family:FAMILY", family=FAMILY, program=PROGRAM)
    told = look(tmp_path)
    assert told["families"] == told["engines"] == sorted([*OURS, "acme"])
    assert (told["left_out"], told["agents_loaded"]) == ([], False)
    assert (told["shown"], told["state"]) == (["account"], "main")


def family_of(name: str) -> str:
    """Acme's family under another name, in a package of that name."""
    return FAMILY.replace('"acme"', f'"{name}"').replace("acme_bots", f"{name}_bots")


def program_of(name: str) -> str:
    """Its program."""
    return PROGRAM.replace("acme_bots", f"{name}_bots")


#: By name: what becomes of its family, and what is said of it.
BROKEN: dict[str, tuple[str, str]] = {
    "absent": ("", "could not be loaded: AttributeError"),
    "raising": ("raise SystemError('planted')", "could not be loaded: SystemError"),
    "lacking": ("import no_such_library", "could not be loaded: ModuleNotFoundError (no_such_library)"),
    "seven": ("FAMILY = 7", "does not name a"),
    "misnamed": (family_of("other"), "the entry point's own name"),
    "freqtrade": (family_of("freqtrade"), "a family of our own"),
    "nowhere": (family_of("nowhere").replace('program="nowhere_bots.program:Engine"', 'program="os"'), "module:name"),
    "unhinted": (family_of("unhinted").replace('{"api_key": "text"}', "{}"), "without a hint"),
    "lax": (family_of("lax").replace("forbid_unknown_fields=True", "forbid_unknown_fields=False"), "no strict"),
    "twice": (family_of("twice"), "two packages"),
    "leaving": ("raise SystemExit('planted')", "could not be loaded: SystemExit"),
    "classless": (family_of("classless").replace("credential=Key", 'credential="Key"'), "no strict"),
    "shapeless": (family_of("shapeless").replace("config=Config", "config={}"), "a configuration that is no"),
    "listed": (family_of("listed").replace("frozenset({Capability.TRADING_STATE})", '["equity"]'), "no set of"),
    "fancied": (family_of("fancied").replace("Capability.TRADING_STATE", '"telepathy"'), "no set of"),
    "fifth": (family_of("fifth").replace('program="fifth_bots.program:Engine"', "program=5"), "module:name"),
    "untitled": (family_of("untitled").replace('title="Acme"', "title=None"), "title"),
    "unsourced": (family_of("unsourced").replace('{"trading_state": "/s"}', '["/s"]'), "provenance"),
    "unpublished": (
        family_of("unpublished").replace("account: str", "account: type"),
        "could not be checked: TypeError",
    ),
    "sly": (
        family_of("sly").replace(
            "FAMILY = ",
            "class Sly(Family):\n        title = property(lambda self: exit(3))\n"
            "    FAMILY = Sly.__new__(Sly)\n    _ = ",
        ),
        "could not be checked",
    ),
}
#: By name: a whole family whose program is none.
PROGRAMLESS: dict[str, tuple[str, str]] = {
    "failing": ("raise RuntimeError('planted')", "could not be loaded: RuntimeError"),
    "parting": ("raise SystemExit('planted')", "could not be loaded: SystemExit"),
    "empty": ("Engine = object", "lacks shared_key"),
    "moody": (
        program_of("moody").replace("family = FAMILY", "family = property(lambda self: 1 / 0)"),
        "could not be loaded: ZeroDivisionError",
    ),
    "foreign": (program_of("foreign").replace("family = FAMILY", "family = None"), "another family"),
}


def test_what_is_broken_is_told_and_left_out_and_everything_else_stands(tmp_path: Path) -> None:
    for name, (text, _) in BROKEN.items():
        install(tmp_path, f"{name}-bots", f"{name} = {name}_bots.family:FAMILY", family=text)
    install(tmp_path, "again-bots", "twice = again_bots.family:FAMILY", family=family_of("twice"))
    for name, (text, _) in PROGRAMLESS.items():
        entry = f"{name} = {name}_bots.family:FAMILY"
        install(tmp_path, f"{name}-bots", entry, family=family_of(name), program=text)
    install(tmp_path, "acme-bots", "acme = acme_bots.family:FAMILY", family=FAMILY, program=PROGRAM)
    told = look(tmp_path)
    assert told["families"] == sorted([*OURS, *PROGRAMLESS, "acme"])
    assert (told["engines"], told["state"]) == (sorted([*OURS, "acme"]), "main")
    left_out = {distribution: (name, why) for name, distribution, why in told["left_out"]}
    assert set(left_out) == {*(f"{name}-bots" for name in BROKEN), "again-bots"}
    for name, (_, problem) in BROKEN.items():
        assert left_out[f"{name}-bots"][0] == name
        assert problem in left_out[f"{name}-bots"][1]
    for name, (_, problem) in PROGRAMLESS.items():
        assert any(name in line and problem in line for line in told["log"].splitlines())
    assert "planted" not in told["log"]
