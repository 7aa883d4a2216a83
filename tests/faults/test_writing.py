"""No module writes under a final name: all go through ``atomic_file``, but for the few that have another protection."""

from __future__ import annotations

import ast
from pathlib import Path

import dicom_ml

ROOT = Path(dicom_ml.__file__).parent

#: Calls that write to a path, wherever they stand.
_WRITERS = {"write_text", "write_bytes", "copyfile", "copy2", "copytree", "savefig", "tofile"}
#: Writers of other packages, which take a path or a file.
_LIBRARIES = {"to_filename", "imwrite", "WriteImage", "TiffWriter", "ParquetWriter"}
#: Who may, and why that is safe.
ALLOWED = {
    ("encoding/writer.py", "os.replace"): "atomic_file itself",
    ("encoding/spool.py", "open"): "frames under way, each believed only when it is whole",
    ("callbacks/manifest.py", "open"): "a journal, of which a line that is cut off is left out",
    ("data/dataset.py", "open"): "a journal of this process alone, removed at its end",
    ("encoding/calls.py", "os.fdopen"): "a pipe",
    ("pseudonyms/mapping.py", "os.fdopen"): "a new key: removed when it cannot be written, and half of it is refused",
}


def _writes(path: Path) -> list[str]:
    """Calls of a module that write to a path by its name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rsplit(".", 1)[-1]
        if last in ("open", "fdopen", "FileIO", "ZipFile"):
            first = 0 if name.endswith(".open") and name not in ("os.open", "io.open", "gzip.open") else 1
            modes = [*node.args[first : first + 1], *(k.value for k in node.keywords if k.arg == "mode")]
            if any(isinstance(m, ast.Constant) and set(str(m.value)) & set("wax+") for m in modes):
                found.append(name)
        elif name in ("os.replace", "os.rename", "shutil.move") or last in _WRITERS:
            found.append(name)
        elif last in _LIBRARIES:
            if not node.args or ast.unparse(node.args[0]) not in ("file", "handle", "buffer"):
                found.append(name)
        elif last in ("dcmwrite", "save_as") or name in ("np.save", "np.savez", "torch.save", "json.dump"):
            target = node.args[0] if last in ("dcmwrite", "save_as") else node.args[1]
            if ast.unparse(target) not in ("buffer", "buffered", "file"):
                found.append(name)
    return found


def test_who_writes_under_a_final_name():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for call in _writes(path):
            found[place, call] = found.get((place, call), 0) + 1
    assert found.keys() - ALLOWED.keys() == set(), "use save_bytes, save_dataset or atomic_file of encoding.writer"
    assert ALLOWED.keys() - found.keys() == set(), "no longer needed"


def test_the_look_sees_what_it_is_to_see(tmp_path):
    module = tmp_path / "m.py"
    lines = [
        "Path('x').write_text('')", "open('x', 'w')", "Path('x').open('ab')", "open('x', mode='r+b')",
        "os.replace('a', 'b')", "ds.save_as(path)",
        "open('x')", "open('x', 'rb')", "'a'.replace('a', 'b')", "dcmwrite(buffer, ds)",
    ]  # fmt: skip
    module.write_text("\n".join(lines))
    assert sorted(_writes(module)) == [
        "Path('x').open", "Path('x').write_text", "ds.save_as", "open", "open", "os.replace",
    ]  # fmt: skip
