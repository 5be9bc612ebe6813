#!/usr/bin/env python3
"""What can be said without Vitis about whether Vitis HLS would take the kernels: `tools/check_hls.py [libphidias_hls.a]`.

  front end   every kernel compiles as strict C++14 without a C++ library, exceptions and type information, with
              __SYNTHESIS__ defined: clang stands in for Vitis's own clang
  structure   no recursion, allocation, virtual functions, double literals, function pointers; every loop has a label;
              dataflow regions are in canonical form, each stream named, bounded, with one producer and one consumer
  interfaces  every top's ports and bundles stand in its pragmas and in hls/design.h, and agree
  symbols     (with an archive) the kernels' objects need nothing but the C simulation's runtime: no expf, no operator
              new, nothing of the CPU back end

Exits with 1 and a list of complaints, if there are any.
"""

import os
import re
import subprocess
import sys

try:
    import clang.cindex as cindex
except ImportError:  # another python3 than Debian's, whose package python3-clang is
    sys.path.append("/usr/lib/python3/dist-packages")
    import clang.cindex as cindex

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FRONT = os.path.join(ROOT, "tools", "hls_front")
FLAGS = "-std=c++14 -pedantic-errors -nostdinc++ -fno-exceptions -fno-rtti -D__SYNTHESIS__ -Wall -Werror".split()
FLAGS += ["-Wno-unknown-pragmas", "-Wno-unused-label", "-ffp-contract=off"]

Kind = cindex.CursorKind
LOOPS = (Kind.FOR_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.CXX_FOR_RANGE_STMT)
FUNCTIONS = (Kind.FUNCTION_DECL, Kind.FUNCTION_TEMPLATE, Kind.CXX_METHOD, Kind.CONSTRUCTOR, Kind.DESTRUCTOR)
STREAMS = ("kStreamIn", "kStreamOut")
FORBIDDEN = {
    Kind.CXX_NEW_EXPR: "allocates",
    Kind.CXX_DELETE_EXPR: "frees memory",
    Kind.CXX_TRY_STMT: "handles exceptions",
    Kind.CXX_THROW_EXPR: "throws",
    Kind.LAMBDA_EXPR: "is a lambda",
    Kind.CXX_FOR_RANGE_STMT: "is a range loop",
    Kind.GOTO_STMT: "jumps",
    Kind.CXX_DYNAMIC_CAST_EXPR: "asks for a type at run time",
    Kind.CXX_TYPEID_EXPR: "asks for a type at run time",
}
# What a kernel's object may ask the linker for. Copies and clearings are the compiler's own; what throws is the C
# simulation's runtime, through which a stage is unwound when its region fails.
SYMBOLS = re.compile(
    r"phidias::hls::csim::|phidias_sim_memory_listener$|mem(cpy|set|move)$|__gxx_personality_v0$|_Unwind_Resume$|"
    r"_GLOBAL_OFFSET_TABLE_$|__stack_chk_fail$|__(asan|ubsan|tsan)_"
)


def includes(src):
    return ["-I" + src, "-I" + FRONT, "-I" + os.path.join(ROOT, "src", "hls", "csim")]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def kernel_sources(src):
    folder = os.path.join(src, "hls")
    names = [n for n in sorted(os.listdir(folder)) if n.endswith(".cc") and not n.endswith("_test.cc")]
    return [os.path.join(folder, name) for name in names if 'extern "C" void' in read(os.path.join(folder, name))]


def compile_strictly(path, src):
    """What clang has against the file as synthesizable C++14."""
    done = subprocess.run(
        ["clang++", *FLAGS, *includes(src), "-fsyntax-only", path], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return [] if done.returncode == 0 else [f"{path}: the front end refuses it\n{done.stderr.strip()}"]


class Source:
    """One kernel file, parsed; collects complaints."""

    def __init__(self, path, src):
        self.path = path
        self.src = src
        self.lines = read(path).split("\n")
        self.complaints = []
        self.unit = cindex.Index.create().parse(path, args=[*FLAGS, *includes(src)])
        self.functions = {}  # name -> its definitions, of the repository alone
        self.collect(self.unit.cursor)

    def collect(self, cursor):
        for child in cursor.get_children():
            if child.location.file and not child.location.file.name.startswith(self.src):
                continue
            if child.kind in FUNCTIONS and child.is_definition():
                self.functions.setdefault(child.spelling, []).append(child)
            self.collect(child)

    def complain(self, cursor, text):
        where = os.path.relpath(cursor.location.file.name if cursor.location.file else self.path, self.src)
        complaint = f"src/{where}:{cursor.location.line}: {text}"
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    # --- structure ---

    def check_structure(self):
        for definitions in self.functions.values():
            for function in definitions:
                if "/csim/" in function.location.file.name or "sim_memory.h" in function.location.file.name:
                    continue
                if function.kind == Kind.CXX_METHOD and function.is_virtual_method():
                    self.complain(function, f"{function.spelling} is virtual")
                self.check_body(function, None)
        self.check_recursion()

    def check_body(self, cursor, parent):
        in_kernels = cursor.location.file and f"{os.sep}hls{os.sep}" in cursor.location.file.name
        if cursor.kind in FORBIDDEN:
            self.complain(cursor, f"what begins here {FORBIDDEN[cursor.kind]}: not synthesizable")
        if cursor.kind in LOOPS and in_kernels and (parent is None or parent.kind != Kind.LABEL_STMT):
            self.complain(cursor, "a loop without a label: Vitis's reports would have no name for it")
        if cursor.kind == Kind.FLOATING_LITERAL and cursor.type.kind == cindex.TypeKind.DOUBLE and in_kernels:
            self.complain(cursor, "a double literal: arithmetic on it would need double cores")
        if cursor.kind == Kind.VAR_DECL and "(*" in cursor.type.spelling.replace("(&", "(*"):
            if cursor.type.get_canonical().kind == cindex.TypeKind.POINTER:
                self.complain(cursor, f"{cursor.spelling} points to a function: not synthesizable")
        if cursor.kind == Kind.DECL_REF_EXPR and cursor.spelling in ("malloc", "calloc", "free", "memcpy", "memmove"):
            self.complain(cursor, f"{cursor.spelling}: the kernels have no library")
        for child in cursor.get_children():
            self.check_body(child, cursor)

    def callees(self, cursor):
        """The repository's functions that are mentioned below a cursor, as USRs. A call that depends on a template's
        arguments isn't resolved yet: it counts for every function of the name."""
        found = set()
        for child in cursor.get_children():
            if child.kind == Kind.OVERLOADED_DECL_REF:
                found |= {d.get_usr() for d in self.functions.get(child.spelling, [])}
            elif child.referenced is not None and child.referenced.kind in FUNCTIONS:
                target = child.referenced
                template = cindex.conf.lib.clang_getSpecializedCursorTemplate(target)
                found.add((template if template is not None else target).get_usr())
            found |= self.callees(child)
        return found

    def check_recursion(self):
        known = {d.get_usr(): d for definitions in self.functions.values() for d in definitions}
        calls = {usr: self.callees(definition) & known.keys() for usr, definition in known.items()}
        done = set()

        def visit(usr, path):
            if usr in path:
                cycle = path[path.index(usr) :] + [usr]
                self.complain(known[usr], "recursion: " + " -> ".join(known[u].spelling for u in cycle))
            elif usr not in done:
                for callee in sorted(calls[usr]):
                    visit(callee, path + [usr])
                done.add(usr)

        for usr in sorted(known):
            visit(usr, [])

    # --- dataflow ---

    def check_dataflow(self):
        for number, line in enumerate(self.lines, 1):
            if not re.match(r"\s*#pragma HLS dataflow", line):
                continue
            holder = None
            for definitions in self.functions.values():
                for function in definitions:
                    inside = function.extent.start.line <= number <= function.extent.end.line
                    if function.location.file.name == self.path and inside:
                        holder = function
            if holder is None:
                self.complaints.append(f"{self.path}:{number}: dataflow outside a function")
            else:
                self.check_region(holder)

    def check_region(self, function):
        body = [child for child in function.get_children() if child.kind == Kind.COMPOUND_STMT][0]
        producers, consumers, streams = {}, {}, []
        for statement in body.get_children():
            if statement.kind == Kind.NULL_STMT:
                continue
            if statement.kind == Kind.DECL_STMT:
                streams += self.check_stream(statement)
                continue
            call = self.as_call(statement)
            if call is None:
                self.complain(statement, "a dataflow region holds declarations of streams and calls, nothing else")
                continue
            self.check_call(call, streams, producers, consumers)
        for name, cursor in streams:
            if len(producers.get(name, [])) != 1 or len(consumers.get(name, [])) != 1:
                self.complain(
                    cursor,
                    f"stream {name} has producers {producers.get(name, [])} and consumers {consumers.get(name, [])}: "
                    "it takes one of each",
                )

    def check_stream(self, statement):
        found = []
        for variable in statement.get_children():
            text = " ".join(token.spelling for token in statement.get_tokens())
            match = re.match(r"Stream < (.*) > (\w+) \( \"(\w+)\" \)", text)
            if variable.kind != Kind.VAR_DECL or match is None:
                self.complain(statement, f"not a stream with a name of its own: {text}")
            elif match[2] != match[3]:
                self.complain(statement, f"stream {match[2]} calls itself {match[3]}")
            elif "," not in match[1]:
                self.complain(statement, f"stream {match[2]} has no depth")
            else:
                found.append((variable.spelling, variable))
        return found

    @staticmethod
    def as_call(statement):
        while statement.kind in (Kind.UNEXPOSED_EXPR, Kind.PAREN_EXPR) and len(list(statement.get_children())) == 1:
            statement = list(statement.get_children())[0]
        return statement if statement.kind == Kind.CALL_EXPR else None

    def check_call(self, call, streams, producers, consumers):
        text = self.text_of(call)
        match = re.match(r"(\w+)\s*(?:<[^()]*>)?\s*\((.*)\)$", text, re.DOTALL)
        arguments = [argument.strip() for argument in match[2].split(",")] if match else []
        if match is None or not all(re.fullmatch(r"\w+", argument) for argument in arguments):
            self.complain(call, f"arguments of a dataflow stage are names, not expressions: {text}")
            return
        names = [name for name, _ in streams]
        for position, argument in enumerate(arguments):
            if argument in names:
                direction = self.direction(match[1], position)
                if "write" in direction:
                    producers.setdefault(argument, []).append(match[1])
                if "read" in direction:
                    consumers.setdefault(argument, []).append(match[1])

    def text_of(self, cursor):
        """The source between a cursor's ends, macros as they are written: PHIDIAS_STAGE's argument."""
        extent = cursor.extent
        text = "\n".join(self.lines[extent.start.line - 1 : extent.end.line + 3])
        match = re.search(r"PHIDIAS_STAGE\((.*?)\);", text, re.DOTALL)
        return re.sub(r"\s+", " ", match[1]).strip() if match else text

    def direction(self, name, position, depth=0):
        """Whether a function reads or writes the stream that is its argument at `position`."""
        found = set()
        for function in self.functions.get(name, []):
            parameters = [c for c in function.get_children() if c.kind == Kind.PARM_DECL]
            if position >= len(parameters) or depth > 8:
                continue
            parameter = parameters[position].spelling
            body = " ".join(token.spelling for token in function.get_tokens())
            body = re.sub(r"PHIDIAS_STAGE \( (.*?) \) ;", r"\1 ;", body)
            for verb in ("read", "write"):
                if re.search(rf"\b{parameter} \. {verb} \(", body):
                    found.add(verb)
            for call in re.finditer(r"\b(\w+)(?: < [^()]*? >)? \( ([^()]*(?:\([^()]*\)[^()]*)*) \)", body):
                if call[1] in self.functions and call[1] != name:
                    for at, argument in enumerate(re.split(r" , (?![^()]*\))", call[2])):
                        if argument.strip() == parameter:
                            found |= self.direction(call[1], at, depth + 1)
        return found

    # --- interfaces ---

    def check_interfaces(self, table):
        """Compares tops, their pragmas and hls/design.h. Returns the names of the tops."""
        tops = []
        for definitions in self.functions.values():
            for function in definitions:
                line = self.lines[function.location.line - 1] if function.location.file.name == self.path else ""
                if line.startswith('extern "C"'):
                    tops.append(function.spelling)
                    self.check_top(function, table.get(function.spelling))
        return tops

    def check_top(self, function, row):
        name = function.spelling
        if row is None:
            self.complain(function, f"{name} is not in kKernels of hls/design.h")
            return
        source, arguments = row
        if source != os.path.basename(self.path):
            self.complain(function, f"kKernels says that {name} stands in {source}")
        text = self.lines[function.extent.start.line - 1 : function.extent.end.line]
        if f'  PHIDIAS_TOP("{name}");' not in text:
            self.complain(function, f'{name} does not say PHIDIAS_TOP("{name}")')
        self.check_control(function, arguments, text)
        pragmas = self.port_pragmas(text)
        parameters = [c for c in function.get_children() if c.kind == Kind.PARM_DECL]
        if [p.spelling for p in parameters] != [a[0] for a in arguments]:
            self.complain(function, f"kKernels has other arguments for {name}: {[a[0] for a in arguments]}")
            return
        for parameter, argument in zip(parameters, arguments):
            self.check_argument(function, parameter, argument, pragmas.pop(parameter.spelling, None))
        for port in pragmas:
            self.complain(function, f"{name} has a pragma for {port}, which is not an argument")
        bundles = [a[2] for a in arguments if a[2]]
        if len(set(bundles)) != len(bundles):
            self.complain(function, f"{name} shares a bundle between pointers: {bundles}")

    def check_control(self, function, arguments, text):
        """What starts the kernel: the host, unless it has nothing but streams (then it runs by itself)."""
        streams_alone = all(argument[3] in STREAMS for argument in arguments)
        control = "ap_ctrl_none" if streams_alone else "s_axilite"
        if f"#pragma HLS interface mode={control} port=return" not in text:
            self.complain(function, f"{function.spelling} has no {control} interface for its control")

    @staticmethod
    def port_pragmas(text):
        pragmas = {}
        for line in text:
            match = re.match(r"#pragma HLS interface mode=(m_axi|axis) port=(\w+)(.*)$", line)
            if match:
                pragmas[match[2]] = dict(item.split("=") for item in match[3].split())
                pragmas[match[2]]["mode"] = match[1]
        return pragmas

    def check_stream_argument(self, function, name, bundle, kind, pragma):
        if bundle:
            self.complain(function, f"kKernels says that the stream {name} is in bundle {bundle}")
        if pragma is None or pragma["mode"] != "axis":
            self.complain(function, f"{name} has no axis interface")
        position = [c.spelling for c in function.get_children() if c.kind == Kind.PARM_DECL].index(name)
        wanted = {"kStreamIn": {"read"}, "kStreamOut": {"write"}}[kind]
        if self.direction(function.spelling, position) != wanted:
            verb = "reads" if kind == "kStreamIn" else "writes"
            self.complain(function, f"kKernels says {kind}, but {name} is not what the kernel {verb}")

    def check_argument(self, function, parameter, argument, pragma):
        name, ctype, bundle, kind = argument
        spelled = re.sub(r"\b(const|volatile)\b|\s", "", " ".join(t.spelling for t in parameter.get_tokens()))
        if spelled != ctype.replace(" ", "") + name:
            self.complain(parameter, f"kKernels says {ctype} {name}")
        if kind in STREAMS:
            self.check_stream_argument(function, name, bundle, kind, pragma)
            return
        pointer = ctype.endswith("*")
        if pointer != (kind != "kScalar") or pointer != bool(bundle):
            self.complain(parameter, f"kKernels says {kind} in bundle \"{bundle}\" for {ctype} {name}")
        if not pointer:
            return
        constant = "const" in [t.spelling for t in parameter.get_tokens()]
        if constant != (kind == "kRead"):
            self.complain(parameter, f"kKernels says {kind}, but it is {'const' if constant else 'not const'}")
        if pragma is None or pragma["mode"] != "m_axi":
            self.complain(function, f"{name} has no m_axi interface")
            return
        wanted = {"offset": "slave", "bundle": bundle}
        if kind in ("kRead", "kUpdate"):
            wanted.update(max_read_burst_length="64", num_read_outstanding=None)
        if kind in ("kWrite", "kUpdate"):
            wanted.update(max_write_burst_length=None, num_write_outstanding=None)
        if ctype == "int8_t*":
            wanted["max_widen_bitwidth"] = "8"  # or the flow makes it 512 bits wide, and the ablation is none
        for key, value in wanted.items():
            if key not in pragma or (value is not None and pragma[key] != value):
                self.complain(function, f"the m_axi pragma of {name} has no {key}{'=' + value if value else ''}")


def kernel_table(src):
    """kKernels of hls/design.h and the designs beside it: name -> (source, [(name, type, bundle, kind)])."""
    folder = os.path.join(src, "hls")
    designs = [name for name in sorted(os.listdir(folder)) if name.endswith("design.h")]
    text = "\n".join(read(os.path.join(folder, name)) for name in designs)
    rows = {}
    for match in re.finditer(r"KernelArg (\w+)\[\] = \{(.*?)\n\};", text, re.DOTALL):
        rows[match[1]] = re.findall(r'\{"(\w+)",\s*"([^"]+)",\s*"(\w*)",\s*ArgKind::(\w+)\}', match[2])
    kernels = re.findall(r'MakeKernel\("(\w+)",\s*"([^"]+)",\s*(\w+)\)', text)
    return {name: (source, rows[arguments]) for name, source, arguments in kernels}


def check_symbols(archive):
    """Complaints about what the kernels' objects in the archive leave to the linker."""
    listing = subprocess.run(["nm", "-uC", archive], capture_output=True, text=True, check=True).stdout
    complaints, member, kernels = [], "", 0
    names = {os.path.basename(path) for path in kernel_sources(os.path.join(ROOT, "src"))}
    for line in listing.split("\n"):
        if line.endswith(":"):
            member = line[:-1]
            kernels += member.removesuffix(".o") in names
        elif line.strip() and member.removesuffix(".o") in names:
            symbol = line.split(None, 1)[1].strip()
            if not SYMBOLS.match(symbol):
                complaints.append(f"{os.path.basename(archive)}({member}) needs {symbol}: not the kernels' to use")
    if kernels != len(names):
        complaints.append(f"{archive} holds {kernels} of the {len(names)} kernels' objects")
    return complaints


def check_tree(src):
    """Complaints about the kernels below src/, and the number of tops."""
    complaints, tops = [], []
    table = kernel_table(src)
    for path in kernel_sources(src):
        refused = compile_strictly(path, src)
        complaints += refused
        if refused:
            continue
        source = Source(path, src)
        source.check_structure()
        source.check_dataflow()
        tops += source.check_interfaces(table)
        complaints += source.complaints
    if not complaints:
        complaints += [f"src/hls/design.h: kernel {name} has no top" for name in table if name not in tops]
    return complaints, len(tops)


def main():
    complaints, tops = check_tree(os.path.join(ROOT, "src"))
    if len(sys.argv) > 1:
        complaints += check_symbols(sys.argv[1])
    print("\n".join(complaints + [f"{tops} kernels, {len(complaints)} complaints"]))
    sys.exit(1 if complaints or tops == 0 else 0)


if __name__ == "__main__":
    main()
