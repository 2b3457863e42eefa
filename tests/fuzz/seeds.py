#!/usr/bin/env python3
"""Writes one good input, or a few, for each fuzz target into DIRECTORY/TARGET: the mutations start from there."""
import gzip
import io
import json
import pathlib
import struct
import sys
import tarfile

root = pathlib.Path(sys.argv[1])


def seed(target, name, content):
    place = root / target
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def hello(name):
    name = name.encode()
    entry = b"\0" + struct.pack(">H", len(name)) + name
    names = struct.pack(">H", len(entry)) + entry
    extensions = struct.pack(">HH", 0, len(names)) + names
    body = b"\3\3" + bytes(32) + b"\0" + struct.pack(">H", 2) + b"\x13\x01" + b"\1\0"
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack(">H", len(message)) + message


def archive(form):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        sums = b"".join(b"%064x  %s\n" % (0, name) for name in [b".sbox/env/bin/x"])
        for name, content in [
            ("top/.sbox/env/bin/x", b"#!/env/bin/python\n"),
            ("top/" + "long/" * 40 + "name", b"x"),
            ("top/.sbox/SHA256SUMS", sums),
            ("top/metadata.json", b"{}"),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("top/.sbox/env/bin/link")
        link.type, link.linkname = tarfile.SYMTYPE, "x" * 150
        tar.addfile(link)
    return out.getvalue()


def elf():
    """A header, one loadable segment and one dynamic section with a run path."""
    strings = b"\0/env/lib:/env/lib64\0"
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in [(5, 64 + 112 + 64), (29, 1), (0, 0), (0, 0)])
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    size = 64 + 112 + len(dynamic) + len(strings)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    where = 64 + 112
    table = struct.pack("<IIQQQQQQ", 2, 6, where, where, where, len(dynamic), len(dynamic), 8)
    return header + load + table + dynamic + strings


CONFIG = """runtime: [python:3.11, node:22]
workdir: /app
copy:
  - ./app:/app
  - {src: ., dst: /x}
mount:
  - /usr/share:/data:ro
install: [pip install x]
cmd: python main.py
env:
  A: "${B:-c}$$d"
isolation: auto
network: {allow: ["*.example.org:8443"], log: true}
ports: ["9000:80"]
limits: {memory: 1G, time: 2h}
nested: false
restart: always
stop_timeout: 5s
logs: {max_size: 1M, keep: 2}
channels: [conda-forge, "https://mirror.example/c"]
packages: [ffmpeg, "git >=2.40"]
mamba: {url: "https://x/{platform}"}
ready: {http: "http://localhost:1/x", timeout: 9s}
"""
seed("config", "all", CONFIG)
seed("config", "small", "runtime: python:3.12\ncmd: echo x\n")

seed("client_hello", "one", hello("example.org"))
seed("client_hello", "two-records", hello("a.b")[:3] + b"\0\5" + hello("a.b")[5:10] + b"\x16\3\3\0\x40" + hello("a.b")[10:])

seed("request", "connect", "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
seed("request", "plain", "POST http://example.org:8080/a?b HTTP/1.1\r\nHost: example.org:8080\r\nProxy-Authorization: x\r\n"
     "Connection: keep-alive, X-Own\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\n")
seed("request", "chunked", "PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
seed("request", "chunk", "1F;x=y")

for name, form in [("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.GNU_FORMAT)]:
    seed("archive", name + ".tar", archive(form))
seed("archive", "gnu.tar.gz", gzip.compress(archive(tarfile.GNU_FORMAT)))

seed("metadata", "lock", json.dumps({
    "version": "1", "built_at": "2026-01-30T12:00:00Z", "prefix": "/p/.sbox/env", "config_hash": "x",
    "runtime": [{"language": "python", "version": "3.12.1", "provider": "host"}],
}))
seed("metadata", "records", json.dumps([{
    "name": "web", "pid": 1, "status": "running", "supervisor": {"pid": 1, "start": 2, "boot": "x"}, "exit_code": None,
}]))
seed("metadata", "entry", json.dumps({
    "provider": "conda", "version": "3.12.1", "versions": [], "request": "", "prefix": "/p", "sites": ["bin/x"],
    "packages": [{"name": "x", "version": "1", "build": "0", "url": "https://c/x-1-0.conda", "md5": "", "hash": "sha256:x"}],
}))

record = {"_path": "bin/x", "file_mode": "binary", "prefix_placeholder": "/env" * 60, "sha256_in_prefix": "x"}
seed("conda_meta", "conda", json.dumps({"name": "x", "files": ["bin/x"], "paths_data": {"paths": [record]}}))
seed("conda_meta", "pip", "pip/x.py,sha256=AA,1\r\n../../../bin/x,sha256=BB,220\n\"a,b.py\",sha256=CC,3\npip/RECORD,,\n")

# The numbers that such a target takes before its bytes are read from the end of the input.
for number in range(16):
    seed("relocate_elf", f"elf-{number}", bytes([number]) + struct.pack("<IQI", 241, 64, 255) + elf())
seed("relocate_elf", "strings", b"\1" + struct.pack("<IQI", 6, 64, 0) + b"\x7fELF\0/env/lib:/env/bin\0\0\0\0tail\0")

for number, text in enumerate([
    "#!/env/bin/python3 -I\nimport x\n", "#!/env with space/bin/node --x\n", "prefix = '/env/lib'\n",
    "{\"url\": \"file:///env/app\", \"dir\": \"/env/app\"}", "-I/env/include:/env\n",
]):
    for choice in range(3):
        seed("relocate_text", f"text-{number}-{choice}", bytes([choice]) + text.encode())
seed("relocate_text", "application", b"\0#!/env/bin/python\nPK\3\4\0/env\0")
