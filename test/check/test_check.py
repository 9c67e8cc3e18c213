# SPDX-License-Identifier: GPL-2.0-or-later
"""Proves that each rule of check.py finds what it is for."""
import importlib.util
import pathlib

import pytest

spec = importlib.util.spec_from_file_location("check", pathlib.Path(__file__).with_name("check.py"))
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)


@pytest.fixture
def tree(tmp_path):
    for folder in list(check.ALLOWED) + ["test/unit/common", "test/fuzz/corpus", "test/harness", "test/bench", "proto/telovix/v1"]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for folder in list(check.ALLOWED) + ["test/unit/common", "test/fuzz"]:
        (tmp_path / folder / "CMakeLists.txt").write_text("")
    return tmp_path


def write(tree, name, text):
    (tree / name).write_text(text)


@pytest.mark.parametrize("name, text", [
    ("lib/common/a.c", "#include <uv.h>\n"),
    ("lib/pki/a.c", '#include "rpc/call.h"\n'),
    ("lib/rpc/a.c", '#include "telovix/v1/fleet.pb-c.h"\n'),
    ("storage/a.c", '#include "pki/cert.h"\n'),
    ("storage/a.c", "#include <nghttp2/nghttp2.h>\n"),
    ("console/op_a.c", '#include "console/live.h"\n'),
    ("console/op_a.c", "#include <uv.h>\n"),
    ("console/a.c", "#include <lmdb.h>\n"),
    ("sensor/a.c", '#include "storage/txn.h"\n'),
    ("sensor/a.c", "#include <bpf/libbpf.h>\n"),
    ("sensor/a.c", '#include "exec_tp.skel.h"\n'),
    ("console/a.c", '#include "bpf-progs/tlx_abi.h"\n'),
    ("client/a.c", '#include "storage/txn.h"\n'),
])
def test_forbidden_include(tree, name, text):
    write(tree, name, text)
    assert list(check.check_includes(tree))


def test_allowed_include(tree):
    write(tree, "storage/a.c", '#include "pki/digest.h"\n#include <lmdb.h>\n#include "common/err.h"\n')
    assert not list(check.check_includes(tree))


def test_kernel_side_includes(tree):
    write(tree, "sensor/bpf_a.c", '#include <bpf/bpf.h>\n#include "exec_tp.skel.h"\n#include "bpf-progs/tlx_abi.h"\n')
    write(tree, "sensor/a.c", '#include "bpf-progs/tlx_abi.h"\n')
    assert not list(check.check_includes(tree))


PROGRAM = ("// SPDX-License-Identifier: GPL-2.0-or-later\n/* Stops.\n *\n * - Hook: one.\n * - Denied: all.\n"
           " * - On failure it is open. */\n")


@pytest.mark.parametrize("text", [
    PROGRAM + "#include <stdio.h>\n",
    PROGRAM + '#include "sensor/engine.h"\n',
    PROGRAM + '#include "absent.bpf.h"\n',
    PROGRAM.replace("Denied", "Note"),
    PROGRAM.replace("SPDX", "SPD"),
    PROGRAM + "long BPF_PROG(tlx_sixteen_chars, int a) {\n",
    PROGRAM + '} tlx_sixteen_chars SEC(".maps");\n',
])
def test_programs(tree, text):
    (tree / "bpf-progs/include").mkdir(parents=True)
    write(tree, "bpf-progs/a.bpf.c", PROGRAM + "#include <bpf/bpf_helpers.h>\nint tlx_a(void *ctx) {\n")
    assert not list(check.check_programs(tree))
    write(tree, "bpf-progs/a.bpf.c", text)
    assert len(list(check.check_programs(tree))) == 1


def test_forgotten_programs_test(tree):
    (tree / "test/bpf").mkdir(parents=True)
    write(tree, "test/bpf/CMakeLists.txt", "foreach(name exec)\n")
    write(tree, "test/bpf/test_exec.c", "")
    assert not list(check.check_tests_built(tree))
    write(tree, "test/bpf/test_a.c", "")
    assert len(list(check.check_tests_built(tree))) == 1


def test_forgotten_files(tree):
    write(tree, "test/unit/common/test_a.c", "")
    write(tree, "test/fuzz/fuzz_a.c", "")
    assert len(list(check.check_tests_built(tree))) == 3
    write(tree, "lib/common/a.c", "")
    assert list(check.check_sources_built(tree))
    (tree / "test/unit/common/test_a.c").unlink()
    assert list(check.check_sources_tested(tree))


def test_uncommented_proto(tree):
    write(tree, "proto/telovix/v1/a.proto", "// m\nmessage A {\n  string b = 1;\n}\n")
    assert list(check.check_proto_comments(tree))
    write(tree, "proto/telovix/v1/a.proto", "// m\nmessage A {\n  // f\n  string b = 1;\n}\n")
    assert not list(check.check_proto_comments(tree))


def test_headers(tree):
    write(tree, "lib/common/a.h", "int a;\n")
    assert len(list(check.check_headers(tree))) == 2


def test_readmes(tree):
    assert list(check.check_readmes(tree))


def test_links(tree):
    write(tree, "README.md", "see [a](doc/a.md#part) and `[b](nowhere.md)`, [c](https://example.org/x)\n```\n[d](no.md)\n```\n")
    assert list(check.check_links(tree)) == ["README.md:1: there is no doc/a.md"]
    (tree / "doc").mkdir()
    write(tree, "doc/a.md", "back to [the top](../README.md), [a folder](../lib)\n")
    assert not list(check.check_links(tree))
    (tree / "build").mkdir()
    write(tree, "build/x.md", "[not ours](gone.md)\n")
    assert not list(check.check_links(tree))


@pytest.mark.parametrize("text, missing", [
    ("int a(void);\n", ["a"]),
    ("/* What a does. */\nint a(void);\nstruct x *b(const struct x *x,\n                int y);\n", []),
    ("/* What a does. */\nint a(void);\n\nint b(void);\n", ["b"]),
    ("/* About the type. */\nstruct x;\nint a(struct x *x);\n", ["a"]),
    ("/* ---- a section ---- */\nvoid a(void);\n", ["a"]),
    ("/* Two\n * lines. */\nconst char *a(int b,\n              int c);\n", []),
    ("const char *\na_long_name(void);\n", ["a_long_name"]),
    ("int a(void); /* what it does */\n", []),
    ("struct x {\n  int (*call)(int y);\n};\n#define F(x) f(x)\nstatic inline int a(void) {\n  return b();\n}\n", []),
])
def test_functions_documented(text, missing):
    assert [name for _, name in check.undocumented("// SPDX-License-Identifier: x\n" + text)] == missing


def test_functions_documented_in_headers(tree):
    write(tree, "lib/common/a.h", "int a(void);\n")
    write(tree, "lib/common/a.c", "int a(void) {\n}\n")
    assert list(check.check_functions_documented(tree)) == ["lib/common/a.h:1: no comment above a"]


def test_reasons(tree):
    write(tree, "console/reasons.h", 'X("known")')
    write(tree, "console/a.c", 'tlx_status_set(&s, TLX_GRPC_NOT_FOUND, "unknown_word", "x");')
    assert list(check.check_reasons(tree))
    write(tree, "console/a.c", 'tlx_status_set(&s, TLX_GRPC_NOT_FOUND,\n "known", "x");')
    assert not list(check.check_reasons(tree))


def test_the_walk_names_what_exists(tree):
    write(tree, "storage/a.c", "void keep(void);\n")
    (tree / "doc").mkdir()
    good = "| A1 | words | `storage/a.c:keep` | `storage/a.c:keep` |\n| A2 | words | `storage/a.c:keep` | as A1 |\n"
    write(tree, "doc/reference-walk.md", good)
    assert not list(check.check_walk(tree))
    for bad in (good.replace("storage/a.c:keep", "storage/b.c:keep", 1), good.replace(":keep` | as", ":lost` | as"),
                good.replace("A2", "A3"), good.replace("as A1", "as A9"), good.replace("`storage/a.c:keep` | as A1", "nowhere | as A1"),
                ""):
        write(tree, "doc/reference-walk.md", bad)
        assert list(check.check_walk(tree)), bad


def test_action_types_are_written_and_explained(tree):
    (tree / "doc").mkdir()
    written = check.ACTIONS - check.LATER_ACTIONS
    code = "".join(f'f("{action}");\n' for action in sorted(written))
    table = "| Action type | When |\n|---|---|\n" + "".join(f"| `{action}` | then |\n" for action in sorted(check.ACTIONS))
    write(tree, "console/a.c", code)
    write(tree, "doc/operations.md", table + "\n")
    assert not list(check.check_actions(tree))
    for bad_code, bad_table in (
            (code.replace("sensor_deleted", "x_y"), table), (code, table.replace("| `sensor_deleted` | then |\n", "")),
            (code, table + "| `x_y` | never |\n"), (code + 'f("console_restored");\n', table),
            (code + 'op_refuse(op, txn, "x_y", NULL);\n', table), (code + 'op->action_type = "x_y";\n', table),
            (code + '{"/telovix.v1.A/B", "x_y"},\n', table)):
        write(tree, "console/a.c", bad_code)
        write(tree, "doc/operations.md", bad_table + "\n")
        assert list(check.check_actions(tree)), (bad_code, bad_table)
