"""A small Hugging Face Hub on loopback: what huggingface_hub's client needs to create, upload, find and download."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Hub(ThreadingHTTPServer):
    """Repositories in memory, with one commit each time something is pushed.

    Attributes:
        files: Contents by (repository, revision) and path; each branch and each commit's hash are revisions.
        commits: The newest commit of each (repository, branch).
        downloads: Paths of the files whose content was sent, in order.
        private: Tokens that may read, by repository; what is not here is public.
        url: What HF_ENDPOINT must be.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.commits: dict[tuple[str, str], str] = {}
        self.blobs: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.private: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def commit(self, repo: str, changes: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch, which begins as the main one, and return the commit's hash."""
        files = {**self.files.get((repo, branch), self.files.get((repo, "main"), {})), **changes}
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.files[repo, branch] = self.files[repo, sha] = files
        self.commits[repo, branch] = sha
        return sha


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, status: int = 200, **fields) -> None:
        self.answer(status, json.dumps(fields).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        owner, name, *rest = urlsplit(self.path).path.strip("/").split("/")
        repo = f"{owner}/{name}"
        if (repo, "main") not in self.server.commits:
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        if repo in self.server.private and self.headers["Authorization"] != f"Bearer {self.server.private[repo]}":
            return self.answer(401, b"{}", X_Error_Code="RepoNotFound")  # who may not read is not told that it is there
        if len(rest) < 3 or rest[0] != "resolve":
            return self.answer(404)
        revision, path = rest[1], "/".join(rest[2:])
        if (repo, revision) not in self.server.files:
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        commit = self.server.commits.get((repo, revision), revision)
        content = self.server.files[repo, revision].get(path)
        if content is None:
            return self.answer(404, b"{}", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if self.command == "GET":
            self.server.downloads.append(path)
        return self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=commit)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer(200)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def create(self, repo: str, branch: str, **fields: str) -> None:
        """Begin a repository or one of its branches; as on the Hub, 409 says that it exists."""
        if (repo, branch) in self.server.commits:
            return self.json(409, error="exists", **fields)
        self.server.commit(repo, {}, branch)
        return self.json(**fields)

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization')}/{asked['name']}"
            return self.create(repo, "main", url=f"{self.server.url}/{repo}")
        if "/branch/" in path:
            return self.create(*path.removeprefix("/api/models/").split("/branch/"))
        if path == "/api/validate-yaml":
            return self.json(errors=[], warnings=[])
        if "/preupload/" in path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {file: "lfs" if file.endswith(".safetensors") else "regular" for file in files}
            return self.json(files=[{"path": f, "uploadMode": m, "shouldIgnore": False} for f, m in modes.items()])
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for item in objects:
                item["actions"] = {"upload": {"href": f"{self.server.url}/upload/{item['oid']}"}}
            return self.json(transfer="basic", objects=objects)
        if "/commit/" in path:
            return self.commit(*path.removeprefix("/api/models/").split("/commit/"), body)
        return self.answer(404)

    def commit(self, repo: str, branch: str, operations: bytes) -> None:
        """Change files of a branch: small ones come with the commit, large ones were put before."""
        changes = {}
        for line in operations.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                changes[value["path"]] = self.server.blobs[value["oid"]]
        sha = self.server.commit(repo, changes, branch)
        self.json(commitUrl=f"{self.server.url}/{repo}/commit/{sha}", commitOid=sha)
