"""Reads a graph from its readable code (`torch.fx.GraphModule.print_readable`).

The code is parsed with Python's `ast`. A line that is not Python (because of an object's repr in the arguments) is
treated as text, so that every graph can be compared.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from coldwarm.graphs.graph import Graph, Operation, Source, Value

# An annotation of the user may precede the file (torch/fx/graph.py, `_get_stack_trace_comment`).
_SOURCE = re.compile(r"#.*?\bFile: (?P<file>.+?):(?P<line>\d+) in (?P<function>[^,]+), code: (?P<code>.*)")
_LINE_END = re.compile(r"\r\n|\r|\n")  # as in Python's own parser
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_NUMBERS_BY_NAME = frozenset(("inf", "nan"))
_SIGNATURE = re.compile(r"def forward\(.*?\):\s*\n", re.DOTALL)
_SIGNATURE_ARGUMENT = re.compile(r'(\w+): "([^"]*)"')
_SYMBOLS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Invert: "~",
    ast.Not: "not",
    ast.USub: "-",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def read_graph(code: str) -> Graph:
    """Read a graph from its readable code; operations of nested graphs follow those of the outer graph."""
    # The name of a graph module that was created from a lambda is not valid Python.
    code = code.replace("class <lambda>(", "class Lambda(")
    reader = _Reader(code)
    try:
        module = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        reader.read_line_by_line()
    else:
        reader.read(module)
    return reader.graph


def read_inputs(code: str) -> list[Value]:
    """Read only the inputs of a graph, which is fast."""
    signature = _SIGNATURE.search(code)
    return [] if signature is None else [Value(*found) for found in _SIGNATURE_ARGUMENT.findall(signature[0])]


def outline(code: str) -> str:
    """Return the code with inputs named by their order and without comments: the same for most identical graphs."""
    names = {value.name: f"i{number}" for number, value in enumerate(read_inputs(code))}
    lines = (line for line in code.split("\n") if not line.lstrip().startswith("#"))
    return _NAME.sub(lambda found: names.get(found[0], found[0]), "\n".join(lines))


def sources_of(code: str) -> list[Source]:
    """Return the lines of code that the operations of a graph were traced from, without reading the graph."""
    return list(dict.fromkeys(source for source in _sources_by_line(_LINE_END.split(code)) if source is not None))


class _Reader:
    def __init__(self, code: str) -> None:
        self.graph = Graph()
        self._names: dict[str, str] = {}
        self._lines = _LINE_END.split(code)
        self._sources = _sources_by_line(self._lines)

    def read(self, module: ast.Module) -> None:
        for number, function in enumerate(_functions(module)):
            outputs = self.graph.outputs
            self._read_inputs(
                [
                    (argument.arg, argument.annotation.value if isinstance(argument.annotation, ast.Constant) else "")
                    for argument in function.args.args
                    if argument.arg != "self"
                ]
            )
            for statement in function.body:
                self._read_statement(statement, self._sources[statement.lineno - 1])
            if number:
                self.graph.outputs = outputs

    def read_line_by_line(self) -> None:
        for number, line in enumerate(self._lines):
            text = line.strip()
            if text.startswith("def forward(") or re.match(r'\w+: "[^"]*",', text):
                self._read_inputs(_SIGNATURE_ARGUMENT.findall(text))
            elif text and not text.startswith(("#", "class ", "self,", ")")):
                try:
                    statements = ast.parse(text).body
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    self._read_as_text(text, self._sources[number])
                    continue
                for statement in statements:
                    self._read_statement(statement, self._sources[number])

    def _read_inputs(self, arguments: list[tuple[str, object]]) -> None:
        for name, type_ in arguments:
            self._names[name] = f"i{len(self.graph.inputs)}"
            self.graph.inputs.append(Value(name, str(type_)))

    def _read_statement(self, statement: ast.stmt, source: Source | None) -> None:
        try:
            self._match_statement(statement, source)
        except (SyntaxError, ValueError, RecursionError):  # nested too deep, or cannot be unparsed
            self._read_as_text(self._lines[statement.lineno - 1].strip(), source)

    def _match_statement(self, statement: ast.stmt, source: Source | None) -> None:
        match statement:
            case ast.Assign(value=ast.Constant(value=None)):
                pass  # frees a name
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                type_ = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
                self._operation(name, value, str(type_), source)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._operation(name, value, "", source)
            case ast.Assign(targets=[ast.Subscript() as target], value=value):
                self._in_place("=", [target, value], ast.unparse(statement), source)
            case ast.AugAssign(target=target, op=operator, value=value):
                symbol = _SYMBOLS.get(type(operator), type(operator).__name__)
                self._in_place(f"{symbol}=", [target, value], ast.unparse(statement), source)
            case ast.Return(value=ast.Tuple(elts=elements) | ast.List(elts=elements)):
                self.graph.outputs = [self._renamed(element) for element in elements]
            case ast.Return(value=ast.expr() as value):
                self.graph.outputs = [self._renamed(value)]
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring
            case ast.Expr(value=value):
                self._operation("", value, "", source)

    def _operation(self, name: str, value: ast.expr, type_: str, source: Source | None) -> None:
        written = ast.unparse(value)
        shape = self._renamed(value, masked=True)
        constants = tuple(_constants(value))
        self._add(name, self._op(value), self._renamed(value), constants, type_, source, written, shape)

    def _in_place(self, op: str, parts: list[ast.expr], written: str, source: Source | None) -> None:
        """Add an operation that changes a value in place and has no result."""
        text = f" {op} ".join(self._renamed(part) for part in parts)
        shape = f" {op} ".join(self._renamed(part, masked=True) for part in parts)
        constants = tuple(constant for part in parts for constant in _constants(part))
        self.graph.operations.append(Operation("", op, text, shape, constants, "", source, written))

    def _read_as_text(self, text: str, source: Source | None) -> None:
        """Add a line that is not Python as text, with known names replaced."""
        # The rest of the line frees names that are no longer needed.
        statement = re.sub(r"(;  (\w+ = )+None)+$", "", text)
        target, equals, expression = statement.partition(" = ")
        name, _, type_ = target.partition(": ")
        if not equals:
            name, type_, expression = "", "", statement
        known = _NAME.sub(lambda found: self._names.get(found[0], found[0]), expression)
        shape = _NAME.sub(lambda found: "_" if found[0] in self._names else found[0], expression)
        self._add(name, shape, known, (), type_.strip('"'), source, expression, shape)

    def _add(
        self,
        name: str,
        op: str,
        text: str,
        constants: tuple[str, ...],
        type_: str,
        source: Source | None,
        written: str,
        shape: str | None = None,
    ) -> None:
        if name:
            self._names[name] = f"r{len(self.graph.operations)}"
        operation = Operation(name, op, text, text if shape is None else shape, constants, type_, source, written)
        self.graph.operations.append(operation)

    def _op(self, value: ast.expr) -> str:
        match value:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name in self._names:
                return f".{method}"
            case ast.Call(func=function):
                return ast.unparse(function)
            case ast.BinOp(op=operator) | ast.UnaryOp(op=operator) | ast.Compare(ops=[operator]):
                return _SYMBOLS.get(type(operator), type(operator).__name__)
            case ast.Subscript():
                return "[]"
            case ast.Attribute(attr=attribute):
                return f".{attribute}"
        return type(value).__name__

    def _renamed(self, value: ast.expr, *, masked: bool = False) -> str:
        names = self._names

        class Renamer(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.Name:
                known = names.get(node.id)
                return node if known is None else ast.Name("_" if masked else known, node.ctx)

        # Visit a copy, because the renamer changes its argument.
        return ast.unparse(Renamer().visit(ast.parse(ast.unparse(value), mode="eval").body))


def _functions(module: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the function of the outer graph, then those of nested graphs."""
    yield from (
        node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name.startswith("forward")
    )


def _constants(value: ast.expr) -> Iterator[str]:
    """Yield the constants of an expression in order, with their signs."""
    match value:
        case ast.Constant(value=constant):
            yield repr(constant)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name(id="inf" | "nan") as operand):
            yield f"-{next(_constants(operand))}"
        case ast.Name(id=name) if name in _NUMBERS_BY_NAME:
            yield name
        case _:
            for child in ast.iter_child_nodes(value):
                if isinstance(child, ast.expr):
                    yield from _constants(child)
                elif isinstance(child, ast.keyword):
                    yield from (f"{child.arg}={constant}" for constant in _constants(child.value))


def _sources_by_line(lines: list[str]) -> list[Source | None]:
    """Return the source of each line: that of the last comment above it, also across blank lines."""
    sources: list[Source | None] = []
    current: Source | None = None
    for line in lines:
        if (found := _SOURCE.search(line)) and line.lstrip().startswith("#"):
            current = Source(found["file"], int(found["line"]), found["function"], found["code"].strip())
        elif line.lstrip().startswith("#") and "No stacktrace found" in line:
            current = None
        sources.append(current)
    return sources
