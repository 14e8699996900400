"""hf:// against a local endpoint that answers as the hub does, snapshots, the cache, offline mode."""

import hashlib
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save

from mmlocat.checkpoints import read_checkpoint
from mmlocat.models import LocAtViT
from tests.helpers.forked import run_python

ARCH = dict(embed_dims=16, num_layers=1, num_heads=1, feedforward_channels=16)
COMMIT = {'main': 'a' * 40, 'old': 'b' * 40, 'a' * 40: 'a' * 40, 'b' * 40: 'b' * 40}


def weights(seed):
    torch.manual_seed(seed)
    return LocAtViT(ARCH, 12, 4).state_dict()


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for: HEAD and GET of /OWNER/REPO/resolve/REVISION/FILE, with the hub's headers."""

    files = {}
    seen = []

    def _answer(self, body):
        self.seen.append((self.command, self.path))
        match = re.match(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$', self.path)
        if not match or match[1] not in self.files:
            return self._fail(401 if match and match[1] == 'o/gated' else 404,
                              'GatedRepo' if match and match[1] == 'o/gated' else 'RepoNotFound')
        if match[2] not in COMMIT:
            return self._fail(404, 'RevisionNotFound')
        content = self.files[match[1]].get((COMMIT[match[2]], match[3]))
        if content is None:
            return self._fail(404, 'EntryNotFound', COMMIT[match[2]])
        start = 0
        if self.headers.get('Range'):
            start = int(re.match(r'bytes=(\d+)-', self.headers['Range'])[1])
        self.send_response(206 if start else 200)
        self.send_header('X-Repo-Commit', COMMIT[match[2]])
        self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        if body:
            self.wfile.write(content[start:])

    def _fail(self, code, name, commit=None):
        self.send_response(code)
        self.send_header('X-Error-Code', name)
        self.send_header('X-Error-Message', name)
        if commit:
            self.send_header('X-Repo-Commit', commit)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def hub():
    config = json.dumps(dict(img_size=8, patch_size=4)).encode()
    new, old = save(weights(0), {'format': 'pt'}), save(weights(1), {'format': 'pt'})
    Hub.files = {
        'o/repo': {('a' * 40, 'model.safetensors'): new, ('a' * 40, 'config.json'): config,
                   ('b' * 40, 'model.safetensors'): old, ('a' * 40, 'sub/other.safetensors'): old},
        'o/bare': {('a' * 40, 'model.safetensors'): new},
        'timm/small': {('a' * 40, 'model.safetensors'): new},
        'o/none': {('a' * 40, 'README.md'): b'hello'},
    }
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def read(source, endpoint, cache, **environment):
    """Reads in a process of its own, because huggingface_hub takes its settings when it is imported."""
    # huggingface_hub waits between its attempts, 23 s in all.
    code = ('import sys, time\nfrom mmlocat.checkpoints import read_checkpoint\ntime.sleep = lambda seconds: None\n'
            'try:\n    c = read_checkpoint(sys.argv[1])\n'
            'except Exception as error:\n    print(type(error).__name__, error)\n'
            'else:\n    print("OK", float(c.state_dict["cls_token"].sum()), c.ref_grid, c.container)\n')
    names = {key: value for key, value in os.environ.items()
             if not key.startswith(('HF_', 'HUGGING')) and not key.lower().endswith('_proxy')}
    names.update(HF_ENDPOINT=endpoint, HF_HOME=str(cache), HF_HUB_DISABLE_TELEMETRY='1', HF_HUB_DISABLE_XET='1',
                 HF_HUB_ETAG_TIMEOUT='5', **environment)
    result = run_python('-c', code, source, environment=names)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().split('\n')[-1]


def expected(seed, grid):
    return f'OK {float(weights(seed)["cls_token"].sum())} {grid} safetensors'


def test_from_the_hub(hub, tmp_path):
    assert read('hf://o/repo', hub, tmp_path) == expected(0, (2, 2))
    count = len(Hub.seen)
    assert count > 0
    # From the cache, with the network gone or not wanted.
    assert read('hf://o/repo', hub, tmp_path, HF_HUB_OFFLINE='1') == expected(0, (2, 2))
    assert read('hf://o/repo', 'http://127.0.0.1:9', tmp_path) == expected(0, (2, 2))
    assert len(Hub.seen) == count


@pytest.mark.parametrize(('source', 'answer'), [
    ('hf://o/repo@old', expected(1, None)), ('hf://o/repo/sub/other.safetensors', expected(1, None)),
    ('hf://o/bare', expected(0, None)),
    ('timm://small', expected(0, None)),
    ('hf://o/missing', 'FileNotFoundError hf://o/missing: the hub does not give model.safetensors (RepositoryNotFound'),
    ('hf://o/gated', 'FileNotFoundError hf://o/gated: the hub does not give model.safetensors (GatedRepoError'),
    ('hf://o/repo@none', 'FileNotFoundError hf://o/repo@none: the hub does not give model.safetensors (RevisionNotF'),
    ('hf://o/repo/x.pth', 'FileNotFoundError hf://o/repo/x.pth: the repository has no x.pth; look at its list'),
    ('hf://o/none', 'FileNotFoundError hf://o/none: the repository has no model.safetensors or pytorch_model.bin;'),
])
def test_addresses(source, answer, hub, tmp_path):
    assert read(source, hub, tmp_path).startswith(answer)


def test_without_a_network(tmp_path):
    for environment in (dict(), dict(HF_HUB_OFFLINE='1')):
        line = read('hf://o/repo', 'http://127.0.0.1:9', tmp_path, **environment)
        assert line.startswith('FileNotFoundError hf://o/repo: the hub cannot be reached, and its cache has no model')
        assert 'put model.safetensors and config.json of https://huggingface.co/o/repo into one folder' in line


def test_without_a_network_the_cache_knows_what_a_repository_lacks(tmp_path):
    """The second name of weights is tried if the first is known not to be there."""
    repo = tmp_path / 'hub' / 'models--o--old'
    for folder, name in (('refs', 'main'), (f'.no_exist/{"a" * 40}', 'model.safetensors')):
        (repo / folder).mkdir(parents=True)
        (repo / folder / name).write_text('a' * 40 if name == 'main' else '')
    snapshot = repo / 'snapshots' / ('a' * 40)
    snapshot.mkdir(parents=True)
    torch.save(weights(0), snapshot / 'pytorch_model.bin')
    for environment in (dict(), dict(HF_HUB_OFFLINE='1')):
        found = read('hf://o/old', 'http://127.0.0.1:9', tmp_path, **environment)
        assert found == f'OK {float(weights(0)["cls_token"].sum())} (3, 3) zip'
    (repo / f'.no_exist/{"a" * 40}' / 'model.safetensors').unlink()
    assert 'its cache has no model.safetensors' in read('hf://o/old', 'http://127.0.0.1:9', tmp_path)


def test_malformed_hub_addresses():
    for wrong in ('hf://a', 'hf://', 'hf://a/b@'):
        with pytest.raises(ValueError, match='is no hub address'):
            read_checkpoint(wrong)


def test_a_snapshot_on_disk(tmp_path):
    (tmp_path / 'model.safetensors').write_bytes(save(weights(0), {'format': 'pt'}))
    (tmp_path / 'config.json').write_text(json.dumps(dict(img_size=[8, 16], patch_size=4)))
    checkpoint = read_checkpoint(str(tmp_path))
    assert checkpoint.ref_grid == (2, 4) and torch.equal(checkpoint.state_dict['cls_token'], weights(0)['cls_token'])


def test_init_cfg_takes_a_snapshot_from_the_cache(hub, tmp_path):
    """In a user's own process, by MMEngine's loader, and the reference grid arrives."""
    code = ('import torch\nfrom mmlocat.models import LocAtViT\n'
            f"model = LocAtViT({ARCH!r}, 12, 4, init_cfg=dict(type='Pretrained', checkpoint='hf://o/repo'))\n"
            'model.init_weights()\nprint(float(model.cls_token.sum()), model.kernel.ref_grid)')
    environment = {**os.environ, 'HF_ENDPOINT': hub, 'HF_HOME': str(tmp_path), 'HF_HUB_DISABLE_XET': '1'}
    result = run_python('-c', code, environment=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip().split('\n')[-1] == f'{float(weights(0)["cls_token"].sum())} (2, 2)'
