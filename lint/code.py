"""Rules that look at the syntax tree of Python files."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lint.source import Finding, Source

_SENDS_SQL = frozenset({"text", "execute", "executemany", "exec_driver_sql", "fetch", "fetchrow", "fetchval", "scalar",
                        "scalars", "executescript"})  # fmt: skip
_SLEEPERS = frozenset({"time", "asyncio", "anyio", "trio"})


def _touches_the_database(source: Source) -> bool:
    """Tell whether the database rules hold here: our programs, but for the one place that keeps transactions.

    The paper bot is a program of its own, with a file of its own as its database.
    """
    ours = source.path.startswith(("control_plane/", "agents/"))
    return ours and not source.path.startswith(("control_plane/database/", "agents/paper_bot/"))


def transaction_elsewhere(source: Source) -> Iterator[Finding]:
    """A commit, or a tenant bound, outside control_plane/database, where one request is one bound transaction."""
    if not _touches_the_database(source):
        return
    message = "belongs in control_plane/database, which binds the tenant and ends the transaction"
    for node in source.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
            yield source.finding(node.lineno, "transaction", f"commit() {message}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "set_config(" in node.value:
            yield source.finding(node.lineno, "transaction", f"set_config {message}")


def built_sql(source: Source) -> Iterator[Finding]:
    """A statement put together from values: parameters are bound, names come from SQLAlchemy's own constructs.

    Putting constants together is fine: with each other in a function, or with anything when the module is loaded.
    """
    if not _touches_the_database(source):
        return
    for function in _functions(source.tree):
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and _called_name(node) in _SENDS_SQL
                and node.args
                and _is_built(node.args[0])
            ):
                yield source.finding(node.lineno, "built-sql", "SQL put together from values: bind them as parameters")


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods that are not inside another one."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child
            else:
                waiting.append(child)


def _called_name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _is_built(node: ast.expr) -> bool:
    """Tell whether an expression makes a string from parts that are not all written right there."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) and not _is_constant(part.value) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        return _mentions_string(node) and not (_is_constant(node.left) and _is_constant(node.right))
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "join", "replace"}
        and _mentions_string(node.func.value)
    )


def _is_constant(node: ast.expr) -> bool:
    """Tell whether an expression is a literal, a name written like a constant, or a sum of such."""
    if isinstance(node, ast.BinOp):
        return _is_constant(node.left) and _is_constant(node.right)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def _mentions_string(node: ast.expr) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


def sleeping_test(source: Source) -> Iterator[Finding]:
    """A test that waits for a time is slow where the machine is fast and wrong where it is slow.

    The servers that tests talk to may take their time: being slow is what some of them are for. A sleep of nothing only
    lets others run.
    """
    if not source.path.startswith("tests/") or source.path.startswith(("tests/waiting.py", "tests/servers/")):
        return
    message = "wait for a condition instead: tests/waiting.py"
    yields = {node.func for node in source.nodes if isinstance(node, ast.Call) and _sleeps_for_nothing(node)}
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in _SLEEPERS:
            if any(alias.name == "sleep" for alias in node.names):
                yield source.finding(node.lineno, "sleeping-test", message)
        elif (
            isinstance(node, ast.Attribute)
            and node.attr == "sleep"
            and isinstance(node.value, ast.Name)
            and node.value.id in _SLEEPERS
            and node not in yields
        ):
            yield source.finding(node.lineno, "sleeping-test", message)


def _sleeps_for_nothing(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def mock_import(source: Source) -> Iterator[Finding]:
    """Our parts are tested against each other, the real database and the real engine, not against wishes."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        if any(name in {"mock", "unittest.mock"} or name.startswith("unittest.mock.") for name in names):
            yield source.finding(node.lineno, "mock", "test against the real part")


def inner_import(source: Source) -> Iterator[Finding]:
    """An import inside a function hides what a module needs; one that has to be there says why on its line.

    The reason holds for the imports that follow it without a break.
    """
    for function in _functions(source.tree):
        for node in ast.walk(function):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list):
                    yield from _unexplained(source, block)


def _unexplained(source: Source, block: list[ast.stmt]) -> Iterator[Finding]:
    explained = False
    for statement in block:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            explained = False
            continue
        lines = source.lines[statement.lineno - 1 : statement.end_lineno]
        explained = explained or any(line.partition("# lazy: ")[2].strip() for line in lines)
        if not explained:
            yield source.finding(
                statement.lineno, "inner-import", "import at the top, or say why not: `# lazy: <reason>`"
            )


RULES = (transaction_elsewhere, built_sql, sleeping_test, mock_import, inner_import)
