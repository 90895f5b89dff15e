"""What the pages name is there, and what is there is on the pages."""

import importlib
import re
from pathlib import Path

import attrs
import pytest

import pytofu
from docs import diagrams
from pytofu import EXCEPTIONS, AmpeStatus, Options
from pytofu.engine.queues import SendQueues
from pytofu.protocol.ending import ENDINGS
from tests.docs.pages import DOCS, PAGES, ROOT

_TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def _resolve(name: str) -> object:
    """What a dotted name stands for: the longest module, then attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_names_on_a_page_exist(page: Path) -> None:
    named = re.findall(r"(?:`|`~|<)(pytofu(?:\.\w+)+)[`>]", _TEXTS[page])
    missing = [
        name for name in named if not name.endswith((".md", ".toml", ".py")) and not _there(name)
    ]
    assert not missing


def _there(name: str) -> bool:
    try:
        _resolve(name)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_files_on_a_page_exist(page: Path) -> None:
    # docs/_build is where the built pages go.
    named = re.findall(
        r"`((?:src|tests|examples|benchmarks|docs(?!/_build)|changes)/[\w./-]*)`", _TEXTS[page]
    )
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)\)", _TEXTS[ROOT / "README.md"])
    assert len(links) > 10
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_options_on_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"`Options\.(\w+)`", _TEXTS[page]))
    assert named <= set(attrs.fields_dict(Options))


def test_the_reference_has_every_public_name_once() -> None:
    text = "\n".join(_TEXTS[page] for page in PAGES if page.parent == DOCS / "reference")
    directive = r"^\.\. (?:auto\w+|py:\w+):: (\w+)$"
    documented = re.findall(directive, text, re.MULTILINE)
    assert sorted(documented) == sorted(pytofu.__all__)


def test_the_reference_has_an_example_of_every_class() -> None:
    missing = []
    for page in sorted((DOCS / "reference").glob("*.md")):
        parts = re.split(r"^(?=\.\. )", _TEXTS[page], flags=re.MULTILINE)
        for part in parts:
            found = re.match(r"\.\. autoclass:: (\w+)$", part, re.MULTILINE)
            if found is not None and ">>> " not in part:
                missing.append(found[1])
    assert not missing


def test_the_reference_hides_only_what_is_there() -> None:
    for page in sorted((DOCS / "reference").glob("*.md")):
        for name, hidden in re.findall(
            r"autoclass:: (\w+)\n(?:   :.*\n)*?   :exclude-members: (.*)$",
            _TEXTS[page],
            re.MULTILINE,
        ):
            assert [one for one in hidden.split(", ") if not _there(f"pytofu.{name}.{one}")] == []


def test_the_page_of_errors_has_every_status_with_its_exception() -> None:
    found = re.findall(r"^### (\w+)\n\n(\d+), (?:no|\{py:exc\}`~pytofu\.(\w+)`)",
                       _TEXTS[DOCS / "errors.md"], re.MULTILINE)  # fmt: skip
    expected = []
    for status in AmpeStatus:
        error = status.to_error()
        exception = "" if error is None else EXCEPTIONS[error].__name__
        expected.append((status.name, str(status.value), exception))
    assert found == expected


def _rows_of_limits() -> dict[str, str]:
    """The rows of the table of options, by option; a row without a name goes on with the last."""
    rows: dict[str, str] = {}
    name = ""
    for found in re.findall(
        r"^\|(?: `(\w+)`)? \|(.* \|)$", _TEXTS[DOCS / "limits.md"], re.MULTILINE
    ):
        name = found[0] or name
        rows[name] = rows.get(name, "") + found[1]
    return rows


def test_the_page_of_limits_has_every_option_with_its_default() -> None:
    default = Options()
    options = [field.name for field in attrs.fields(Options)]
    found = {name: row.split("|")[0].strip() for name, row in _rows_of_limits().items()}
    assert found.keys() == set(options)
    wrong = [
        name for name in options
        if not re.match(rf"{re.escape(_shown(name, getattr(default, name)))}(?![^ ;])", found[name])
    ]  # fmt: skip
    assert not wrong


def _shown(name: str, value: object) -> str:
    """The default of an option as the page writes it; a unit may follow."""
    if name in {"send_buffer", "receive_buffer"} and value is None:
        return "the system's"
    if value is None or isinstance(value, bool):
        return "none" if value is None else "no"
    assert isinstance(value, int | float)
    if 0 < value < 0.01:
        return f"{value * 1000:g} ms"
    if 0 < value < 1:
        return f"1/{1 / value:g}"
    for unit, size in (("MiB", 1024**2), ("KiB", 1024)):
        if "msgs" not in name and value > 4096 and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,g}"


def test_the_page_of_limits_says_how_each_ends_a_channel() -> None:
    rows = _rows_of_limits()
    ends = {ending.detail: set[str]() for ending in ENDINGS.values() if ending.by_limit}
    for ending in ENDINGS.values():
        if ending.by_limit:
            ends[ending.detail].add(f"`{ending.reason.name}`")
    said = {name: set(re.findall(r"`[A-Z_]{6,}`", rows[name])) for name in ends}
    assert said == ends


def test_the_page_of_limits_says_which_are_counted() -> None:
    counted = {ending.detail for ending in ENDINGS.values() if ending.by_limit}
    for file in (ROOT / "src" / "pytofu" / "engine").glob("*.py"):
        counted.update(re.findall(r'limits\.reached\("(\w+)"\)', file.read_text(encoding="utf-8")))
    queues = SendQueues(max_channel=1, max_total=1)
    for change in (0, 2):  # below the limit of all channels together, then above it
        queues.note(change)
        counted.add(queues.reached)
    last_cell = r"^\|(?: `(\w+)`)? \|.*\| (yes|no) \|$"
    said: dict[str, set[str]] = {}
    name = ""
    for named, answer in re.findall(last_cell, _TEXTS[DOCS / "limits.md"], re.MULTILINE):
        name = named or name
        said.setdefault(name, set()).add(answer)
    options = attrs.fields_dict(Options)
    assert said == {option: {"yes" if option in counted else "no"} for option in options}


def test_the_life_of_a_message_is_told_as_it_is_drawn() -> None:
    told = re.findall(r"^\d+\. `([\w.]+)`", _TEXTS[DOCS / "where-things-are.md"], re.MULTILINE)
    assert told == [room.place for room in (*diagrams.SENDING, *reversed(diagrams.RECEIVING))]
    assert all(_there(place) for place in told)


def test_every_module_is_in_the_house() -> None:
    drawn = {file for storey in diagrams.storeys() for file in diagrams.modules(storey)}
    there = {file for file in (ROOT / "src" / "pytofu").rglob("*.py") if file.stem != "__init__"}
    assert drawn == there


def test_every_page_can_be_reached() -> None:
    named = {page.relative_to(DOCS).with_suffix("") for page in PAGES if page.is_relative_to(DOCS)}
    trees = "\n".join(_TEXTS.values())
    unreached = [
        str(page) for page in named
        if page.name != "index" and not re.search(rf"^(?:.*/)?{page.name}$", trees, re.MULTILINE)
    ]  # fmt: skip
    assert not unreached


def test_every_example_is_on_a_page() -> None:
    text = "\n".join(_TEXTS[page] for page in PAGES if page.parent == DOCS / "howto")
    examples = {str(file.relative_to(ROOT)) for file in (ROOT / "examples").rglob("*.py")}
    assert not [name for name in sorted(examples) if name not in text]


def test_the_page_of_the_command_line_has_every_command_and_no_other_options() -> None:
    cli = pytest.importorskip("pytofu.cli.app", reason="the extra cli is not installed")
    (group,) = [found for found in vars(cli).values() if type(found).__name__ == "Group"]
    text = _TEXTS[DOCS / "command-line.md"]
    sections = {
        name: section
        for title, section in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)
        for name in re.findall(r"[\w-]+", title)
    }
    assert group.commands.keys() <= sections.keys()
    options = {"--help", "--version"}
    for command in group.commands.values():
        options.update(option for parameter in command.params for option in parameter.opts)
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= options
