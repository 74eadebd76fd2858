// The program that finds the names of libraries that Python code opens. The environment's own Python runs it, because only
// the ast module of that Python reads the code as that Python would. The program runs none of the code. It skips a file that
// it cannot parse. It follows names through variables, loops and functions of the same distribution, and leaves out branches
// for other systems. It prints a line of JSON for each group of files. `how` is `find` for ctypes.util.find_library, and
// `open` for dlopen.

export const SOURCE_SCRIPT = String.raw`
import ast, json, os, re, stat, sys
LARGEST, MOST_FILES, MOST_NAMES, MOST_STEPS, LONGEST = 2 << 20, 5000, 16, 200000, 4096
OPENERS = {"find_library": "find", "CDLL": "open", "PyDLL": "open", "LoadLibrary": "open", "dlopen": "open"}
MARK = re.compile(rb"find_library|CDLL|PyDLL|LoadLibrary|dlopen")
COMMON = {"get", "load", "open", "init", "main", "run", "find", "setup", "wrapper", "new", "call", "create", "start", "read", "add"}
OTHERS = re.compile(r"^(win32|win64|windows|cygwin|msys|nt|dos|darwin|mac|macos|osx|ios|android|java|freebsd\d*|openbsd|netbsd|sunos|solaris|aix|emscripten|wasi|os2|riscos|beos|haiku)$", re.I)
LINUX = re.compile(r"^(linux\d?|posix|unix)$", re.I)
IS_OTHER = re.compile(r"(^|_)(is_?)?(on_?)?(windows|win|win32|win64|nt|mac|macos|darwin|osx|cygwin|msys|android|ios|freebsd|emscripten|pyodide|frozen)(_os)?($|_)", re.I)
IS_LINUX = re.compile(r"(^|_)(is_?)?(on_?)?(linux|posix|unix)($|_)", re.I)

def text_of(node):
    value = getattr(node, "value", getattr(node, "s", None))
    return value if type(node).__name__ in ("Constant", "Str") and isinstance(value, str) else None

def last(node):
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""

def of_platform(text):
    if OTHERS.match(text) or text.lower() in ("win", "cyg", "free", "bsd", "mingw"): return False
    return True if LINUX.match(text) else None

def truth(node, names, depth=0):
    """Is this test true on Linux? None: nobody knows."""
    if depth > 8: return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = truth(node.operand, names, depth + 1)
        return None if inner is None else not inner
    if isinstance(node, ast.BoolOp):
        parts = [truth(value, names, depth + 1) for value in node.values]
        if isinstance(node.op, ast.And): return False if False in parts else True if all(parts) else None
        return True if True in parts else None if None in parts else False
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        sides = [node.left, node.comparators[0]]
        texts = [text_of(side) for side in sides]
        known = [of_platform(text) for text in texts if text is not None]
        known = [item for item in known if item is not None]
        if isinstance(node.ops[0], (ast.Eq, ast.Is)) and known: return known[0]
        if isinstance(node.ops[0], (ast.NotEq, ast.IsNot)) and known: return not known[0]
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            inside = sides[1]
            if isinstance(inside, (ast.Tuple, ast.List, ast.Set)):
                parts = [of_platform(text_of(item) or "") for item in inside.elts]
                result = True if True in parts else False if parts and None not in parts else None
            else: result = known[0] if known else None
            return result if result is None or isinstance(node.ops[0], ast.In) else not result
        return None
    if isinstance(node, ast.Call):
        if last(node.func) in ("startswith", "endswith") and node.args:
            args = node.args[0].elts if isinstance(node.args[0], ast.Tuple) else node.args
            parts = [of_platform(text_of(arg) or "") for arg in args]
            return True if True in parts else False if parts and None not in parts else None
        return named(last(node.func), names, depth)
    if isinstance(node, (ast.Name, ast.Attribute)): return named(last(node), names, depth)
    return None

def named(name, names, depth):
    values = names.get(name, [])
    if len(values) == 1 and isinstance(values[0], ast.AST):
        result = truth(values[0], names, depth + 1)
        if result is not None: return result
    return False if IS_OTHER.search(name) else True if IS_LINUX.search(name) else None

class Live(ast.NodeTransformer):
    """Leaves out what does not run on Linux."""
    def __init__(self, names): self.names = names
    def visit_If(self, node):
        result = truth(node.test, self.names)
        if result is None: return self.generic_visit(node)
        live = self.block(node.body if result else node.orelse)
        node.test, node.body, node.orelse = ast.NameConstant(True) if sys.version_info < (3, 8) else ast.Constant(True), live or [ast.Pass()], []
        node.sure = True
        return self.generic_visit(node)
    def visit_IfExp(self, node):
        result = truth(node.test, self.names)
        return self.generic_visit(node) if result is None else self.visit(node.body if result else node.orelse)
    def visit_Match(self, node):
        def is_other(case):
            texts = [text_of(item) for item in ast.walk(case.pattern) if text_of(item) is not None]
            return bool(texts) and all(of_platform(text) is False for text in texts)
        node.cases = [case for case in node.cases if not is_other(case)] or node.cases[:1]
        return self.generic_visit(node)
    def block(self, body):
        return body
    def generic_visit(self, node):
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                for index, item in enumerate(body):
                    if ends(item):
                        del body[index + 1:]
                        break
        return node

def ends(item):
    if isinstance(item, (ast.Return, ast.Raise, ast.Continue, ast.Break)): return True
    return isinstance(item, ast.If) and getattr(item, "sure", False) and bool(item.body) and ends(item.body[-1])

class File:
    def __init__(self, path, source):
        self.path, self.tree, self.steps = path, ast.parse(source), 0
        self.values, self.openers = {}, dict(OPENERS)
        self.collect()
        self.tree = Live(self.values).visit(self.tree)
        self.values = {}
        self.collect()
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node): child.parent = node
        self.function_names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                a = node.args
                params = [arg.arg for arg in getattr(a, "posonlyargs", []) + a.args + a.kwonlyargs] + [arg.arg for arg in (a.vararg, a.kwarg) if arg]
                node.params = set(params)
    def collect(self):
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name in OPENERS and alias.asname: self.openers[alias.asname] = OPENERS[alias.name]
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if last(target) and node.value is not None:
                        self.values.setdefault(last(target), []).append(node.value)
                        if last(node.value) in self.openers: self.openers[last(target)] = self.openers[last(node.value)]
                    elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(node.value, (ast.Tuple, ast.List)) and len(target.elts) == len(node.value.elts):
                        for one, value in zip(target.elts, node.value.elts):
                            if last(one): self.values.setdefault(last(one), []).append(value)
            elif isinstance(node, ast.AugAssign) and last(node.target):
                self.values.setdefault(last(node.target), []).append(node.value)
            elif isinstance(node, (ast.For, ast.AsyncFor)) or type(node).__name__ == "comprehension":
                if last(node.target): self.values.setdefault(last(node.target), []).append(("each", node.iter))
                elif isinstance(node.target, (ast.Tuple, ast.List)):
                    for index, one in enumerate(node.target.elts):
                        if last(one): self.values.setdefault(last(one), []).append(("item", index, node.iter))
            elif type(node).__name__ == "NamedExpr" and last(node.target):
                self.values.setdefault(last(node.target), []).append(node.value)
    def evaluate(self, node, seen=(), how="open"):
        """The strings that an expression may give: pairs of how and text. None among them: something unknown."""
        self.steps += 1
        if self.steps > MOST_STEPS: return {None}
        if isinstance(node, tuple):
            if node[0] == "each": return self.evaluate(node[1], seen, how)
            inner, found = node[2], set()
            if isinstance(inner, (ast.Tuple, ast.List)):
                for item in inner.elts:
                    if isinstance(item, (ast.Tuple, ast.List)) and len(item.elts) > node[1]: found |= self.evaluate(item.elts[node[1]], seen, how)
                    else: found.add(None)
                return found
            return {None}
        if len(seen) > 12: return {None}
        text = text_of(node)
        if text is not None: return {(how, text)}
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)): return self.union(node.elts, seen, how)
        if isinstance(node, ast.Starred): return self.evaluate(node.value, seen, how)
        if isinstance(node, ast.BoolOp): return self.union(node.values, seen, how)
        if isinstance(node, ast.IfExp): return self.union([node.body, node.orelse], seen, how)
        if isinstance(node, ast.Dict):
            keys = [of_platform(text_of(key) or "") if key is not None else None for key in node.keys]
            live = [value for key, value in zip(keys, node.values) if key is not False]
            if True in keys: live = [value for key, value in zip(keys, node.values) if key is True]
            return self.union(live, seen, how)
        if isinstance(node, ast.Subscript): return self.evaluate(node.value, seen, how)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.SetComp)): return self.evaluate(node.elt, seen, how)
        if isinstance(node, ast.JoinedStr):
            return self.product([value.value if isinstance(value, ast.FormattedValue) else value for value in node.values], seen, how)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            if isinstance(node.left, (ast.List, ast.Tuple)) or isinstance(node.right, (ast.List, ast.Tuple)): return self.union([node.left, node.right], seen, how)
            return self.product([node.left, node.right], seen, how)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and text_of(node.left) is not None:
            parts = re.split(r"%[sd]", text_of(node.left))
            args = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            if len(parts) != len(args) + 1: return {None}
            mixed = [ast.Str(parts[0]) if sys.version_info < (3, 8) else ast.Constant(parts[0])]
            for arg, part in zip(args, parts[1:]): mixed += [arg, ast.Str(part) if sys.version_info < (3, 8) else ast.Constant(part)]
            return self.product(mixed, seen, how)
        if isinstance(node, ast.Call):
            name = last(node.func)
            if name in self.openers: return self.union(node.args[:1], seen, self.openers[name])
            if name == "get" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, (ast.Dict, ast.Name)):
                return self.evaluate(node.func.value, seen, how) | self.union(node.args[1:], seen, how)
            if name in ("list", "tuple", "set", "sorted", "str", "reversed", "iter", "encode", "fsencode"): return self.union(node.args[:1] or [node.func.value] if isinstance(node.func, ast.Attribute) else node.args[:1], seen, how)
            return {None}
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = last(node)
            values = self.values.get(name, [])
            if not values or name in seen: return {None}
            return self.union(values[:MOST_NAMES], seen + (name,), how)
        if type(node).__name__ in ("Constant", "NameConstant"): return set()
        return {None}
    def union(self, nodes, seen, how):
        found = set()
        for node in nodes: found |= self.evaluate(node, seen, how)
        return found
    def product(self, nodes, seen, how):
        texts = {""}
        for node in nodes:
            parts = self.evaluate(node, seen, how)
            if None in parts or not parts: return {None}
            texts = {text + part[1] for text in texts for part in parts}
            if len(texts) > 64 or any(len(text) > LONGEST for text in texts): return {None}
        return {(how, text) for text in texts}
    def scope(self, node):
        while not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module, ast.Lambda)): node = node.parent
        return node
    def calls(self, openers):
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and last(node.func) in openers: yield node
            # cdll["libfoo.so"]
            elif isinstance(node, ast.Subscript) and last(node.value) == "cdll": yield node
    def wrappers(self, openers):
        """Functions that open what they are given, with how they do it."""
        found = {}
        for call in self.calls(openers):
            function = self.scope(call)
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)): continue
            args = call.args if isinstance(call, ast.Call) else [call.slice]
            used = {item.id for arg in args for item in ast.walk(arg) if isinstance(item, ast.Name)}
            for _ in range(3):
                for name in list(used):
                    for value in self.values.get(name, []):
                        inner = value[-1] if isinstance(value, tuple) else value
                        used |= {item.id for item in ast.walk(inner) if isinstance(item, ast.Name)}
            if not used & (function.params - {"self", "cls"}): continue
            how = openers.get(last(call.func), "open") if isinstance(call, ast.Call) else "open"
            name, owner = function.name, getattr(function, "parent", None)
            if name in ("__init__", "__new__") and isinstance(owner, ast.ClassDef): name = owner.name
            if name.startswith("__"): continue
            if found.get(name) != "find": found[name] = how
            # a function of its own with the name of an opener (cairocffi's dlopen)
            if name in self.openers: del self.openers[name]
        return found

def target(node):
    """The variable that gets what a call opens, or the function that returns it: several such calls are alternatives."""
    scope = None
    while True:
        parent = getattr(node, "parent", None)
        if isinstance(parent, (ast.Assign, ast.AnnAssign)):
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            return last(targets[0]) or None
        if isinstance(parent, ast.Return): return "return"
        if isinstance(parent, (ast.BoolOp, ast.IfExp, ast.Call, ast.keyword)): node = parent
        else: return None

def chain(node):
    """The outermost try around a call, if the call is in its body or its handlers: the handlers are alternatives."""
    top = None
    while getattr(node, "parent", None) is not None:
        parent = node.parent
        if isinstance(parent, ast.Try) and (node in parent.body or node in parent.handlers): top = parent
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): break
        node = parent
    return top

def groups(file, openers):
    merged = {}
    for call in file.calls(openers):
        if isinstance(getattr(call, "parent", None), ast.Call) and last(call.parent.func) in openers: continue
        if isinstance(call, ast.Call):
            name = last(call.func)
            args = call.args[:1] if name in file.openers else call.args + [word.value for word in call.keywords]
            how = openers[name]
        else: args, how = [call.slice if not isinstance(call.slice, getattr(ast, "Index", ())) else call.slice.value], "open"
        found = file.union(args, (), how)
        if not any(found - {None}): continue
        scope = file.scope(call)
        around = chain(call)
        alone = name in openers and name not in file.openers if isinstance(call, ast.Call) else False
        variable = None if alone else target(call)
        key = ("set", id(scope), variable) if variable else ("try", id(around)) if around is not None and not alone else ("call", id(call))
        if key in merged: merged[key][1].update(found)
        else: merged[key] = (call.lineno, set(found))
    for line, found in merged.values():
        yield {"file": file.path, "line": line, "names": sorted(item for item in found if item is not None), "unknown": None in found}

def read(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST: return b""
        with os.fdopen(os.dup(fd), "rb") as stream: return stream.read(LARGEST)
    finally: os.close(fd)

def parsed(path):
    try: return File(path, read(path))
    except Exception: return None

def openings(file, openers):
    # code that is nested too deeply tells nothing
    try: return list(groups(file, openers))
    except Exception: return []

def others(folders, words, seen):
    pattern = re.compile("|".join(re.escape(word) + r"\s*\(" for word in words).encode())
    count = 0
    for folder in folders:
        for base, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if name not in ("__pycache__", "test", "tests"))
            for name in sorted(files):
                path = os.path.join(base, name)
                count += 1
                if count > MOST_FILES: return
                if not name.endswith(".py") or path in seen: continue
                try: source = read(path)
                except OSError: continue
                if pattern.search(source): yield path

def own(file):
    """Finds the functions of a file that open what they are given, and functions that call those."""
    file.own = {}
    for _ in range(3):
        known = dict(file.openers, **file.own)
        fresh = {name: how for name, how in file.wrappers(known).items() if name not in known or name not in file.openers and name not in file.own}
        if not fresh: break
        file.own.update(fresh)
    file.all = dict(file.openers, **file.own)

def constants(path):
    """The names in bytecode, which is not run: a constant string of marshal is stored as its bytes."""
    try: source = read(path)
    except OSError: return
    for name in sorted(set(re.findall(rb"(?<![\w/.])lib[\w+-][\w+.-]{0,80}\.so(?:\.\d+)*", source))):
        yield {"file": path, "line": 0, "names": [("open", name.decode())], "unknown": False}

def main():
    for group in json.load(sys.stdin):
        bytecode = [path for path in group["files"] if path.endswith(".pyc")]
        group["files"] = [path for path in group["files"] if not path.endswith(".pyc")]
        files = [file for file in map(parsed, group["files"]) if file is not None]
        shared = {}
        for file in list(files):
            try: own(file)
            except Exception: files.remove(file)
        for file in files:
            for name, how in file.own.items():
                if name.lower().strip("_") not in COMMON: shared[name] = how
        seen = {file.path for file in files}
        more = []
        if shared:
            more = [file for file in map(parsed, others(group["folders"], sorted(shared), seen)) if file is not None]
        found = [item for path in bytecode for item in constants(path)]
        for file in files: found += openings(file, dict(shared, **file.all))
        for file in more: found += openings(file, dict(shared, **file.openers))
        print(json.dumps({"group": group["name"], "found": found}))
        sys.stdout.flush()
main()
`
