"""The program in an image that fetches its run's secrets: a process of its own, with nothing but the standard library,
against moto behind a guard that checks signatures (S17)."""

from __future__ import annotations

import ast
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import boto3
import pytest
from botocore.credentials import Credentials as BotoCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tests import services
from tests.standins.aws.guarded import PATH, GuardedAws, signed_by_botocore
from tests.standins.aws.moto_server import ACCOUNT, REGION, unique

from slipway.adapters.aws.clients import Clients
from slipway.render import with_secrets
from slipway.render.secrets import program
from slipway.render.with_secrets import Credentials, Failure, endpoint, region_of, signed, trusted, wanted

VALUE = "5f3a-läng ${x}\n'quoted'"
ENVIRONMENT = [sys.executable, "-I", "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]


@pytest.fixture
def guarded(moto: str) -> GuardedAws:
    return GuardedAws(moto)


@pytest.fixture
def environ(guarded: GuardedAws) -> Iterator[dict[str, str]]:
    """What a container on SageMaker has in its environment, with AWS on loopback."""
    with services.web(guarded) as host:
        yield {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": f"http://{host}",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host}{PATH}",
        }


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """The program as in an image: its text alone, started where a job's own files would be in its way."""
    file = tmp_path / "with-secrets.py"
    file.write_text(program())
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the job')\n")

    def run(*command: str, secrets: Mapping[str, Any] | None = None, **variables: str) -> Ended:
        told = {} if secrets is None else {"SLIPWAY_SECRETS": json.dumps(secrets)}
        ended = subprocess.run(
            [sys.executable, "-I", "-S", file, *(command or ENVIRONMENT)],
            env={**environ, **told, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert VALUE not in ended.stderr
        return ended

    return run


@pytest.fixture
def secret(aws: Clients) -> Callable[..., str]:
    """Puts a secret into Secrets Manager; its ARN."""

    def secret(text: str | bytes = VALUE) -> str:
        value: Any = {"SecretString": text} if isinstance(text, str) else {"SecretBinary": text}
        return aws.secretsmanager.create_secret(Name=unique("team/key"), **value)["ARN"]

    return secret


def environment(ended: Ended) -> dict[str, str]:
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


# --- what the command gets


@pytest.mark.parametrize("text", [VALUE, VALUE.encode(), json.dumps({"KEY": VALUE})])
def test_a_secret_becomes_the_variable_that_wants_it(run: Run, secret: Callable[..., str], text: str | bytes) -> None:
    """As text, as bytes, and as the object of one key that AWS's console makes."""
    arn = secret(text)
    assert environment(run(secrets={"KEY": arn}))["KEY"] == VALUE


def test_a_key_picks_one_of_several_secrets(run: Run, secret: Callable[..., str], guarded: GuardedAws) -> None:
    arn = secret(json.dumps({"a": VALUE, "b": {"c": 1}}))
    found = environment(run(secrets={"A": f"{arn}#a", "B": f"{arn}#b"}))
    assert (found["A"], found["B"]) == (VALUE, '{"c": 1}')
    assert guarded.calls == ["secretsmanager.GetSecretValue"]


@pytest.mark.parametrize("kind", ["String", "SecureString"])
def test_a_parameter_becomes_the_variable_that_wants_it(run: Run, aws: Clients, kind: Any) -> None:
    name = f"/{unique('slipway')}"
    aws.ssm.put_parameter(Name=name, Value=VALUE, Type=kind)
    assert environment(run(secrets={"KEY": f"ssm:{name}"}))["KEY"] == VALUE


def test_a_value_is_utf8_whatever_the_locale_is(run: Run, secret: Callable[..., str]) -> None:
    show = [sys.executable, "-c", "import os; print(os.environb[b'KEY'].hex())"]
    ended = run(*show, secrets={"KEY": secret()}, LANG="C", LC_ALL="C")
    assert bytes.fromhex(ended.stdout).decode() == VALUE


def test_many_references_come_in_pieces(run: Run, secret: Callable[..., str]) -> None:
    """A variable of SageMaker's holds 512 characters."""
    arn = secret()
    text = json.dumps({f"KEY{number}": arn for number in range(8)})
    pieces = {f"SLIPWAY_SECRETS_{index}": text[index * 512 :][:512] for index in range(len(text) // 512 + 1)}
    found = environment(run(**pieces))
    assert len(pieces) > 1
    assert {found[f"KEY{number}"] for number in range(8)} == {VALUE}


def test_a_variable_that_is_set_is_left_as_it_is(run: Run, secret: Callable[..., str], guarded: GuardedAws) -> None:
    """A queue's own environment wins, as it does on SageMaker for every other variable."""
    assert environment(run(secrets={"KEY": secret()}, KEY="the queue's"))["KEY"] == "the queue's"
    assert (guarded.calls, guarded.credentials_given) == ([], 0)


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_without_secrets_the_command_is_executed_at_once(
    run: Run, environ: dict[str, str], guarded: GuardedAws, text: str | None
) -> None:
    told = {} if text is None else {"SLIPWAY_SECRETS": text}
    assert environment(run(**told)) == {**environ, **told}
    assert (guarded.calls, guarded.credentials_given) == ([], 0)


def test_it_becomes_the_command_and_leaves_nothing_of_itself(run: Run, secret: Callable[..., str]) -> None:
    """Its words, its exit code, and the signals that Python ignores: `yes | head` must end."""
    script = 'grep SigIgn /proc/self/status; echo "$KEY" "$@"; exit 7'
    ended = run("sh", "-c", script, "sh", "a b", "*", secrets={"KEY": secret("k")})
    plain = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [plain.stdout.strip(), "k a b *"]
    assert ended.returncode == 7


# --- with which credentials


def test_the_containers_credentials_are_asked_for_with_its_token(
    run: Run, secret: Callable[..., str], guarded: GuardedAws, tmp_path: Path
) -> None:
    guarded.token = "Bearer of-the-container"
    told = {"KEY": secret()}
    (tmp_path / "token").write_text(f"{guarded.token}\n")
    assert run(secrets=told).returncode == 77
    assert environment(run(secrets=told, AWS_CONTAINER_AUTHORIZATION_TOKEN=guarded.token))["KEY"] == VALUE
    file = str(tmp_path / "token")
    assert environment(run(secrets=told, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=file))["KEY"] == VALUE
    assert guarded.credentials_given == 2


def test_a_users_own_keys_go_before_them_and_wrong_ones_are_refused_by_aws(
    run: Run, secret: Callable[..., str], guarded: GuardedAws
) -> None:
    """The signature is checked: another secret key makes another one."""
    own = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "another"}
    ended = run(secrets={"KEY": secret()}, **own)
    assert (ended.returncode, guarded.credentials_given, guarded.calls) == (77, 0, ["signature refused"])
    assert "AWS says: InvalidSignatureException The signature does not match." in ended.stderr
    assert "another" not in ended.stderr


def test_without_credentials_it_says_so(run: Run, secret: Callable[..., str]) -> None:
    ended = run(secrets={"KEY": secret()}, AWS_CONTAINER_CREDENTIALS_FULL_URI="")
    assert ended.returncode == 77
    assert ended.stderr == "slipway: there are no AWS credentials here, and a run on SageMaker has some\n"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://169.254.170.2/v2/x", True),
        ("http://[fd00:ec2::23]/v1", True),
        ("http://127.0.0.1:80/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("https://credentials.example.com/x", True),
        ("http://credentials.example.com/x", False),
        ("http://169.254.170.2@example.com/x", False),
        ("http://169.254.169.254/x", False),
        ("ftp://localhost/x", False),
        ("file:///etc/passwd", False),
        ("http://[", False),
        ("https://", False),
    ],
)
def test_credentials_are_asked_for_where_aws_says_alone(url: str, allowed: bool) -> None:
    assert trusted(url) is allowed


def test_the_relative_address_is_of_the_containers_own_endpoint(run: Run, secret: Callable[..., str]) -> None:
    evil = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@example.com/x"}
    ended = run(secrets={"KEY": secret()}, **evil)
    assert (ended.returncode, "neither https nor one that AWS names" in ended.stderr) == (77, True)


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ACCESS_KEY_ID": "a\nb", "AWS_SECRET_ACCESS_KEY": VALUE},
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": VALUE},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN": VALUE},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere"},
    ],
)
def test_credentials_that_cannot_be_sent_are_not_shown(run: Run, variables: dict[str, str]) -> None:
    ended = run(secrets={"KEY": "team/key"}, **variables)
    assert ended.returncode == 78
    assert ended.stderr.startswith("slipway: ")
    assert "Traceback" not in ended.stderr


# --- the signature


texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
hosts = st.sampled_from(["ssm.eu-west-1.amazonaws.com", "127.0.0.1:8080", "host:80", "host:443", "[::1]:5000"])
paths = st.text("ab-_.~+ %é", max_size=6).map(lambda text: f"/{text.strip('./')}x/".replace(" ", "+"))


@given(
    st.sampled_from(["http", "https"]),
    hosts,
    st.just("/") | paths.filter(lambda path: "." not in path),
    st.binary(max_size=50),
    st.sampled_from(["ssm", "secretsmanager"]),
    st.sampled_from(["eu-west-1", "cn-north-1"]),
    st.builds(Credentials, texts, texts, texts | st.just("")),
    st.datetimes().map(lambda when: f"{when:%Y%m%dT%H%M%SZ}".zfill(16)),
)
def test_a_request_is_signed_as_botocore_signs_it(
    scheme: str, host: str, path: str, body: bytes, service: str, region: str, credentials: Credentials, stamp: str
) -> None:
    url = f"{scheme}://{host}{path}"
    sent = signed(url, {"Content-Type": "a/b", "X-Amz-Target": "A.B"}, body, service, region, credentials, stamp)
    mine = sent.pop("Authorization")
    theirs = BotoCredentials(credentials.key, credentials.secret, credentials.token or None)
    assert mine == signed_by_botocore(url, sent, body, service, region, theirs)
    assert sent.get("X-Amz-Security-Token", "") == credentials.token


# --- where it asks


def test_every_region_is_asked_where_boto3_asks_it() -> None:
    session = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b")
    regions = [
        region for each in session.get_available_partitions() for region in session.get_available_regions("ssm", each)
    ]
    assert len(regions) > 30
    for region in regions:
        for service in ("ssm", "secretsmanager"):
            asked = session.client(service, region_name=region).meta.endpoint_url  # type: ignore[call-overload]
            assert endpoint(service, region, {}) == f"{asked}/"


def test_a_service_may_have_an_address_of_its_own() -> None:
    given_too = {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_SSM": "http://one:1/x/"}
    assert endpoint("ssm", REGION, given_too) == "http://one:1/x/"
    assert endpoint("secretsmanager", REGION, given_too) == "https://all/"
    with pytest.raises(Failure, match="AWS_ENDPOINT_URL is no address"):
        endpoint("ssm", REGION, {"AWS_ENDPOINT_URL": "ftp://all"})


@pytest.mark.parametrize(
    ("name", "variables", "region"),
    [
        ("arn:aws:secretsmanager:us-east-2:1:secret:x", {"AWS_REGION": REGION}, "us-east-2"),
        ("arn:aws:ssm:us-east-2:1:parameter/x", {}, "us-east-2"),
        (
            "/x",
            {"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-1", "TRAINING_JOB_ARN": "arn:aws:sagemaker:c-1:1:x"},
            "a-1",
        ),
        ("/x", {"TRAINING_JOB_ARN": "arn:aws:sagemaker:c-1:1:training-job/x"}, "c-1"),
        ("/x", {}, None),
        ("arn:aws:ssm:evil.com/:1:x", {}, None),
    ],
)
def test_the_region_is_the_secrets_own_or_the_runs(name: str, variables: dict[str, str], region: str | None) -> None:
    if region is None:
        with pytest.raises(Failure, match=r"region of .* is not known"):
            region_of(name, variables)
    else:
        assert region_of(name, variables) == region


# --- what cannot be had


DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/runs/SageMaker is not authorized to perform: "
    "secretsmanager:GetSecretValue on resource: arn because no identity-based policy allows the action"
)


@pytest.mark.parametrize(
    ("place", "words", "right"),
    [
        ("arn:aws:secretsmanager:eu-west-1:1:secret:k", DENIED, "secretsmanager:GetSecretValue on "),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:k", "Access to KMS is not allowed", "kms:Decrypt on the key of "),
        ("ssm:/team/key", "User: x is not authorized to perform: ssm:GetParameter on y", "ssm:GetParameter on "),
    ],
)
def test_a_missing_right_is_named(run: Run, guarded: GuardedAws, place: str, words: str, right: str) -> None:
    guarded.answers.append(("400 Bad Request", {"__type": "AccessDeniedException", "Message": words}))
    ended = run(secrets={"KEY": place})
    assert ended.returncode == 77
    assert ended.stderr == (
        f"slipway: KEY: the run's role may not read it: allow the role {right}{place}. "
        f"AWS says: AccessDeniedException {words}\n"
    )
    assert ended.stdout == ""


def test_all_that_is_missing_is_told_at_once(run: Run, secret: Callable[..., str]) -> None:
    lost = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:lost-AbCdEf"
    ended = run(secrets={"A": lost, "B": "ssm:/lost", "C": secret(), "D": f"{secret()}#d", "E": secret(b"\xff")})
    assert ended.returncode == 78
    told = [line.removeprefix("slipway: ")[:1] for line in ended.stderr.splitlines()]
    assert told == ["A", "B", "D", "E"]
    assert f"there is no {lost} in {REGION}. AWS says: ResourceNotFoundException" in ended.stderr
    assert "there is no ssm:/lost in" in ended.stderr
    assert "is no JSON object with a key 'd'" in ended.stderr


@pytest.mark.parametrize("text", ["hunter2\0", '{"KEY": "hunter2\\ud800"}'])
def test_a_value_that_no_variable_can_hold_is_refused_and_not_shown(
    run: Run, secret: Callable[..., str], text: str
) -> None:
    ended = run(secrets={"KEY": secret(text)})
    assert (ended.returncode, "hunter2" in ended.stderr) == (78, False)
    assert "is no text that a variable can hold" in ended.stderr


@pytest.mark.parametrize("text", ["hunter2", '["hunter2"]', '{"KEY": 5}', '{"": "hunter2"}', '{"A=B": "hunter2"}'])
def test_references_that_are_none_are_refused_and_not_shown(run: Run, text: str) -> None:
    ended = run(SLIPWAY_SECRETS=text)
    assert ended.returncode == 78
    assert ended.stderr == "slipway: SLIPWAY_SECRETS is no JSON object of variables to places in AWS\n"


@pytest.mark.parametrize(
    ("command", "code"), [(["no-such-program", "--at-all"], 127), (["/etc/passwd"], 126), (["/etc/passwd/x"], 126)]
)
def test_a_command_that_cannot_be_executed_is_named(run: Run, command: list[str], code: int) -> None:
    ended = run(*command)
    assert ended.returncode == code
    assert ended.stderr.startswith(f"slipway: {command[0]} cannot be executed: ")


def test_without_a_command_it_says_how_it_is_used(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-I", "-S", with_secrets.__file__], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.startswith("slipway: usage: ")) == (64, True)


# --- what may pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(with_secrets, "WAITS", (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "answer",
    [
        ("400 Bad Request", {"__type": "ThrottlingException", "message": "Rate exceeded"}),
        ("429 Too Many Requests", {}),
        ("503 Service Unavailable", "no object"),
        ("500 Internal Server Error", {"__type": "com.amazonaws#InternalServiceError"}),
    ],
)
def test_what_may_pass_is_tried_again(
    impatient: None, environ: dict[str, str], guarded: GuardedAws, secret: Callable[..., str], answer: tuple[str, Any]
) -> None:
    guarded.answers += [answer, answer]
    assert with_secrets.fetched({"KEY": secret()}, environ) == {"KEY": VALUE}
    assert len(guarded.calls) == 3


def test_where_nobody_answers_it_gives_up_and_says_where(
    impatient: None, environ: dict[str, str], guarded: GuardedAws, secret: Callable[..., str]
) -> None:
    nowhere = f"127.0.0.1:{services.free_port()}"
    told = {**environ, "AWS_ENDPOINT_URL": f"http://{nowhere}"}
    with pytest.raises(Failure, match=rf"A: {nowhere} does not answer .*refused.*: has the run a network") as raised:
        with_secrets.fetched({"A": secret(), "B": "ssm:/x"}, told)
    assert raised.value.code == 69
    assert "\n" not in str(raised.value), "the second is not waited for"


def test_a_redirection_is_not_followed(
    impatient: None, environ: dict[str, str], guarded: GuardedAws, secret: Callable[..., str]
) -> None:
    """Nobody else is given a request that is signed."""
    guarded.answers.append(("307 Temporary Redirect", {}))
    with pytest.raises(Failure, match=r"was refused for .* AWS says: HTTP 307"):
        with_secrets.fetched({"KEY": secret()}, environ)
    assert len(guarded.calls) == 1


def test_credentials_are_never_asked_for_through_a_proxy(
    impatient: None, environ: dict[str, str], guarded: GuardedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{services.free_port()}")
    with pytest.raises(Failure, match="does not answer"):
        with_secrets.fetched({"KEY": "ssm:/x"}, environ)
    assert (guarded.credentials_given, guarded.calls) == (1, [])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of 127.0.0.1, with its key, signed by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def over_tls(application: GuardedAws, certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with make_server("127.0.0.1", 0, application) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_whom_nobody_vouches_for_is_told_no_secret_and_tried_once(
    environ: dict[str, str], guarded: GuardedAws, secret: Callable[..., str], certificate: Path
) -> None:
    with over_tls(guarded, certificate) as host:
        told = {**environ, "AWS_ENDPOINT_URL": f"https://{host}"}
        with pytest.raises(Failure, match=r"is not trusted .*install ca-certificates in the image") as raised:
            with_secrets.fetched({"KEY": secret()}, told)
        assert (raised.value.code, guarded.calls) == (69, [])
        vouched = {**told, "AWS_CA_BUNDLE": str(certificate)}
        assert with_secrets.fetched({"KEY": secret()}, vouched) == {"KEY": VALUE}
    with pytest.raises(Failure, match="AWS_CA_BUNDLE: /nowhere cannot be read"):
        with_secrets.fetched({"KEY": "x"}, {**environ, "AWS_CA_BUNDLE": "/nowhere"})


# --- what it is made of


def test_it_is_plain_text_for_an_old_python_and_has_nothing_that_a_dockerfile_would_take_for_its_own() -> None:
    text = program()
    ast.parse(text, feature_version=(3, 7))
    assert text.isascii()
    assert text.isprintable() is False
    assert set(text) - {"\n"} == {character for character in text if character.isprintable()}
    assert "<<" not in text
    assert not any(line.endswith("\\") for line in text.splitlines())


def test_only_the_variables_that_are_not_set_are_wanted() -> None:
    told = {"SLIPWAY_SECRETS": '{"A": "x", "B": "y"}', "A": "set", "B": ""}
    assert wanted(told) == {"B": "y"}
