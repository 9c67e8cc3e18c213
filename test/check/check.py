#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Conventions of the tree as tests. Usage: check.py [ROOT]; exit 1 and one line a fault.

Each rule is a function that yields faults; test_check.py proves that each rule can fail."""
import pathlib
import re
import subprocess
import sys

THIRD_PARTY = {
    "uv": r"^uv\.h$", "nghttp2": r"^nghttp2/", "wolfssl": r"^wolfssl/", "lmdb": r"^lmdb\.h$",
    "protobuf-c": r"^protobuf-c/|^google/protobuf/", "jansson": r"^jansson\.h$", "inih": r"^ini\.h$",
    "uthash": r"^ut(hash|list|array|string)\.h$", "argp": r"^argp\.h$", "libbpf": r"^(bpf/|linux/bpf)",
    "wire": r"^telovix/v1/", "store": r"^telovix/store/", "state": r"^telovix/state/",
    "rpc messages": r"^(google/rpc|grpc)/", "abi": r"^bpf-progs/", "skeleton": r"\.skel\.h$",
}
# Folder → (own folders, libraries) it may include. The table of doc/architecture.md.
ALLOWED = {
    "lib/common": ({"common"}, {"inih", "uthash"}),
    "lib/pki": ({"common", "pki"}, {"wolfssl"}),
    "lib/rpc": ({"common", "pki", "rpc"},
                {"uv", "nghttp2", "wolfssl", "protobuf-c", "jansson", "uthash", "rpc messages"}),
    "storage": ({"common", "pki/digest.h", "storage"}, {"lmdb", "protobuf-c", "store", "jansson", "uthash"}),
    "console": ({"common", "pki", "rpc", "storage", "console"},
                {"uv", "protobuf-c", "jansson", "uthash", "argp", "wire", "store", "rpc messages"}),
    "sensor": ({"common", "pki", "rpc", "sensor"},
               {"uv", "protobuf-c", "jansson", "uthash", "argp", "wire", "state", "libbpf", "abi", "skeleton"}),
    "client": ({"common", "pki", "rpc", "client"}, {"uv", "protobuf-c", "jansson", "uthash", "argp", "wire"}),
}
OWN = {"common", "pki", "rpc", "storage", "console", "sensor", "client"}
# Durable changes see storage and plain words only: no loop, no network, no live state.
OP_FORBIDDEN = re.compile(r"^(uv\.h|rpc/(?!status\.h)|console/(live|console|svc_|watch|authn|deny|writer)|telovix/v1/)")


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def sources(root, folder):
    return sorted(p for p in (root / folder).glob("*.[ch]"))


def check_includes(root):
    for folder, (own, libraries) in ALLOWED.items():
        for path in sources(root, folder):
            for number, name in includes(path):
                where = f"{path.relative_to(root)}:{number}"
                first = name.split("/")[0]
                if first in OWN and "/" in name and first not in own and name not in own:
                    yield f"{where}: {folder} must not include {name}"
                for library, pattern in THIRD_PARTY.items():
                    if re.search(pattern, name) and library not in libraries:
                        yield f"{where}: {folder} must not include {name} ({library})"
                if folder == "console" and path.name.startswith("op") and OP_FORBIDDEN.search(name):
                    yield f"{where}: a durable change must not see {name}"
                kernel = re.search(THIRD_PARTY["libbpf"], name) or re.search(THIRD_PARTY["skeleton"], name)
                if folder == "sensor" and kernel and not path.name.startswith("bpf_"):
                    yield f"{where}: only bpf_* files may include {name}"


# What a program in the kernel may include: its own headers, and those that libbpf and the kernel give it.
PROGRAM_INCLUDES = re.compile(r"^(bpf/|linux/(bpf|types)\.h$|stdbool\.h$|\w+(\.bpf)?\.h$)")


def check_programs(root):
    """bpf-progs sees no header of user space, and every program opens with its threat statement."""
    for path in sorted((root / "bpf-progs").rglob("*.[ch]")):
        where = path.relative_to(root)
        for number, name in includes(path):
            if not PROGRAM_INCLUDES.search(name) or "/" not in name and name != "stdbool.h" and not (
                    root / "bpf-progs/include" / name).exists():
                yield f"{where}:{number}: a program must not include {name}"
        text = path.read_text()
        if "SPDX-License-Identifier: GPL-2.0-or-later" not in text.splitlines()[0]:
            yield f"{where}: no SPDX line"
        head = re.match(r"//[^\n]*\n/\*.*?\*/", text, re.S)
        if path.name.endswith(".bpf.c") and not (head and re.search(r"^ \* - Hooks?: .*^ \* - (Denied|Stopped)\b.*^ \* - ",
                                                                    head.group(), re.S | re.M)):
            yield f"{where}: no threat statement at its head (- Hook: - Denied: - …)"
        for name in re.findall(r"^(?:int|long) (?:BPF_PROG\()?(\w+)", text, re.M) + re.findall(r"^} (\w+) SEC\(\"\.maps", text, re.M):
            if len(name) > 15:
                yield f"{where}: {name} is longer than 15 characters: the kernel cuts it"


def check_tests_built(root):
    for folder in sorted((root / "test/unit").iterdir()):
        if not folder.is_dir():
            continue
        listed = (folder / "CMakeLists.txt").read_text()
        for path in sorted(folder.glob("test_*.c")):
            if not re.search(rf"\b{re.escape(path.name)}\b", listed):
                yield f"{path.relative_to(root)}: not in {folder.relative_to(root)}/CMakeLists.txt"
    bpf = root / "test/bpf/CMakeLists.txt"
    for path in sorted((root / "test/bpf").glob("test_*.c")):
        if not re.search(rf"foreach\(name [^)]*\b{path.stem.removeprefix('test_')}\b", bpf.read_text()):
            yield f"{path.relative_to(root)}: not in test/bpf/CMakeLists.txt"
    listed = (root / "test/fuzz/CMakeLists.txt").read_text()
    for path in sorted((root / "test/fuzz").glob("fuzz_*.c")):
        name = path.stem.removeprefix("fuzz_")
        if not re.search(rf"\b{name}:tlx_", listed):
            yield f"{path.relative_to(root)}: not in test/fuzz/CMakeLists.txt"
        if not any((root / "test/fuzz/corpus" / name).glob("*")):
            yield f"test/fuzz/corpus/{name}: no seeds"


def check_sources_built(root):
    for folder in ALLOWED:
        listed = (root / folder / "CMakeLists.txt").read_text()
        for path in sources(root, folder):
            if path.suffix == ".c" and not re.search(rf"(?<![\w/]){re.escape(path.name)}\b", listed):
                yield f"{path.relative_to(root)}: not in {folder}/CMakeLists.txt"


def check_sources_tested(root):
    """One test file a source file, same name; main.c is only argument passing."""
    exempt = {"main.c"}
    for folder in ALLOWED:
        tests = root / "test/unit" / folder.removeprefix("lib/")
        texts = " ".join(p.read_text() for p in tests.glob("test_*.c"))
        if folder == "sensor":
            texts += " ".join(p.read_text() for p in (root / "test/bpf").glob("*.c"))
        for path in sources(root, folder):
            if path.suffix != ".c" or path.name in exempt:
                continue
            if (tests / f"test_{path.stem}.c").exists():
                continue
            header = f'{folder.removeprefix("lib/")}/{path.stem}.h'
            integration = (root / "test/README.md").read_text() if (root / "test/README.md").exists() else ""
            if f'"{header}"' not in texts and f"`{folder}/{path.name}`" not in integration:
                yield f"{path.relative_to(root)}: no unit test, and test/README.md does not say what tests it"


def check_proto_comments(root):
    for path in sorted((root / "proto").rglob("*.proto")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            text = line.strip()
            declares = re.match(r"(repeated |optional )?[\w.<>, ]+ \w+ = \d+\s*(\[.*\])?;", text) or re.match(
                r"(message|enum|service|rpc|oneof) \w+", text)
            if declares and not text.startswith(("//", "option", "syntax")):
                if number < 2 or not lines[number - 2].strip().startswith("//"):
                    yield f"{path.relative_to(root)}:{number}: no comment above `{text}`"
            if re.match(r"\w+ = 0;", text) and path.parts[-3] == "telovix" and "UNSPECIFIED" not in text:
                yield f"{path.relative_to(root)}:{number}: the first enum value must be …_UNSPECIFIED"


def check_readmes(root):
    for folder in ["lib/common", "lib/pki", "lib/rpc", "storage", "console", "sensor", "client", "proto", "test",
                   "bpf-progs"]:
        if (root / folder).is_dir() and any((root / folder).iterdir()) and not (root / folder / "README.md").exists():
            yield f"{folder}: no README.md"


def documents(root):
    """Every Markdown file of the tree, without what is built or installed into it."""
    skipped = {"build", ".git", ".quickstart", "node_modules"}
    return sorted(p for p in root.rglob("*.md") if not skipped & set(p.relative_to(root).parts))


def check_links(root):
    """A relative link in a document names a file or a folder that is there."""
    for path in documents(root):
        text = re.sub(r"```.*?```", lambda m: "\n" * m.group().count("\n"), path.read_text(), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                target = target.split("#")[0]
                if target and ":" not in target and not (path.parent / target).exists():
                    yield f"{path.relative_to(root)}:{number}: there is no {target}"


PROTOTYPE = re.compile(r"^(?!static|typedef|extern|struct \w+ *[;{=]|enum|union|return|#)[A-Za-z_][\w \t*]*?\b(\w+)\s*\(")


def undocumented(text):
    """Line and name of each function without a comment above it. A comment covers the functions that follow it without a
    blank line or anything else between; a section title (/* ---- title ---- */) is no comment."""
    lines = text.splitlines()
    covered, at = False, 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            covered = False
        elif line.startswith(("/*", "//")):
            end = at
            while line.startswith("/*") and "*/" not in lines[end] and end + 1 < len(lines):
                end += 1
            covered, at = not re.match(r"/\* ----", line) and "SPDX" not in line, end
        else:
            match, end = PROTOTYPE.match(" ".join(lines[at:at + 2])), at
            while match and not re.search(r"[;{]\s*(/\*.*)?$", lines[end]) and end + 1 < len(lines):
                end += 1
            if not match:
                covered = False
            elif not covered and "/*" not in lines[end]:
                yield at + 1, match.group(1)
            at = end
        at += 1


def check_functions_documented(root):
    for folder in ALLOWED:
        for path in sources(root, folder):
            if path.suffix == ".h":
                for number, name in undocumented(path.read_text()):
                    yield f"{path.relative_to(root)}:{number}: no comment above {name}"


def check_headers(root):
    for folder in list(ALLOWED) + ["test/harness", "test/fuzz", "test/bench", "test/bpf"]:
        for path in sources(root, folder):
            text = path.read_text()
            if not text.startswith("// SPDX-License-Identifier: GPL-2.0-or-later\n"):
                yield f"{path.relative_to(root)}: no SPDX line"
            if path.suffix == ".h" and "#pragma once" not in text:
                yield f"{path.relative_to(root)}: no #pragma once"
            if re.search(r"\b(TODO|FIXME|XXX)\b", text):
                yield f"{path.relative_to(root)}: unfinished work is marked in it"
            for number, line in enumerate(text.splitlines(), 1):
                if len(line) > 120:
                    yield f"{path.relative_to(root)}:{number}: longer than 120 columns"


def check_reasons(root):
    """Every reason word in console sources stands in the one list."""
    path = root / "console/reasons.h"
    if not path.exists():
        yield "console/reasons.h: missing"
        return
    known = set(re.findall(r'"([a-z0-9_]+)"', path.read_text()))
    pattern = re.compile(r'tlx_status_set\(\s*[^,]+,\s*TLX_GRPC_\w+,\s*"([a-z0-9_]+)"', re.S)
    for source in sources(root, "console"):
        for word in pattern.findall(source.read_text()):
            if word not in known:
                yield f"{source.relative_to(root)}: reason \"{word}\" is not in console/reasons.h"


WALKED = re.compile(r"`([\w/.-]+/[\w.-]+):(\w+)`")


def check_walk(root):
    """doc/reference-walk.md numbers each sentence, and each has a place and a test or an earlier row; what it names exists."""
    path = root / "doc/reference-walk.md"
    if not path.exists():
        yield "doc/reference-walk.md: missing"
        return
    rows, last = set(), {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"doc/reference-walk.md:{number}"
        for name, word in WALKED.findall(line):
            file = root / name
            if not file.exists():
                yield f"{where}: there is no {name}"
            elif not re.search(rf"\b{re.escape(word)}\b", file.read_text()):
                yield f"{where}: {name} has no {word}"
        match = re.match(r"\| ([A-Z])(\d+) \|", line)
        if not match:
            continue
        letter, count = match.group(1), int(match.group(2))
        if count != last.get(letter, 0) + 1:
            yield f"{where}: {letter}{count} does not follow {letter}{last.get(letter, 0)}"
        last[letter] = count
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        earlier = re.search(r"\bas ([A-Z]\d+)\b", cells[3])
        if not WALKED.search(cells[2]) or not (WALKED.search(cells[3]) or earlier and earlier.group(1) in rows):
            yield f"{where}: {letter}{count} names no place or no test"
        rows.add(f"{letter}{count}")
    if not rows:
        yield "doc/reference-walk.md: no sentence in it"


# Every action type of an audit record; LATER_ACTIONS are nobody's yet.
ACTIONS = set("""process_kill_queued process_kill_finished process_kill_cancelled enforcement_rule_created
    enforcement_rule_deleted sensor_contained containment_verified sensor_released sensor_disabled sensor_enabled
    sensor_revoked sensor_deleted sensor_enrolled sensor_reenrolled sensor_certificate_renewed sensor_rejected
    clone_suspected enrollment_token_created enrollment_token_revoked enrollment_failed rule_mode_changed
    containment_allow_changed enforcement_lifted enforcement_tampered operator_created operator_revoked
    operator_role_changed operator_certificate_renewed access_denied audit_exported console_started console_initialized
    console_restored audit_fork_reported request_refused""".split())
LATER_ACTIONS = {"console_restored"}
# Where sources say which type they write.
ACTION_PLACES = re.compile(
    r"""(?:op_refuse(?:_json)?|op_audit(?:_json)?|deny_note|audit_own|note)\([^;]*?"([a-z]+(?:_[a-z]+)+)"
    |action_type\s*=[^;,]*?"([a-z]+(?:_[a-z]+)+)"
    |\{\s*"/telovix\.v1\.\w+/\w+",\s*"([a-z]+(?:_[a-z]+)+)"\s*\}""", re.S | re.X)


def check_actions(root):
    """Each action type is written by the Console and explained in doc/operations.md, and no other is."""
    text = "".join(path.read_text() for path in sources(root, "console") if path.suffix == ".c")
    manual = (root / "doc/operations.md").read_text()
    table = manual[manual.find("| Action type |"):]
    table = table[:table.find("\n\n")]
    explained = {word for line in table.splitlines() for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", line.split("|")[1])
                 } if table else set()
    for action in sorted(ACTIONS):
        written = f'"{action}"' in text
        if written == (action in LATER_ACTIONS):
            yield f"console: {action} is {'written, and counted as later work' if written else 'written nowhere'}"
        if action not in explained:
            yield f"doc/operations.md: the action type {action} is not explained"
    for action in sorted(explained - ACTIONS):
        yield f"doc/operations.md: {action} is no action type"
    for groups in ACTION_PLACES.findall(text):
        action = next(filter(None, groups))
        if action not in ACTIONS:
            yield f"console: {action} is written, and not in the list of action types"


def check_tracked(root):
    result = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True)
    if result.returncode != 0:
        return
    for name in result.stdout.splitlines():
        if name.split("/")[0] in {"build", ".quickstart"} or name.endswith((".o", ".key")) and "corpus" not in name:
            yield f"{name}: must not be in the repository"


RULES = [check_includes, check_programs, check_tests_built, check_sources_built, check_sources_tested, check_proto_comments,
         check_readmes, check_links, check_functions_documented, check_headers, check_reasons,
         check_walk, check_actions, check_tracked]


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    faults = [fault for rule in RULES for fault in rule(root)]
    for fault in faults:
        print(fault)
    print(f"{len(RULES)} rules, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
