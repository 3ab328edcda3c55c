"""The HTTP API: one ASGI application that every deployment mounts. It translates HTTP to `slipway.functions`."""
