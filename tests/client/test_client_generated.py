"""Clients that public generators make of /openapi.json compile, and work with a farm."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from support.controller import KEY
from support.registry_install import installed
from support.rest_farm import RestFarm

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]
PROGRAMS = Path(__file__).parent / "programs"
PYTHON = "openapi-python-client==0.29.1"
TYPESCRIPT = ("@hey-api/openapi-ts@0.95.0", "typescript@5.9.3")
RUN_SECONDS = 180
COMPILER = {
    "strict": True,
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "module": "commonjs",
    "outDir": "built",
}


@pytest.fixture(scope="session")
def python_generator(pytestconfig: pytest.Config) -> Path:
    """Return the programs of an environment that has openapi-python-client."""
    python = "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    steps = (
        [sys.executable, "-m", "venv", "--without-pip", "venv"],
        [*pip, "install", "--quiet", "--no-compile", PYTHON],
    )
    return installed(pytestconfig, PYTHON.replace("==", "-"), steps) / "venv" / "bin"


@pytest.fixture(scope="session")
def typescript_generator(pytestconfig: pytest.Config) -> Path:
    """Return a folder that has @hey-api/openapi-ts and the compiler of TypeScript."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm found")
    steps = (
        ["npm", "init", "--yes"],
        ["npm", "install", "--no-audit", "--no-fund", "--save-exact", *TYPESCRIPT],
    )
    return installed(pytestconfig, "hey-api-openapi-ts-0.95.0", steps)


async def run(*command: str | Path, cwd: Path) -> str:
    """Run a program that must succeed, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-5000:]
    return said.decode()


async def described(served: RestFarm, folder: Path) -> Path:
    """Return the farm's OpenAPI document as a file."""
    answer = await served.caller.call("GET", "/openapi.json", key=None)
    document = folder / "openapi.json"
    document.write_text(json.dumps(answer.body))
    return document


def check(said: str) -> None:
    """Check what a program has seen: a process it cancelled, every phone, a refusal."""
    seen = json.loads(said.splitlines()[-1])
    assert seen == {
        "status": "cancelled",
        "phones": ["online"] * 3,
        "error": "unknown_phone:nobody",
    }


async def test_a_generated_python_client_works(
    served: RestFarm, python_generator: Path, tmp_path: Path
) -> None:
    """Nothing of the document is left out but two responses that are files."""
    document = await described(served, tmp_path)

    said = await run(
        python_generator / "openapi-python-client",
        *("generate", "--path", document, "--output-path", "generated"),
        cwd=tmp_path,
    )
    await run(python_generator / "python", "-m", "compileall", "-q", "generated", cwd=tmp_path)
    used = await run(
        python_generator / "python",
        PROGRAMS / "generated.py",
        *(tmp_path / "generated", served.caller.base, KEY, served.receiver.url()),
        cwd=tmp_path,
    )

    left_out = [line for line in said.splitlines() if line.startswith(("WARNING", "Unable"))]
    assert left_out == [
        "WARNING parsing POST /backup within operation.",
        "WARNING parsing GET /phones/{phone_id}/still within screens.",
    ]
    check(used)


async def test_a_generated_typescript_client_works(
    served: RestFarm, typescript_generator: Path, tmp_path: Path
) -> None:
    """It compiles under `strict`, its inputs by capability, and runs on Node."""
    document = await described(served, tmp_path)
    (tmp_path / "node_modules").symlink_to(typescript_generator / "node_modules")
    shutil.copy(PROGRAMS / "generated.ts", tmp_path / "use.ts")
    settings = {"compilerOptions": COMPILER, "files": ["use.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    tools = typescript_generator / "node_modules" / ".bin"

    await run(
        tools / "openapi-ts",
        *("-i", document, "-o", "generated", "-c", "@hey-api/client-fetch"),
        cwd=tmp_path,
    )
    await run(tools / "tsc", "--project", ".", cwd=tmp_path)
    used = await run(
        "node", "built/use.js", served.caller.base, KEY, served.receiver.url(), cwd=tmp_path
    )

    check(used)
