"""What every store of secrets does. A binding provides the fixtures below."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.ports import Secrets


class SecretsContract:
    """The secrets port."""

    @pytest.fixture
    def secrets(self) -> Secrets:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def keep(self) -> Callable[[str, str], None]:
        """Puts a secret (reference, value) where the adapter finds it."""
        raise AssertionError("the binding provides it")

    def test_an_unknown_reference_has_no_value(self, secrets: Secrets) -> None:
        assert secrets.get("NO_SUCH_SECRET") is None

    @pytest.mark.parametrize("value", ["abc", "with space = 'and' quotes", "größer", "two\nlines", ""])
    def test_a_secret_is_found_as_it_was_kept(
        self, secrets: Secrets, keep: Callable[[str, str], None], value: str
    ) -> None:
        keep("WANDB_API_KEY", value)
        assert secrets.get("WANDB_API_KEY") == value

    def test_a_new_value_is_seen(self, secrets: Secrets, keep: Callable[[str, str], None]) -> None:
        keep("TOKEN", "old")
        assert secrets.get("TOKEN") == "old"
        keep("TOKEN", "new")
        assert secrets.get("TOKEN") == "new"

    def test_the_adapter_does_not_show_them(self, secrets: Secrets, keep: Callable[[str, str], None]) -> None:
        keep("TOKEN", "s3cr3t-value")
        secrets.get("TOKEN")
        assert "s3cr3t-value" not in repr(secrets)
