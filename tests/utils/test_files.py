"""Where files may go: a folder that is there or can be made, and nothing is made by looking."""

import os

import pytest

from mmlocat.utils import check_folder


def test_a_folder_that_is_there_or_can_be_made(tmp_path):
    assert check_folder('--out', str(tmp_path / 'new' / 'deep')) == tmp_path / 'new' / 'deep'
    assert check_folder('--out', tmp_path) == tmp_path and not list(tmp_path.iterdir())


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes').touch()
    check_folder('--out', 'new/deep')
    with pytest.raises(ValueError, match='^--out notes/deep cannot be made: .*notes is a file; name another folder$'):
        check_folder('--out', 'notes/deep')


@pytest.mark.parametrize(('folder', 'message'), [
    ('notes', 'notes is a file, not a folder; name another folder$'),
    ('notes/a/b', 'notes/a/b cannot be made: .*notes is a file; name another folder$'),
])
def test_a_file_in_its_place(folder, message, tmp_path):
    (tmp_path / 'notes').touch()
    with pytest.raises(ValueError, match=f'^--out .*{message}'):
        check_folder('--out', tmp_path / folder)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    """Not by permissions, which do not bind root."""
    closed = tmp_path / 'closed'
    closed.mkdir()
    monkeypatch.setattr(os, 'access', lambda path, mode: path != closed)
    for folder in (closed, closed / 'new'):
        with pytest.raises(ValueError, match='cannot be written: no permission for .*closed; name another folder$'):
            check_folder('--out', folder)
