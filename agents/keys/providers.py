"""Which key provider the settings name, and the vault on top of it."""

from __future__ import annotations

from agents.keys.transit import TransitKeyProvider
from control_plane.security.keyproviders import KeyProvider, key_provider
from control_plane.security.suites import suite_number
from control_plane.security.vault import Vault
from control_plane.settings import Settings


def provider_for(settings: Settings) -> KeyProvider:
    """The provider that ``TRADEWISE_KEY_PROVIDER`` names. Raises KeyProviderError with the remedy."""
    return TransitKeyProvider(settings) if settings.key_provider == "vault" else key_provider(settings)


def vault_for(settings: Settings) -> Vault:
    """A vault of that provider, which makes key pairs of the suite in ``TRADEWISE_KEY_SUITE``."""
    return Vault(provider_for(settings), new_pairs=suite_number(settings.key_suite))


async def ready(settings: Settings) -> str:
    """Try the provider and close it again; what it holds, in a few words. Raises KeyProviderError with the remedy."""
    provider = provider_for(settings)
    try:
        return await provider.ready()
    finally:
        await provider.close()
