"""What every registry answers. A binding is a subclass with the fixtures below."""

from __future__ import annotations

import pytest

from slipway.model import Presence
from slipway.ports import Registry


class RegistryContract:
    """The registry port: is this image there?"""

    @pytest.fixture
    def registry(self) -> Registry:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def present(self) -> str:
        """The reference, with a tag, of an image that is there."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def absent(self, present: str) -> list[str]:
        """References of images that are not there: another tag of `present`, and a name that nobody made."""
        return [present.rpartition(":")[0] + ":no-such-tag", present.rpartition("/")[0] + "/nobody-made-this:1"]

    def test_an_image_that_was_made_is_present(self, registry: Registry, present: str) -> None:
        """S11: the build of an image that exists is skipped."""
        assert registry.presence(present) is Presence.PRESENT

    def test_an_image_that_nobody_made_is_absent(self, registry: Registry, absent: list[str]) -> None:
        assert [registry.presence(image) for image in absent] == [Presence.ABSENT] * len(absent)

    @pytest.fixture
    def user(self) -> tuple[str, str] | None:
        """Whom this registry lets push, as far as the adapter was told."""
        return None

    def test_it_hands_out_the_login_that_it_takes_to_push(
        self, registry: Registry, present: str, user: tuple[str, str] | None
    ) -> None:
        assert registry.login(present) == user

    def test_asking_twice_gives_the_same_answer(self, registry: Registry, present: str) -> None:
        assert [registry.presence(present) for _ in range(2)] == [Presence.PRESENT] * 2


class LoginContract:
    """What a registry that wants a login answers, in addition."""

    @pytest.fixture
    def present(self) -> str:
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def anonymous(self) -> Registry:
        """The adapter without credentials."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def impostor(self) -> Registry:
        """The adapter with a password that is wrong."""
        raise AssertionError("the binding provides it")

    def test_without_a_login_one_is_unauthorised(self, anonymous: Registry, present: str) -> None:
        assert anonymous.presence(present) is Presence.UNAUTHORISED

    def test_with_a_wrong_password_one_is_unauthorised(self, impostor: Registry, present: str) -> None:
        assert impostor.presence(present) is Presence.UNAUTHORISED

    def test_absence_is_not_told_to_the_unauthorised(self, impostor: Registry, present: str) -> None:
        absent = present.rpartition("/")[0] + "/nobody-made-this:1"
        assert impostor.presence(absent) is Presence.UNAUTHORISED
