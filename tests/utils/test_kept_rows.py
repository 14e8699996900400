"""What an interrupted measurement leaves, and what the next one takes of it: the class, and the tools that use it."""

import json

import pytest

from mmlocat.benchmark import attention, backbone, neighbours
from mmlocat.benchmark.measure import Ratio, Result
from mmlocat.utils import kept_rows, machine
from mmlocat.utils.kept_rows import KeptRows
from tests.helpers.tool_runner import run_tool


@pytest.fixture(autouse=True)
def conditions(monkeypatch):
    """What all rows are measured under; a test changes it."""
    found = dict(processor='A', threads=1, code='1')
    monkeypatch.setattr(kept_rows, 'conditions', lambda device: dict(found, device=device))
    return found


def interrupted(path, keys=('a', 'b')):
    """Measures two rows of three and is interrupted in the last."""
    with pytest.raises(KeyboardInterrupt), KeptRows(path) as kept:
        for key in keys:
            kept.call(dict(case=key), lambda key=key: dict(ms=1 / 3, of=key))
        kept.call(dict(case='c'), lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_the_next_call_goes_on_and_leaves_nothing(tmp_path, capsys):
    path, measured = tmp_path / 'new' / 'rows.json', []
    interrupted(path)
    assert capsys.readouterr().err == f'Measurements kept in {path}: 2. The same command goes on from there.\n'
    with KeptRows(path) as kept:
        assert dict(case='b') in kept and dict(case='c') not in kept
        rows = [kept.call(dict(case=key), lambda key=key: measured.append(key) or dict(ms=0.5, of=key))
                for key in 'abc']
    assert measured == ['c'] and rows == [dict(ms=1 / 3, of='a'), dict(ms=1 / 3, of='b'), dict(ms=0.5, of='c')]
    assert not path.exists()
    assert capsys.readouterr().err == f'{path} is of an interrupted call: what it holds that fits is not measured ' \
                                      'again.\n'


def test_two_calls_at_once_lose_nothing_of_one_another(tmp_path):
    path = tmp_path / 'rows.json'
    one, other = KeptRows(path), KeptRows(path)
    one.add(dict(case='a'), 1)
    other.add(dict(case='b'), 2)
    assert len(json.loads(path.read_text())) == 2
    with KeptRows(path) as third:
        third.call(dict(case='a'), int)
        one.add(dict(case='c'), 3)
    assert sorted(entry['row'] for entry in json.loads(path.read_text()).values()) == [2, 3]


def test_a_row_of_nothing_is_a_row(tmp_path):
    path = tmp_path / 'rows.json'
    KeptRows(path).add(dict(case='a'), None)
    assert KeptRows(path).call(dict(case='a'), lambda: 1) is None


def test_rows_of_other_arguments_stay(tmp_path):
    path = tmp_path / 'rows.json'
    interrupted(path)
    with KeptRows(path) as kept:
        kept.call(dict(case='other'), lambda: 1)
        kept.call(dict(case='a'), lambda: pytest.fail('it is there'))
    assert list(json.loads(path.read_text())) == ['{"case": "b"}']


@pytest.mark.parametrize(('name', 'value'), [('code', '2'), ('processor', 'B'), ('threads', 8)])
def test_rows_of_another_machine_or_code_are_measured_anew_and_named(name, value, tmp_path, capsys, conditions):
    path = tmp_path / 'rows.json'
    interrupted(path)
    capsys.readouterr()
    before, conditions[name] = conditions[name], value
    with KeptRows(path) as kept:
        assert dict(case='a') not in kept
        assert [kept.call(dict(case=key), lambda: 'anew') for key in 'ab'] == ['anew', 'anew']
    said = capsys.readouterr().err.splitlines()[1:]
    assert len(said) == 2 and f'is measured anew ({name} {before}, now {value}): {{"case": "a"}}' in said[0]
    assert not path.exists()


def test_a_row_is_on_disk_before_the_next_is_measured(tmp_path):
    with KeptRows(tmp_path / 'rows.json') as kept:
        kept.call(dict(case='a'), lambda: 1)
        found = json.loads((tmp_path / 'rows.json').read_text())
    assert found['{"case": "a"}']['row'] == 1


@pytest.mark.parametrize('text', ['{"a":', '\x00', '[1]', '{"a": 1}', '{"a": {"ms": 1}}'])
def test_a_file_that_is_none_of_these_is_left_alone(text, tmp_path):
    (tmp_path / 'rows.json').write_text(text)
    with pytest.raises(ValueError, match=r'rows.json cannot be read \(.*move it away'):
        KeptRows(tmp_path / 'rows.json')
    assert (tmp_path / 'rows.json').read_text() == text


def test_the_code_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, '_PACKAGE', tmp_path)
    monkeypatch.setattr(machine, 'share_folder', lambda: tmp_path / 'share')
    (tmp_path / 'a.py').write_text('a = 1')
    before = machine.code()
    (tmp_path / 'notes.md').write_text('no code')
    assert machine.code() == before
    for path in (tmp_path / 'a.py', tmp_path / 'share' / 'configs' / 'b.py'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('a = 2')
        assert machine.code() != before
        before = machine.code()


def rows(case, mode, *options):
    return [Result(case, mode, name, Ratio(0.25, 1 / 3, 0.1, 0.5, 3), None) for name in ('plain', 'own')]


@pytest.mark.parametrize(('tool', 'module', 'arguments', 'count'), [
    ('attention', attention, ['--grids', 3, 4, 5, '--passes', 'forward', '--heads', 1], 3),
    ('backbone', backbone, ['--archs', 'tiny', '--images', 32, 48, '--modes', 'inference'], 2),
])
def test_an_interrupted_benchmark_goes_on(tool, module, arguments, count, tmp_path, capsys, monkeypatch):
    calls = []

    def measure(*given):
        calls.append(given[0])
        if len(calls) == count:
            raise KeyboardInterrupt
        return rows(*given)

    monkeypatch.setattr(module, 'measure', measure)
    arguments = [*arguments, '--no-memory', '--markdown', '--work-dir', tmp_path]
    with pytest.raises(SystemExit) as stop:
        run_tool(f'benchmark/{tool}.py', *arguments)
    first, said = capsys.readouterr()
    assert stop.value.code == 130 and first.count('| own |') == count - 1
    assert f'Measurements kept in {tmp_path / tool}.json: {count - 1}. The same command' in said
    run_tool(f'benchmark/{tool}.py', *arguments)
    whole, said = capsys.readouterr()
    assert calls[count - 1:] == calls[-1:] * 2 and said.count(', kept\n') == count - 1
    assert whole.startswith(first) and whole.count('| own |') == count and not list(tmp_path.iterdir())


def test_the_search_for_neighbours_keeps_times_and_each_memory(tmp_path, monkeypatch):
    def fail(*given):
        raise KeyboardInterrupt

    arguments = ('benchmark/neighbours.py', '--rows', 50, '--queries', 5, '--channels', 4, '--neighbours', 2,
                 '--seconds', 0.01, '--work-dir', tmp_path)
    monkeypatch.setattr(neighbours, 'in_fresh_process', fail)
    with pytest.raises(SystemExit):
        run_tool(*arguments)
    monkeypatch.setattr(neighbours, 'in_fresh_process', lambda *given: 1.5)
    monkeypatch.setattr(neighbours, 'in_turns', fail)  # the times are there
    run_tool(*arguments)
    assert not list(tmp_path.iterdir())
