"""The two clients have the same methods, and each method says what it does."""

import ast
import inspect
import subprocess
import sys

import pytest
from phonefarm import client
from phonefarm.client import AsyncPhonefarm, CallbackVerifier, Phonefarm
from phonefarm.client import blocking_client as blocking

PAIRS = [
    (name, part, getattr(blocking, type(part).__name__.removeprefix("Async")))
    for name, part in vars(AsyncPhonefarm("http://farm", key="k")).items()
    if not name.startswith("_")
]


def methods(of: type) -> dict[str, object]:
    """Return the public methods of a class."""
    return {name: one for name, one in vars(of).items() if not name.startswith("_")}


@pytest.mark.parametrize(("name", "part", "twin"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_each_method_has_a_blocking_twin(name: str, part: object, twin: type) -> None:
    """With the same parameters and docstring; iterators for what yields."""
    for method, ours in methods(type(part)).items():
        theirs = methods(twin).get(method)
        assert callable(ours)
        assert callable(theirs), method
        assert theirs.__doc__ == ours.__doc__
        assert theirs.__doc__
        assert inspect.signature(theirs) == inspect.signature(ours)
        assert inspect.isgeneratorfunction(theirs) == inspect.isasyncgenfunction(ours)
    assert set(methods(twin)) == set(methods(type(part)))


def test_both_clients_have_the_same_parts() -> None:
    """processes, phones and the others, by the same names."""
    with Phonefarm("http://127.0.0.1:1", key="k") as farm:
        parts = {name for name in vars(farm) if not name.startswith("_")}

    assert parts == {pair[0] for pair in PAIRS}


def test_a_closed_client_says_so() -> None:
    """It may be closed twice; a call afterwards is an error, and does not hang."""
    farm = Phonefarm("http://127.0.0.1:1", key="k")
    farm.close()
    farm.close()

    with pytest.raises(RuntimeError, match="closed"):
        farm.phones.list()


def test_the_client_needs_no_program_of_ours() -> None:
    """An import of it loads neither gRPC nor a program: a caller has none of them."""
    program = "import sys, phonefarm.client; print('\\n'.join(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not {name for name in loaded if name.startswith("phonefarm_")}
    assert not loaded & {"grpc", "google", "structlog", "sqlalchemy"}


def test_what_is_exported_is_there() -> None:
    """`__all__` is sorted and true."""
    source = ast.parse(inspect.getsource(client))

    assert client.__all__ == sorted(client.__all__)
    assert all(hasattr(client, name) for name in client.__all__)
    assert ast.get_docstring(source)


@pytest.mark.parametrize(
    ("secret", "why"), [("", "empty"), ("whsec_", "empty"), ("whsec_!", "base64")]
)
def test_a_secret_that_cannot_be_one_is_refused(secret: str, why: str) -> None:
    """ValueError when the verifier is made, not when the first callback comes."""
    with pytest.raises(ValueError, match=why):
        CallbackVerifier(secret)
