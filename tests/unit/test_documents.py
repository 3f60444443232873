"""The documents say of the code what is so: every route, name and command, and nothing that is not there."""

import importlib.util
import json
import re
import subprocess

import pytest
import typer

from tests.support.documents import PAGES, README, ROOT, SHELLS, Block, Document, marks, printed, prints, script, steps

DOCUMENTS = {document.name: document for document in map(Document, PAGES)}
OPENAPI = json.loads((ROOT / "openapi" / "openapi.json").read_text())
ROUTES = {f"{method.upper()} {path}" for path, operations in OPENAPI["paths"].items() for method in operations}

README_BYTES = 5120
NOT_RUN = {
    "README.md": 1,
    "docs/deploy.md": 3,
    "docs/house.md": 1,
    "docs/http.md": 1,
    "docs/operate.md": 2,
    "docs/operate/security.md": 1,
    "docs/python.md": 3,
}
"""Blocks that no test runs; each says why."""

HOUSE_ROWS = 15
PACKAGES = ("lig", "lig_core", "service", "worker")


def page(name):
    return DOCUMENTS[f"docs/{name}.md"]


BESIDE = [Document(ROOT / name) for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "llms.txt")]
"""Files that are no pages of the documents: their links are looked at, and their commands are the pages'."""


@pytest.mark.parametrize("document", [*DOCUMENTS.values(), *BESIDE], ids=lambda document: document.name)
def test_every_relative_link_leads_somewhere(document):
    for link in document.links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        assert target.exists(), link
        assert not anchor or anchor in Document(target).anchors, link


def test_the_readme_is_short_and_leads_to_every_page():
    assert README.stat().st_size <= README_BYTES
    linked = DOCUMENTS["README.md"].links
    assert {name for name in DOCUMENTS if name != "README.md"} <= set(linked)


def test_a_reader_that_is_a_program_is_led_to_every_page():
    (index,) = (document for document in BESIDE if document.name == "llms.txt")
    assert set(DOCUMENTS) <= set(index.links)


def test_every_block_is_run_but_for_these():
    assert marks(list(DOCUMENTS.values())) == NOT_RUN


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=lambda document: document.name)
def test_every_block_has_a_language_and_its_syntax(document):
    for block in document.blocks(*SHELLS):
        for step in steps(block):
            done = subprocess.run(["bash", "-n"], input=step.commands, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), step.place
    for block in document.blocks("python"):
        compile(block.source, f"{block.page}:{block.line}", "exec")
    assert not document.blocks(""), "a block without a language is neither run nor checked"


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=lambda document: document.name)
def test_every_target_of_make_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = re.findall(
        r"\bmake ([a-z-]+)", "\n".join([*document.spoken, *(b.source for b in document.blocks(*SHELLS))])
    )
    assert set(asked) <= targets


def test_http_has_a_heading_for_every_route_and_no_other():
    headed = {heading.strip("`") for heading in page("http").headings if re.match(r"`[A-Z]+ /", heading)}
    assert headed == ROUTES


def test_http_names_every_parameter_field_and_code():
    from lig_core.contract import ExplainRequest
    from service.http.problems import STATUS

    parameters = {
        parameter["name"]
        for operations in OPENAPI["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] != "path"
    }
    spoken = page("http").spoken
    assert parameters | set(ExplainRequest.model_fields) | {"webhook"} <= spoken
    for code, status in STATUS.items():
        assert f"`{code}` | {status} |" in page("http").text, code


def test_errors_says_of_every_code_what_to_do_and_of_no_other():
    from service.http.problems import STATUS

    sources = [path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    declared = re.compile(r'\bcode(?:: str)? = "(\w+)"|"code": "(\w+)"')
    codes = {found[1] or found[2] for source in sources for found in declared.finditer(source)}
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", page("operate/errors").text, re.MULTILINE)
    assert codes >= set(STATUS)
    assert sorted(code for code, _, _ in rows) == sorted(codes)


def test_python_documents_every_public_name():
    import lig_core
    import lig_core.client
    from lig_core.client import AsyncClient, Client

    spoken = page("python").spoken
    assert set(lig_core.__all__) <= spoken
    assert {f"lig_core.client.{name}" for name in lig_core.client.__all__} <= spoken
    for kind in (Client, AsyncClient):
        methods = {name for name in vars(kind) if not name.startswith("_")}
        assert {f"{name}()" for name in methods} <= spoken


def commands(group, name=""):
    """Every command of a click group, by its whole name."""
    for word, command in group.commands.items():
        whole = f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, whole)
        else:
            yield f"lig {whole}", command


def test_python_documents_every_command_and_option_of_lig():
    from importlib.metadata import entry_points

    from lig_core.cli import app

    whole = typer.Typer()
    whole.add_typer(app, name="lig")
    for point in entry_points(group="lig.commands"):
        added = point.load()
        app.add_typer(added, name=point.name) if isinstance(added, typer.Typer) else app.command(name=point.name)(added)
    every = dict(commands(typer.main.get_command(app)))
    assert {"lig explain", "lig serve", "lig jobs list"} <= set(every)
    document = page("python")
    assert {heading.strip("`") for heading in document.headings if heading.startswith("`lig ")} == set(every)
    for name, command in every.items():
        section = document.text.split(f"### `{name}`\n")[1].split("\n#")[0]
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--") and option != "--help":
                    assert f"`{option}`" in section, f"{name} {option}"


def test_operate_names_every_metric_and_setting_it_speaks_of():
    settings, metrics = page("settings").text, page("metrics").text
    for document in DOCUMENTS.values():
        text = document.text
        for variable in re.findall(r"\bLIG_[A-Z_]+\b", text):
            assert f"`{variable}`" in settings or variable in {"LIG_API_KEY"}, f"{document.name}: {variable}"
        for metric in re.findall(r"\blig_(?!core)[a-z_]+_(?:total|seconds|bytes|up)\b", text):
            assert f"`{metric}`" in metrics, f"{document.name}: {metric}"


def module_exists(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_every_place_that_the_house_names_is_there():
    spoken = page("house").spoken
    paths = {name for name in spoken if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", name) and "/" in name}
    modules = {name for name in spoken if re.fullmatch(r"(lig_core|service|worker|tests|generate)(\.\w+)+", name)}
    assert len(paths) > HOUSE_ROWS and modules
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    assert [name for name in sorted(modules) if not module_exists(name)] == []


def test_the_house_names_every_room():
    rooms = {
        f"{folder.relative_to(ROOT)}/"
        for package in PACKAGES
        for folder in (ROOT / package, *(ROOT / package).rglob("*"))
        if folder.is_dir() and any(folder.glob("*.py"))
    }
    assert rooms <= page("house").spoken


def test_the_house_says_where_to_change_what():
    section = page("house").text.split("## Where do I change …\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) - 2 >= HOUSE_ROWS


def test_the_house_draws_every_kind_of_key():
    from lig_core.serving.queue.names import KEYS

    spoken = page("house").spoken
    for beginning in KEYS.values():
        assert any(name.startswith(beginning) for name in spoken), beginning


def test_method_explains_every_status_and_baseline():
    from typing import get_args

    from lig_core import contract, result_schema

    spoken = page("method").spoken
    for kind in (contract.AttBaseline, contract.MlpBaseline, contract.LayerBaseline, contract.MapName):
        assert set(get_args(kind)) <= spoken
    statuses = set(
        re.findall(r"\b(ok|zero_path|noise_limited|discontinuous|budget|fixed)\b", result_schema.Certificate.__doc__)
    )
    assert len(statuses) == 6 and statuses <= spoken


def block(language, source):
    return Block("page.md", 10, language, source, None)


def test_a_console_block_is_commands_and_what_they_print():
    first, second = steps(block("console", "$ echo a \\\n  b\na b\n$ true\n"))
    assert (first.commands, first.output, first.place) == ("echo a \\\n  b\n", "a b\n", "page.md:10")
    assert (second.commands, second.output, second.place) == ("true\n", "", "page.md:13")


def test_what_a_line_prints_is_in_its_comment():
    source = "x = 1  # not this\nprint(x)  # 1\nprint('#')  # #\n"
    assert list(printed(source)) == ["1", "#"]
    program, expected = script([block("python", source)])
    assert program.splitlines()[10 - 1] == "x = 1  # not this"
    assert expected == "1\n#"


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a … c", "a b c\n", True),
        ("queued\n…\nsucceeded\n", "queued\nsucceeded\n", True),
        ("queued … succeeded", "queued\nstarted\nsucceeded\n", True),
        ("value: 3.…", "value: 3.25", True),
        ("a", "b", False),
        ("", "b", False),
        ("", "", True),
        ('{"id":"…","n":1}', '{"id":"5","n":2}', False),
    ],
)
def test_what_is_left_out_may_be_anything_and_the_rest_not(expected, actual, same):
    assert prints(expected, actual) is same
