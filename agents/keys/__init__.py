"""Key-encryption keys from another machine, and rotation: of the keys that wrap, and of tenants' own key pairs."""
