"""Which ``Host`` headers are answered."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import running_api
from tests.factories import Urls


@dataclass
class Case:
    host: str
    path: str
    status: int


async def test_strange_hosts_are_refused_but_probes_are_answered(settings: Settings, urls: Urls, vault: Vault) -> None:
    strict = msgspec.structs.replace(settings, allowed_hosts=("tradewise.example",))
    async with running_api(strict, urls, vault) as api:
        for case in (
            Case("tradewise.example", "/api/v1/me", 401),
            Case("evil.example", "/api/v1/me", 400),
            Case("127.0.0.1", "/health/live", 200),
            Case("127.0.0.1", "/health/ready", 200),
        ):
            answer = await api.client.get(case.path, headers={"Host": case.host})
            assert answer.status_code == case.status, case
